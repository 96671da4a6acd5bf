"""Searches that end when they are done, for modules that look at what they find: import `patient`."""

import pytest

from app.control import search


@pytest.fixture(scope="session", autouse=True)
def patient():
    """A page of a search is as long as it can be, however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "PATIENCE", 60.0)
        yield

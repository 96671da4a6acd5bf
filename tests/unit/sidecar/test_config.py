"""The sidecar's directory: one agent at a time."""

import pytest

from app.core.errors import PlacetError
from app.sidecar.config import SidecarFiles


def test_one_agent_holds_the_directory(tmp_path):
    files = SidecarFiles(tmp_path / "placet")
    with files.held():
        assert files.run.is_dir()
        with (
            pytest.raises(PlacetError, match=f"another agent uses {files.root}; end it"),
            SidecarFiles(files.root).held(),
        ):
            pytest.fail("two hold it")
    with files.held():
        pass

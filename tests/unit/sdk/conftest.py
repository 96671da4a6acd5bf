"""A fake sidecar, and both clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sdk import fake


@pytest.fixture
def sidecar() -> Iterator[fake.Sidecar]:
    with fake.running() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, sidecar: fake.Sidecar) -> fake.Client:
    return fake.Client(request.param, sidecar.url)

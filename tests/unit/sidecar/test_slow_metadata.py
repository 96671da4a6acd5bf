"""A slow line: nothing of what arrives is wrong, and none of it in time."""

from contextlib import contextmanager

import pytest

from app.sidecar import doubts as module
from app.sidecar.doubts import Doubts
from app.sidecar.metadata_watcher import CONCERN, MetadataWatcher
from tests.unit.control.conftest import anonymous, api, app, installed, plane  # noqa: F401 - fixtures
from tests.unit.sidecar.test_pinned_domain import address, database, released, repository  # noqa: F401 - fixtures


class Anything:
    """A clock, and modes, to which everything is right."""

    def compare(self, *_):
        pass

    update = compare


class Slow:
    """A client whose answers begin and go on after almost the timeout, by the clock of `wait`."""

    def __init__(self, http, wait):
        self._http, self._wait = http, wait

    @contextmanager
    def stream(self, method, url):
        with self._http.stream(method, url) as answer:
            self._wait()
            real = answer.iter_raw

            def chunks():
                for chunk in real():
                    self._wait()
                    yield chunk

            answer.iter_raw = chunks
            yield answer


@pytest.mark.usefixtures("released")
def test_a_slow_line_ends_no_lease_before_the_horizon(tmp_path, installed, api, address, monkeypatch):  # noqa: F811
    boot, found = [1000.0], []
    monkeypatch.setattr(module, "boot_seconds", lambda: boot[0])
    doubts = Doubts({CONCERN: 26.0}, lambda: None)
    metadata = repository(tmp_path, address, installed.root_metadata.read_bytes())
    watcher = MetadataWatcher(metadata._config, metadata, Anything(), doubts, Anything(), lambda _: None)
    plain = metadata._http

    def wait():
        boot[0] += 4.9
        found.append([doubt.reason for doubt in doubts.current()])

    metadata._http = Slow(plain, wait)
    watcher._doubts.doubt(CONCERN, "agent.paused", "not checked yet")
    watcher.step()
    assert all(found), "what was never verified is not vouched for because bytes arrive"
    found.clear()
    api.create_system("other")  # everything is published anew
    watcher.step()
    assert len(found) > 6
    assert not any(found)
    assert doubts.current() == []

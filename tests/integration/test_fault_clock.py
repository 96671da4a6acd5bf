"""The clock of a sidecar's host jumps, as its agent sees it: it denies, loses nothing, and is judged."""

import subprocess
from pathlib import Path

import pytest

from app.core.reason_codes import Reason
from app.local import tools
from app.local.demo.load import Load
from app.local.demo.parts import eventually
from app.local.demo.rows.table import reports

from .lineage_kit import LineageStack, chained

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("clock"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


class HostClock:
    """The wall clock of an agent that is started with `variables`; its clocks that nobody sets stay."""

    def __init__(self, directory):
        self._file, library = directory / "offset", directory / "host_clock.so"
        source = Path(__file__).with_name("host_clock.c")
        command = ["cc", "-shared", "-fPIC", "-nostdlib", "-O1", "-o", str(library), str(source)]
        subprocess.run(command, check=True, timeout=60)
        self.set(0)
        self.variables = {"LD_PRELOAD": str(library), "HOST_CLOCK": str(self._file)}

    def set(self, offset):
        """So many seconds before (-) or after the real time."""
        whole = self._file.with_suffix(".new")
        whole.write_text(str(offset))
        whole.replace(self._file)


@pytest.mark.parametrize(
    ("name", "offset", "reason"),
    [("till-behind", -90, Reason.CLOCK_BEHIND), ("till-ahead", 65, Reason.METADATA_STALE)],
)
def test_a_jump_denies_loses_nothing_and_opens_a_break(stack, tmp_path, name, offset, reason):
    clock = HostClock(tmp_path)
    stack.variables = clock.variables
    sidecar = stack.start_sidecar(name)
    stack.variables = {}
    with Load(sidecar.port, sidecar.ca, stack.request(), callers=1) as load:
        eventually("allows", lambda: load.outcomes()["allow"] > 5)
        eventually("signs", lambda: stack.batches(name))  # behind the time of its token's issue it gets no certificate
        clock.set(offset)
        eventually("is in doubt", lambda: reports(sidecar, reason))
        eventually("denies", lambda: not load.answers[-1].decision.allow)
        found = eventually("is judged", lambda: stack.breaks(name))
        clock.set(0)
        assert [(one["kind"], one["stops"]) for one in found] == [(Reason.LINEAGE_CLOCK, True)]
        eventually("hears of it", lambda: reports(sidecar, Reason.LINEAGE_BROKEN))
        assert not load.answers[-1].decision.allow, "nobody has cleared it yet"
        # A time that was seen once is never forgotten: until it has come, the clock is behind it.
        eventually("cleared", lambda: cleared(stack, name, load), within=150)
    answered = load.answered()
    eventually("all is known", lambda: answered <= set(stack.decision_ids(name)))
    known = stack.decision_ids(name)
    assert len(known) == len(set(known)), "twice"
    assert chained(stack.batches(name))
    stack.stop_sidecar(sidecar)


def cleared(stack, name, load):
    """Clear what is open, as a person would who sees that the clock is right again; and whether it allows then."""
    for one in stack.breaks(name):
        stack.clear(one["id"])
    return load.answers[-1].decision.allow

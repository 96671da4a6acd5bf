"""A real sidecar that says of itself that answers have no record stands still until a person clears that."""

import pytest

from app.core.reason_codes import Reason
from app.local import tools
from app.local.demo.parts import eventually
from app.local.demo.rows.table import reports
from app.local.demo.stack import SYSTEM
from app.sidecar import record_loss
from app.sidecar.config import SidecarFiles

from .lineage_kit import LineageStack
from .test_sidecar_batches import allows

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("judged"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


def test_answers_without_a_record_stop_the_sidecar_until_they_are_cleared(stack):
    sidecar = stack.start_sidecar("till-j")
    eventually("allows", lambda: allows(stack, sidecar))
    [path] = SidecarFiles(sidecar.directory).records.glob("*.log")
    record_loss.note(path, 2)  # as the record keeper does when OPA counts more answers than there are records
    assert allows(stack, sidecar)  # the record by which the next batch is cut; it says so
    # Nothing more is asked: it hears of the break by reporting.
    eventually("it hears of the break", lambda: reports(sidecar, Reason.LINEAGE_BROKEN), within=30)
    assert not allows(stack, sidecar)
    [found] = stack.breaks("till-j")
    assert (found["kind"], found["stops"]) == (Reason.LINEAGE_DROPPED, True)
    assert "of 2 answers of OPA there is no record" in found["detail"]
    assert found["batch"] is not None, "the batch itself is stored"

    stack.clear(found["id"])
    eventually("allows again", lambda: allows(stack, sidecar), within=30)
    eventually("all is known", lambda: sidecar.status()["batches"]["waiting"] == 0)
    assert stack.breaks("till-j") == [], "it is said once"
    assert len(stack.batches("till-j")) >= 2
    # The server signs both by itself, as the control plane, and its own log and Fulcio take that.
    signed = stack.directory / "server" / "objects" / "breaks" / SYSTEM / "till-j"
    names = {f"{found['id']:012d}-{change}.json" for change in ("opened", "cleared")}
    eventually(
        "both are signed", lambda: signed.is_dir() and {one.name for one in signed.iterdir()} == names, within=30
    )
    stack.stop_sidecar(sidecar)

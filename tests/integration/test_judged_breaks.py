"""A real sidecar that speaks against itself, or whose batches are missing, stands still until a person clears that."""

import sqlite3
import time
from contextlib import closing
from datetime import datetime

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


def lost(stack, name):
    """The sidecar's last batch is gone, as where a store of the control plane was restored from an older backup."""
    with closing(sqlite3.connect(stack.database())) as database, database:
        database.execute("PRAGMA busy_timeout = 10000")
        [last] = database.execute("SELECT max(id) FROM batch WHERE sidecar = ?", (name,)).fetchone()
        database.execute("DELETE FROM decision WHERE batch = ?", (last,))
        database.execute("DELETE FROM batch_value WHERE batch = ?", (last,))
        database.execute("DELETE FROM batch WHERE id = ?", (last,))


def test_a_gap_that_is_borne_for_a_time_stops_the_sidecar_then_and_not_before(stack):
    stack.placet("system", "set", SYSTEM, "--lineage-limit", "gap=60s")
    sidecar = stack.start_sidecar("till-g")
    assert allows(stack, sidecar)
    eventually("stored", lambda: stack.batches("till-g") and sidecar.status()["batches"]["waiting"] == 0)
    stored = len(stack.batches("till-g"))
    lost(stack, "till-g")
    assert allows(stack, sidecar)
    eventually("it is open", lambda: stack.breaks("till-g"), within=30)
    [found] = stack.breaks("till-g")
    stops_at = datetime.fromisoformat(found["stops_at"]).timestamp()
    assert (found["kind"], found["stops"], bool(found["object"])) == (Reason.BATCH_GAP, True, True)
    assert stops_at - datetime.fromisoformat(found["opened_at"]).timestamp() <= 60
    eventually("it knows", lambda: sidecar.status().get("lineage_stops_at"))

    # It goes on, and a new agent and a new control plane know as much.
    assert allows(stack, sidecar)
    sidecar.agent.kill()
    stack.start_agent(sidecar, wait=False)  # healthy it is not: its batches are refused
    stack.control.kill()
    stack.start_control_plane()
    assert time.time() < stops_at - 3, "this machine is too slow to tell"
    eventually("allows", lambda: allows(stack, sidecar), within=stops_at - time.time() - 1)
    assert len(stack.batches("till-g")) == stored - 1, "nothing that does not follow is stored"

    while time.time() < stops_at:
        time.sleep(0.05)
    assert not allows(stack, sidecar), "never longer than the limit"
    eventually("it says why", lambda: reports(sidecar, Reason.LINEAGE_BROKEN) or reports(sidecar, Reason.BATCH_GAP))
    signed = stack.directory / "server" / "objects" / "breaks" / SYSTEM / "till-g"
    said = {f"{found['id']:012d}-{change}.json" for change in ("opened", "stopped")}
    eventually("both are signed", lambda: signed.is_dir() and {one.name for one in signed.iterdir()} == said, within=30)
    stack.stop_sidecar(sidecar)

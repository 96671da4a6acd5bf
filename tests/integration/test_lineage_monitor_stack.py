"""The monitor with a real control plane and what real agents sign: both ways, and after the log went back."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from app.local import tools

from .lineage_kit import LineageStack
from .test_sidecar_batches import Crash, Till, crash

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("monitored"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


@pytest.fixture
def monitor(stack, tmp_path):
    def look(*more, log=None, state="state.json"):
        token = stack.directory / "server" / "admin.token"
        command = [
            sys.executable, "-m", "cli", "lineage", "monitor", "--log", log or stack.sigstore.urls["tiles"],
            "--lineage-trust-config", stack.sigstore.trust_config, "--state", tmp_path / state,
            "--server", stack.server, "--token-file", token, "--output", "json", *more,
        ]  # fmt: skip
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PLACET_")}
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, env=clean)
        return done, json.loads(done.stdout or "null")

    return look


def test_everything_that_is_stored_is_in_the_log_and_claimed(stack, monitor, monkeypatch):
    till = Till(stack, "till-watched")
    till.write(1, 1200)
    till.drain()
    done, report = monitor()
    assert done.returncode == 0, done.stderr
    assert (report["findings"], report["unclaimed"]) == ([], "0")
    assert int(report["own"]) == int(report["expected"]) >= 2
    assert int(report["witnessed"]) >= 2  # what the sidecar saw, and the control plane's newest

    # Killed after it shipped and before it knew, it signs and enters the same statement again. That is no finding.
    till.write(2, 5)
    with monkeypatch.context() as broken:
        broken.setattr("app.sidecar.batch_notes.Notes.acknowledge", crash)
        with pytest.raises(Crash):
            till.drain()
    till.start()
    till.drain()
    done, report = monitor("--grace", "1s")
    assert done.returncode == 0, done.stderr
    assert report["unclaimed"] == "0"
    assert int(report["own"]) >= int(report["expected"]) >= 1


def test_what_was_signed_and_is_lost_on_the_way_is_named(stack, monitor, monkeypatch, tmp_path):
    till = Till(stack, "till-lost")
    till.write(1, 5)
    with monkeypatch.context() as broken:
        broken.setattr("app.sidecar.control_plane.ControlPlane.ship_batch", crash)
        with pytest.raises(Crash):
            till.drain()
    done, report = monitor()
    assert (done.returncode, report["unclaimed"]) == (0, "1"), done.stderr
    state = json.loads((tmp_path / "state.json").read_text())
    state["unclaimed"][0]["seen_at"] = "1"  # long ago
    (tmp_path / "state.json").write_text(json.dumps(state))
    done, report = monitor()
    assert done.returncode == 3
    [finding] = report["findings"]
    assert (finding["reason"], finding["entry"].endswith("/till-lost")) == ("log.unexpected", True)
    till.start()
    till.drain()
    done, report = monitor()
    assert (done.returncode, report["unclaimed"]) == (0, "0"), done.stderr


def test_a_log_that_went_back_contradicts_what_the_control_plane_saw(stack, monitor, tmp_path):
    till = Till(stack, "till-back")
    till.write(1, 5)
    till.drain()
    copy = tmp_path / "log"
    shutil.copytree(stack.sigstore.directory / "rekor", copy)
    till.write(2, 5)
    till.drain()
    done, report = monitor(log=copy)  # a monitor that never looked before
    assert done.returncode == 3
    assert {one["reason"] for one in report["findings"]} == {"log.inconsistent", "log.missing"}
    assert (tmp_path / "state.json.evidence" / "checkpoints").is_dir()
    assert not (tmp_path / "state.json").exists()


def test_the_list_for_a_monitor_outside(stack, monitor, tmp_path):
    listed = stack.placet("lineage", "entries")
    del listed["stderr"]
    file = tmp_path / "expected.json"
    file.write_text(json.dumps(listed))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PLACET_")}
    done = subprocess.run(
        [sys.executable, "-m", "cli", "lineage", "monitor", "--log", stack.sigstore.urls["tiles"],
         "--lineage-trust-config", str(stack.sigstore.trust_config), "--state", str(tmp_path / "outside.json"),
         "--expect", str(file), "--output", "json"],
        capture_output=True, text=True, timeout=120, env=clean,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["expected"] == str(len(listed["entries"]))

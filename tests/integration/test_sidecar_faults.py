"""What the demo's table does not show: a disk that is really full, a control plane that lies with good keys, noise."""

import errno
import json
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from app.core.reason_codes import Reason
from app.core.targets import BUNDLE_FILE, SIGNATURE_FILE, governance_target
from app.local.demo.load import Load
from app.local.demo.meddler import Meddler
from app.local.demo.parts import eventually
from app.local.demo.rows.table import nothing_missing, reports
from app.local.demo.run import Demo
from app.local.demo.stack import HORIZON, LEASE_TTL, SYSTEM

from .lying_kit import lie

#: Of an agent's own directory, what it writes when it starts, and never again.
KEPT = ("ca.key", "enrolment.json", "execution-keys.json", "instance", "lock", "record-files")

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Demo(lambda text: None, tmp_path_factory.mktemp("demo")) as world:
        yield world


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 24 MiB, as only a mount can be."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0711", "tmpfs", str(mount)], check=True, timeout=30)
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True, timeout=30)


def test_a_full_disk_denies_and_loses_nothing(world, small_disk):
    stack = world.stack
    (stack.directory / "sidecar-disk").symlink_to(small_disk)
    sidecar = stack.start_sidecar("sidecar-disk", "--reserve", "4MiB", server=world.meddler.url)
    world.meddler.mode = "no-records"
    try:
        with Load(sidecar.port, sidecar.ca, stack.request()) as load:
            eventually("under load", lambda: load.outcomes()["allow"] > 300)
            filler = small_disk / "filler"
            fill(filler)
            eventually("denies", lambda: not world.allows(sidecar), within=60)
            eventually("for want of space", lambda: reports(sidecar, Reason.RECORD_RESERVE), within=30)
            time.sleep(2)
            filler.unlink()
    finally:
        world.meddler.mode = "pass"
    eventually("allows again", lambda: world.allows(sidecar))
    assert load.outcomes()["allow"] > 300
    assert nothing_missing(world, load)
    stack.stop_sidecar(sidecar)


def fill(path):
    """Write until the file system is full."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\1" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def test_a_control_plane_with_its_keys_cannot_pass_unsigned_policy(world):
    """It signs its metadata well, and names a release that nobody signed: TUF is content, the sidecar is not."""
    stack = world.stack
    liar = Meddler(stack.server)
    liar.start()
    sidecar = stack.start_sidecar("sidecar-lied-to", server=liar.url)
    forged = stack.build("evil", {"review_from": 1}).read_bytes()
    honest = Path(world.bundle)
    signature = honest.with_name(honest.name + ".sigstore.json").read_bytes()
    try:
        sidecar_pid = sidecar.status()["opa_pid"]
        for evidence, reason in (
            (b"", Reason.EVIDENCE_MISSING),
            (signature, Reason.EVIDENCE_SUBJECT),
        ):
            lie(liar, stack, {BUNDLE_FILE: forged, SIGNATURE_FILE: evidence})
            eventually("refused", lambda reason=reason: reports(sidecar, reason))
            assert sidecar.status()["release"] == world.release
            assert world.allows(sidecar), "the last good release is not enforced"
            assert sidecar.status()["sequence"] == 1
        # A start beside the bad release: what was in force before, from its own disk, verified again.
        sidecar.agent.stop()
        stack.start_agent(sidecar)
        assert sidecar.status()["opa_pid"] != sidecar_pid
        assert sidecar.status()["release"] == world.release
        assert reports(sidecar, Reason.EVIDENCE_SUBJECT)
        assert world.allows(sidecar)
    finally:
        stack.stop_sidecar(sidecar)
        liar.stop()


def test_a_control_plane_that_says_nothing_of_the_systems_governance(world):
    """What is demanded of requests must be known: the last that was said holds, until its horizon."""
    stack = world.stack
    liar = Meddler(stack.server)
    liar.start()
    sidecar = stack.start_sidecar("sidecar-untold", server=liar.url)
    stack.set_horizon(25, sidecar)  # else it might be over before the next look
    try:
        honest = (Path(world.bundle).read_bytes(), Path(f"{world.bundle}.sigstore.json").read_bytes())
        lie(
            liar,
            stack,
            dict(zip((BUNDLE_FILE, SIGNATURE_FILE), honest, strict=True)),
            without=governance_target(SYSTEM),
        )
        eventually("said", lambda: reports(sidecar, Reason.METADATA_MISSING))
        assert world.allows(sidecar)
        eventually("denied", lambda: not world.allows(sidecar))
        eventually("for that reason", lambda: reports(sidecar, Reason.METADATA_STALE))
    finally:
        stack.set_horizon(HORIZON)
        stack.stop_sidecar(sidecar)
        liar.stop()


def test_what_any_client_can_send_does_not_end_the_lease(world):
    """Noise on the ports, a handler's panic, and a request nested beyond every parser of ours."""
    sidecar = world.first
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b""):
        with socket.create_connection(("127.0.0.1", sidecar.port), timeout=5) as plain:
            plain.sendall(junk)
    caller = sidecar.caller()
    http = caller._http
    with pytest.raises(httpx.HTTPError):
        http.post("/v1/data/placet/decision", content=b"junk", headers={"Content-Encoding": "gzip"})
    nested = '{"input":{"a":' + "[" * 1500 + "]" * 1500 + "}}"
    answer = http.post("/v1/data/placet/decision", content=nested, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["result"]["allow"] is False
    bomb = 'input:\n  a: &a "' + "<" * 60_000 + '"\n  b: [' + ",".join(["*a"] * 40) + "]\n"
    for kind, code in (("application/x-yaml", 401), ("text/YAML", 400)):  # OPA reads the second as JSON
        assert http.post("/v1/data/placet/decision", content=bomb, headers={"Content-Type": kind}).status_code == code
    wild = {"a": "\ud800", "n": 10**400, "k": {"\x00": "</script>"}}
    text = json.dumps({"input": wild}).replace(str(10**400), "1e400")
    answer = http.post("/v1/data/placet/decision", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    deadline = time.monotonic() + 2 * LEASE_TTL
    while time.monotonic() < deadline:
        assert world.allows(sidecar)
        time.sleep(0.1)
    tally = eventually(
        "noise is counted", lambda: sidecar.status()["tally"].get("panics") and sidecar.status()["tally"]
    )
    assert tally["noise"] >= 3
    nested_id = answer.json()["decision_id"]
    eventually("and the wild record is known", lambda: world.stack.decisions_known({nested_id}))
    caller.close()


def test_stopping_and_starting_again_keeps_records_and_files_apart(world):
    """A clean stop ships everything; the next start must not use a name again that the control plane knows."""
    sidecar = world.first
    first = world.ask(sidecar)
    sidecar.agent.stop()
    assert not list((sidecar.directory / "records").glob("*.log"))
    world.stack.start_agent(sidecar)
    second = world.ask(sidecar)
    wanted = {first.decision_id, second.decision_id}
    eventually("both are known", lambda: world.stack.decisions_known(wanted) == wanted)


def test_a_start_without_the_control_plane_uses_what_was_verified(world):
    """Within the horizon, a sidecar restarts from its own disk, verified again."""
    sidecar = world.second
    assert sidecar.agent is not None
    world.stack.set_horizon(300, sidecar)  # a start may take longer than the demo's
    sidecar.agent.stop()
    world.meddler.mode = "cut"
    try:
        world.stack.start_agent(sidecar)
        assert world.allows(sidecar)
        assert reports(sidecar, Reason.METADATA_INVALID)
    finally:
        world.meddler.mode = "pass"
    eventually("fresh again", lambda: not sidecar.codes())
    world.stack.set_horizon(HORIZON, sidecar)


def test_a_second_agent_on_one_directory_is_refused(world):
    sidecar = world.first
    pid = sidecar.status()["opa_pid"]
    command = sidecar.agent.process.args  # the very same arguments
    private = sidecar.directory / "private"
    # Not what the agent that runs writes on and on: the clock, its journal, what it enforces.
    kept = [*(sidecar.directory / "run").glob("agent.*"), *(private / name for name in KEPT)]
    before, journals = {path: path.stat().st_mtime_ns for path in kept}, set(private.glob("journal-*"))
    answer = subprocess.run(command, capture_output=True, timeout=60, env=world.stack._environment({}), check=False)
    assert answer.returncode == 1
    assert b"another agent uses" in answer.stderr
    assert b"starting OPA" not in answer.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(private.glob("journal-*")) == journals, "it began no journal of its own"
    assert sidecar.directory / "run" / "agent.key" in before
    assert Path(f"/proc/{pid}").exists()
    assert world.allows(sidecar)


def test_a_neighbour_cannot_speak_for_a_sidecar(world):
    """Whoever holds a token of the system sends junk in the sidecar's name: nothing is taken, and nobody is stopped."""
    stack = world.stack
    victim = stack.start_sidecar("sidecar-victim", server=world.meddler.url)
    instance = (victim.directory / "private" / "instance").read_text().strip()
    world.meddler.mode = "no-records"
    since = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    mine = {world.ask(victim).decision_id for _ in range(5)}
    (path,) = (victim.directory / "records").glob("*.log")
    file = stack.directory / "neighbour.token"
    stack.placet("token", "create", "neighbour", "--scope", "record:write", "--system", SYSTEM, "-o", str(file))

    def send(what, **sent):
        address = f"{stack.server}/api/v1/systems/{SYSTEM}/sidecars/{victim.name}/{what}"
        headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
        answer = httpx.post(address, headers=headers, timeout=30, trust_env=False, **sent)
        return answer.status_code, answer.json()["reason"]

    place = {"instance": instance, "file": path.name, "first": 0, "last": 3000}
    assert send("records", params=place, content=b"{}\n" * 1000) == (409, Reason.RECORD_UNSIGNED)
    junk = {"records": "", "salts": "", "evidence": "{}"}
    assert send("batches", json=junk) == (422, Reason.BATCH_INVALID)
    world.meddler.mode = "pass"
    eventually("its own records are taken", lambda: stack.decisions_known(mine, since) == mine)
    assert world.allows(victim)
    stack.stop_sidecar(victim)

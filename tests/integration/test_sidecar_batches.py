"""Signed batches from end to end, with real parts: crashes, breaks, services that are down."""

import json
import time
import uuid

import httpx
import pytest

from app.core.reason_codes import Reason
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local import tools
from app.local.demo.load import Load
from app.local.demo.meddler import Meddler
from app.local.demo.parts import eventually
from app.local.demo.rows.table import reports
from app.local.demo.stack import CHANNEL, DOMAIN, SYSTEM
from app.sidecar import signed_shipping
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.control_plane import ControlPlane
from app.sidecar.doubts import Doubts
from app.sidecar.failures import Failures
from app.sidecar.shipping import shipping

from .lineage_kit import LineageStack, chained

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("lineage"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


class Crash(Exception):
    """The agent dies here."""


class Till:
    """As much of an agent as ships, without an OPA: its records are written by the test."""

    def __init__(self, stack, name):
        self.stack = stack
        self.name = name
        self.files = SidecarFiles(stack.directory / name)
        self.files.prepare()
        self.written = []
        self.token = stack.bound_token(name)
        self.start()

    def start(self):
        """A new agent in the same directory."""
        trust = TrustConfig.from_file(self.stack.sigstore.trust_config)
        signer = SignerIdentity(identity="author@example.org", issuer=self.stack.sigstore.issuer_url)
        config = SidecarConfig(
            system=SYSTEM, channel=CHANNEL, name=self.name, server=self.stack.server,
            policy=VerificationPolicy(identities=[signer]), files=self.files, lineage=trust,
        )  # fmt: skip
        self.plane = ControlPlane(config, self.token, self.files.instance())
        self.doubts = Doubts({signed_shipping.CONCERN: 60.0}, lambda: None)
        self.shipping = shipping(
            config, "sha256:" + "d" * 64, lambda: f"spiffe://{DOMAIN}/sidecar/{SYSTEM}/{self.name}", self.plane,
            self.doubts, lambda path, upto: None, Failures(), lambda: None,
        )  # fmt: skip
        self.shipping.open()

    def write(self, number, count):
        path = self.files.records / f"{number:08d}-{number:016x}.log"
        with path.open("ab") as file:
            for _ in range(count):
                self.written.append(str(uuid.uuid4()))
                file.write(record(self.written[-1]))
        return path

    def drain(self, within=60.0):
        deadline = time.monotonic() + within
        while self.shipping.step(ended=True) == 0.0 or self.shipping.describe()["waiting"]:
            assert time.monotonic() < deadline, self.shipping.describe()
            time.sleep(0.02)


def record(identifier):
    document = {
        "decision_id": identifier, "labels": {"system": SYSTEM}, "msg": "Decision Log", "path": "placet/decision",
        "result": {"allow": True, "reasons": []}, "timestamp": "2026-11-26T00:00:00Z",
        "type": "openpolicyagent.org/decision_logs",
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def crash(*_, **__):
    raise Crash


def test_crashes_lose_nothing_repeat_nothing_and_fork_nothing(stack, monkeypatch):
    """Between note and signature, between signature and shipping, and after shipping before the acknowledgement."""
    till = Till(stack, "till-crash")
    signed = []
    for number, (place, name) in enumerate(
        [
            ("app.sidecar.statement_signer.StatementSigner", "begin"),
            ("app.sidecar.control_plane.ControlPlane", "ship_batch"),
            ("app.sidecar.batch_notes.Notes", "acknowledge"),
        ],
        1,
    ):
        till.write(number, 1200)
        with monkeypatch.context() as broken:
            broken.setattr(f"{place}.{name}", crash)
            with pytest.raises(Crash):
                till.drain()
        signed.append(len(stack.batches("till-crash")))
        assert till.shipping.describe()["waiting"] == 2
        till.write(number, 10)  # what came later is in no batch that was noted before
        till.start()
        till.drain()
    assert signed == [0, 3, 7], "what was shipped before the third crash was kept"
    rows = stack.batches("till-crash")
    assert [row["entries"] for row in rows] == [1000, 200, 10] * 3
    assert chained(rows)
    assert stack.decision_ids("till-crash") == till.written
    assert stack.breaks("till-crash") == []
    assert till.doubts.current() == []


def test_sigstore_down_for_a_while_loses_nothing(stack):
    till = Till(stack, "till-down")
    till.write(1, 3)
    till.drain()
    till.write(2, 5)
    rekor = stack.sigstore._servers["rekor"]
    rekor.kill()
    rekor.wait()
    deadline = time.monotonic() + 30
    while not till.shipping.describe()["trouble"]:
        till.shipping.step(ended=True)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "does not answer" in till.shipping.describe()["trouble"]
    assert till.doubts.current() == [], "who is merely not there breaks nothing"
    stack.sigstore.stop()
    stack.sigstore.start()
    till.drain()
    assert stack.decision_ids("till-down") == till.written
    assert chained(stack.batches("till-down"))


def test_a_new_instance_goes_on_where_the_old_one_was_acknowledged(stack):
    till = Till(stack, "till-new")
    till.write(1, 3)
    till.drain()
    (till.files.private / "instance").unlink()
    till.start()
    till.write(2, 4)
    till.drain()
    old, new = stack.batches("till-new")
    assert (new["first_entry"], new["previous"]) == (0, None)
    assert old["instance"] != new["instance"]
    assert stack.decision_ids("till-new") == till.written


def allows(stack, sidecar):
    caller = sidecar.caller()
    try:
        return caller.ask(stack.request()).decision.allow
    finally:
        caller.close()


def test_an_agent_that_is_killed_under_load_loses_nothing(stack):
    sidecar = stack.start_sidecar("till-a")
    with Load(sidecar.port, sidecar.ca, stack.request(), callers=2) as load:
        for _ in range(2):
            time.sleep(2)
            sidecar.agent.kill()
            stack.start_agent(sidecar)
        time.sleep(1)
    answered = load.answered()
    assert len(answered) > 50
    eventually("known", lambda: answered <= set(stack.decision_ids("till-a")))
    known = stack.decision_ids("till-a")
    assert len(known) == len(set(known)), "twice"
    rows = stack.batches("till-a")
    assert chained(rows)
    assert len({row["file"] for row in rows}) == 3, "the sequence goes on over files"
    assert len({row["log_index"] for row in rows}) == len(rows)
    assert {row["opa"] for row in rows} == {sidecar.status()["opa_digest"]}
    assert stack.breaks("till-a") == []

    files = SidecarFiles(sidecar.directory)
    states = f"{stack.server}/api/v1/systems/{SYSTEM}/states"
    for path in files.states.glob("*.json"):
        fetched = httpx.get(f"{states}/sha256:{path.stem}", headers=stack.authorization(), timeout=30)
        if fetched.is_success:
            assert fetched.content == path.read_bytes()
            break
    else:
        pytest.fail("no state that a decision names was archived")

    sidecar.agent.stop()
    assert list(files.records.iterdir()) == [], "all was shipped when the agent ended"
    stack.stop_sidecar(sidecar)


@pytest.fixture
def meddler(stack):
    meddler = Meddler(stack.server)
    meddler.start()
    yield meddler
    meddler.stop()


def test_a_refused_batch_ends_the_lease_and_a_cleared_break_brings_it_back(stack, meddler):
    """Root on the sidecar's host alters records that were signed and not shipped yet."""
    sidecar = stack.start_sidecar("till-b", server=meddler.url)
    meddler.mode = "no-records"
    assert allows(stack, sidecar)
    eventually("signed", lambda: sidecar.status()["batches"]["signed"] == 1)
    assert sidecar.status()["batches"]["waiting_since"]
    assert allows(stack, sidecar), "a control plane that does not answer is no break"
    [path] = SidecarFiles(sidecar.directory).records.glob("*.log")
    alter(path, b'"allow":true', b'"allow":null')
    meddler.mode = "pass"
    eventually("refused", lambda: reports(sidecar, Reason.BATCH_ROOT))
    eventually("denied", lambda: not allows(stack, sidecar))
    [found] = stack.breaks("till-b")
    assert (found["kind"], found["stops"]) == (Reason.BATCH_ROOT, True)

    alter(path, b'"allow":null', b'"allow":true')
    sidecar.agent.kill()
    stack.start_agent(sidecar, wait=False)
    eventually("the new agent knows", lambda: reports(sidecar, Reason.BATCH_ROOT))
    assert not allows(stack, sidecar)
    eventually("refused again", lambda: "status 409" in (sidecar.status()["batches"]["trouble"] or ""))
    assert not allows(stack, sidecar), "nobody has cleared it yet"

    stack.clear(found["id"])
    eventually("allows again", lambda: allows(stack, sidecar), within=30)
    assert stack.breaks("till-b") == []
    eventually("all is known", lambda: sidecar.status()["batches"]["waiting"] == 0)
    assert chained(stack.batches("till-b"))
    stack.stop_sidecar(sidecar)


def alter(path, old, new):
    """Change the first place of a file, as a text editor on the host would, with another text of the same length."""
    raw = path.read_bytes()
    assert len(old) == len(new)
    with path.open("r+b") as file:
        file.seek(raw.index(old))
        file.write(new)


def test_an_evicted_sidecar_is_denied_until_it_is_admitted_again(stack):
    sidecar = stack.start_sidecar("till-c")
    stack.placet("sidecar", "evict", SYSTEM, "till-c", "--reason", "its host was broken into")
    eventually("it knows, though nobody asks it anything", lambda: reports(sidecar, Reason.SIDECAR_EVICTED))
    eventually("denied", lambda: not allows(stack, sidecar))
    stack.placet("sidecar", "readmit", SYSTEM, "till-c")
    sidecar.agent.stop()
    (stack.directory / "till-c.join").unlink()  # no earlier token counts any more
    stack.placet("sidecar", "invite", SYSTEM, "till-c", "-o", str(stack.directory / "till-c.join"))
    stack.start_agent(sidecar, wait=False)
    eventually("allows again", lambda: allows(stack, sidecar))
    eventually("all is known", lambda: sidecar.status()["batches"]["waiting"] == 0)
    assert chained(stack.batches("till-c"))
    stack.stop_sidecar(sidecar)

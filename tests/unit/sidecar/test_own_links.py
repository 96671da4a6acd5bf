"""What the agent itself writes into the journal, and what it does while it cannot."""

import base64
import json
from types import SimpleNamespace

import pytest

from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.link_names import ENFORCE, RENEWED, START, TRUST, WITHDRAWN, Ref, payload_digest
from app.core.reason_codes import Reason
from app.sidecar.config import SidecarFiles
from app.sidecar.doubts import Doubt, boot_seconds
from app.sidecar.journal_shipping import CONCERN
from app.sidecar.lease import LeaseKeeper
from app.sidecar.opa_api import OpaUnavailable
from app.sidecar.own_links import OwnLinks, Unnoted
from app.sidecar.trust_state import TrustState

from .journal_kit import LIBRARY, OPA, POLICY, SIDECAR, Agent, Plane, Signer

PROVENANCE = "https://slsa.dev/provenance/v1"


def signed(predicate_type, payload):
    envelope = {"payload": base64.b64encode(payload).decode()}
    return SimpleNamespace(predicate_type=predicate_type, raw=json.dumps({"dsseEnvelope": envelope}).encode())


def prepared(*attestations, sequence=3):
    return SimpleNamespace(
        pointer=SimpleNamespace(channel="prod", sequence=sequence),
        release=SimpleNamespace(digest=POLICY, signature=signed(PROVENANCE, b"provenance"), attestations=attestations),
        composed=SimpleNamespace(raw=b"the composed bundle"),
    )


def state(name, **members):
    return TrustState({"execution": {"issuer": SIDECAR, "keys": {}}, **members}, digest_of(name.encode()))


class World:
    def __init__(self, directory):
        self.directory = directory
        self.plane = Plane()
        self.sidecar = SIDECAR
        (directory / "states").mkdir(exist_ok=True)
        self.open()

    def open(self):
        self.agent = Agent(self.directory / "private", self.plane, Signer()).start()
        self.own = OwnLinks(
            self.agent.journal, self.agent.shipping, lambda: self.sidecar, self.directory / "states", LIBRARY, OPA
        )
        self.own.open()

    def kinds(self):
        self.agent.drain()
        return [link.kind for link in self.plane.links]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def full(*_, **__):
    raise Denied(Reason.LINEAGE_UNAVAILABLE, "the journal cannot be written: disk full")


def test_a_release_that_is_enforced(world):
    odd = signed("x\u202e", b"odd")
    world.own.enforced(prepared(signed(PROVENANCE, b"another"), odd, signed("y" * 501, b"long"), signed("", b"none")))
    assert world.kinds() == [ENFORCE]
    [link] = world.plane.links
    assert link.subject == (Ref("revision", digest_of(b"the composed bundle")),)
    assert link.byproducts == {"channel": "prod", "sequence": "3"}
    named = [one for one in link.materials if one.name.startswith("evidence/")]
    unnamed = "evidence/https://in-toto.io/Statement/v1"
    assert named == sorted(
        [
            Ref(f"evidence/{PROVENANCE}", payload_digest(b"provenance")),
            Ref(f"evidence/{PROVENANCE}", payload_digest(b"another")),
            *(Ref(unnamed, payload_digest(raw)) for raw in (b"odd", b"long", b"none")),
        ]
    )
    others = {one.name: one.digest for one in link.materials if one not in named}
    assert others == {"policy": POLICY, "library": LIBRARY, "opa": OPA}


def test_an_execution_names_the_newest_release_of_its_policy(world):
    world.own.enforced(prepared(sequence=1))
    world.own.enforced(prepared(sequence=2))
    world.agent.begin()
    assert world.kinds() == [ENFORCE, ENFORCE, START]
    assert Ref("link/release/enforce", payload_digest(world.plane.payloads[1])) in world.plane.links[2].materials


def test_each_new_trust_state_once(world):
    first, second = state("a", modes=1, links=2), state("b", modes=1, links=3, grants=4)
    for one in (first, first, second, second, first):
        world.own.trust(one, required=True)
    assert world.kinds() == [TRUST] * 3
    assert [(link.old, link.new) for link in world.plane.links] == [
        (None, first.digest), (first.digest, second.digest), (second.digest, first.digest),
    ]  # fmt: skip
    assert [link.changed for link in world.plane.links] == [
        ("execution", "links", "modes"), ("grants", "links"), ("grants", "links"),
    ]  # fmt: skip


@pytest.mark.parametrize("archived", [True, False])
def test_a_new_agent_goes_on_from_the_state_before(world, archived):
    first, second = state("a", modes=1), state("b", modes=2)
    world.own.trust(first, required=True)
    if archived:
        path = world.directory / "states" / f"{first.digest.removeprefix('sha256:')}.json"
        path.write_text(json.dumps(first.trust))
    world.agent.kill()
    world.open()
    world.own.trust(second, required=True)
    world.kinds()
    assert (world.plane.links[1].old, world.plane.links[1].new) == (first.digest, second.digest)
    assert world.plane.links[1].changed == (("modes",) if archived else ("execution", "modes"))


def test_no_lease_under_a_state_that_cannot_be_noted(world, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(world.agent.journal, "add", full)
        with pytest.raises(Unnoted):
            world.own.trust(state("a"), required=True)
        assert world.agent.reasons() == [Reason.LINEAGE_UNAVAILABLE]
        world.own.trust(state("a"), required=False)
        world.agent.shipping.vouch()
        assert world.agent.reasons() == [Reason.LINEAGE_UNAVAILABLE], "whoever else looks at it"
    world.own.write_left()
    assert world.agent.reasons() == []
    world.own.trust(state("a"), required=True)
    assert world.kinds() == [TRUST]


def test_the_lease_is_noted_when_it_changes(world):
    jump, pause = Doubt("clock", Reason.CLOCK_JUMP, "it jumped"), Doubt("x", Reason.AGENT_PAUSED, "y" * 2000)
    for against in ([pause], [], [], [jump, pause], [pause], [jump], [], []):
        world.own.lease(against)
    world.own.ended()
    world.own.ended()
    assert world.kinds() == [RENEWED, WITHDRAWN, RENEWED, WITHDRAWN]
    said = [(link.byproducts["reason"], link.byproducts["detail"][:40]) for link in world.plane.links]
    assert said == [
        (None, ""),
        ("clock.jump", "clock.jump (it jumped); agent.paused (yy"),
        (None, ""),
        ("agent.ended", "agent.ended (it was asked to end)"),
    ]


def test_what_could_not_be_written_is_written_later_and_in_order(world, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(world.agent.journal, "add", full)
        world.own.lease([])
        assert world.agent.reasons() == [Reason.LINEAGE_UNAVAILABLE]
        world.own.lease([Doubt("journal", Reason.LINEAGE_UNAVAILABLE, "disk full")])
        world.own.enforced(prepared())
        with pytest.raises(Denied):
            world.own.write_left()
    world.own.write_left()
    assert world.kinds() == [RENEWED, WITHDRAWN, ENFORCE]
    assert world.agent.reasons() == []


def test_before_the_first_metadata_there_is_nothing_to_say(world):
    world.sidecar = None
    world.own.lease([])
    world.own.enforced(prepared())
    assert world.kinds() == []


class Lease:
    """The lease's keeper with all but the journal replaced."""

    def __init__(self, world, tmp_path):
        self.put, self.down = [], False
        self.state = state("a")
        files = SidecarFiles(tmp_path / "till")
        files.prepare()
        config = SimpleNamespace(files=files, lease_ttl=3.0, renewal=1.0)
        clock = SimpleNamespace(check=lambda: None)
        pointer = SimpleNamespace(horizon_seconds=60)
        known = SimpleNamespace(left=lambda: 60.0, age=lambda: 0.0, snapshot=SimpleNamespace(pointer=pointer))
        self.keeper = LeaseKeeper(config, clock, world.agent.doubts, lambda: self, lambda: known, self, world.own)

    def current(self, known):
        return self.state

    def written(self, state):
        pass

    def put_state(self, document):
        if self.down:
            raise OpaUnavailable("gone")
        self.put.append(document)


def test_the_lease_and_its_state_are_noted_before_opa_decides_by_them(world, tmp_path):
    lease = Lease(world, tmp_path)
    lease.down = True
    lease.keeper.step()
    assert world.kinds() == [TRUST], "noted before it is given to OPA"
    lease.down = False
    lease.keeper.step()
    assert world.kinds() == [TRUST, RENEWED]
    lease.keeper.withdraw()
    assert world.kinds() == [TRUST, RENEWED, WITHDRAWN]
    assert [one["lease"] is None for one in lease.put] == [False, True]


def test_no_lease_lasts_longer_than_a_break_is_borne(world, tmp_path):
    lease, doubts = Lease(world, tmp_path), world.agent.doubts
    for left, within in ((60.0, 3.0), (1.5, 1.5), (0.0, None)):
        doubts.vouch(CONCERN, boot_seconds() + left, Doubt(CONCERN, Reason.LINEAGE_BROKEN, "borne for its time"))
        lease.keeper.step()
        given = lease.put[-1]["lease"]
        assert (given is None) == (within is None)
        if within is not None:
            assert within - 0.5 < (given["valid_until_ns"] - given["issued_at_ns"]) / 1e9 <= within
    assert [one.reason for one in lease.keeper.against] == [Reason.LINEAGE_BROKEN]


def test_a_journal_that_cannot_be_written_takes_the_lease_away(world, tmp_path, monkeypatch):
    lease = Lease(world, tmp_path)
    lease.keeper.step()
    assert lease.put[-1]["lease"]
    lease.state = state("b")
    with monkeypatch.context() as patched:
        patched.setattr(world.agent.journal, "add", full)
        lease.keeper.step()
        assert len(lease.put) == 1, "not under a state that nobody knows of"
        lease.keeper.step()
        assert lease.put[-1]["lease"] is None
        assert lease.keeper.held() is None
    world.own.write_left()
    lease.keeper.step()
    assert lease.put[-1]["lease"]
    assert world.kinds() == [TRUST, RENEWED, WITHDRAWN, TRUST, RENEWED]

"""Shipping signed batches: crashes at every step, services that do not answer, a control plane that says no."""

import itertools
import json
import os
from concurrent.futures import Future
from pathlib import Path

import pytest

from app.core.errors import PlacetError, UsageError
from app.core.reason_codes import Reason
from app.sidecar import doubts
from app.sidecar import signed_shipping as module
from app.sidecar.batch_notes import Notes
from app.sidecar.batches import Cutter
from app.sidecar.config import SidecarFiles
from app.sidecar.control_plane import NotAccepted
from app.sidecar.doubts import Doubts
from app.sidecar.failures import Failures
from app.sidecar.shipper import Shipper, tidy
from app.sidecar.shipping import PlainShipping
from app.sidecar.signed_shipping import BREAKS, CONCERN, VOUCH_HOLDS, SignedShipping

from .batch_kit import OPA, SIDECAR, STATE, STATE_DOCUMENT, Crash, Plane, Signer, forks, record, records, write


@pytest.fixture
def files(tmp_path):
    files = SidecarFiles(tmp_path / "till")
    files.prepare()
    (files.states / f"{STATE.removeprefix('sha256:')}.json").write_bytes(STATE_DOCUMENT)
    return files


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, in the test's hand; it is the same for all modules."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


class Agent:
    """As much of an agent as ships: a new one knows nothing but what is on disk."""

    def __init__(self, files, plane, signer):
        self.files = files
        self.freed = []
        self.doubts = Doubts({CONCERN: VOUCH_HOLDS}, lambda: None)
        self.notes = Notes(files)
        cutter = Cutter(self.notes, OPA, lambda: SIDECAR)
        self.shipping = SignedShipping(
            files.states, self.notes, cutter, signer, plane, self.doubts,
            lambda path, upto: self.freed.append((path.name, upto)), Failures(),
        )  # fmt: skip

    def start(self):
        tidy(self.files.records)
        self.shipping.open()
        return self

    def drain(self, clock, *, within=60.0, ended=True):
        deadline = clock[0] + within
        while clock[0] < deadline:
            wait = self.shipping.step(ended=ended)
            if wait and not self.notes.pending:
                return
            clock[0] += wait or 0.01
        pytest.fail(f"still pending: {self.shipping.describe()}")

    def reasons(self):
        return [doubt.reason for doubt in self.doubts.current()]


@pytest.fixture
def plane():
    return Plane()


@pytest.fixture
def signer():
    return Signer()


@pytest.fixture
def agent(files, plane, signer, clock):
    return Agent(files, plane, signer)


def failing(times, error):
    """Fails so many times, and then no more."""
    left = itertools.count(times, -1)

    def fail(_):
        if next(left) > 0:
            raise error

    return fail


def test_everything_arrives_once_and_in_order(files, plane, agent, clock):
    first, second = write(files, 1, records(2500)), write(files, 2, records(10, start=2500))
    agent.start().drain(clock)
    assert plane.kept == {first.name: records(2500), second.name: records(10, start=2500)}
    assert [says.entries for says, _ in plane.taken] == [1000, 1000, 500, 10]
    assert agent.freed[-1] == (second.name, len(records(10, start=2500)))
    assert not list(files.records.iterdir())
    assert agent.reasons() == []


def test_states_go_before_the_batch_that_names_them_and_once(files, plane, agent, clock):
    write(files, 1, records(2500) + record(2500, state="sha256:" + "9" * 64))
    agent.start().drain(clock)
    assert plane.states == {STATE: STATE_DOCUMENT}
    assert plane.calls[:2] == ["state", "batch"]
    assert plane.calls.count("state") == 1


@pytest.mark.parametrize("content", [None, b"{}"])
def test_a_state_that_is_lost_holds_nothing_back(files, plane, agent, clock, content, caplog):
    path = files.states / f"{STATE.removeprefix('sha256:')}.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    write(files, 1, records(2500))
    agent.start().drain(clock)
    assert plane.states == {}
    assert len(plane.taken) == 3
    assert [message for message in caplog.messages if "is lost" in message] == [
        f"states: {path} is lost: decisions under this trust state cannot be replayed"
    ]


def test_a_state_that_was_not_taken_holds_its_batch_back(files, plane, agent, clock):
    plane.before = lambda call: no("status 503: no") if call == "state" else None
    write(files, 1, records(2))
    agent.start().shipping.step(ended=True)
    assert plane.calls == ["state"]
    assert plane.taken == []
    plane.before = lambda call: None
    agent.drain(clock)
    assert len(plane.taken) == 1


def no(text, reason=None):
    raise NotAccepted(text, reason)


MOMENTS = ("note", "signature", "signed", "state", "before", "after", "acknowledgement", "free")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("more", [b"", records(3, start=1500)])
def test_a_crash_loses_nothing_and_forks_nothing(files, plane, signer, clock, monkeypatch, moment, more):
    path = write(files, 1, records(1500))
    agent = Agent(files, plane, signer).start()
    with monkeypatch.context() as broken:
        break_at(moment, agent, plane, signer, broken)
        with pytest.raises(Crash):
            agent.drain(clock)
    plane.before = plane.after = signer.fail = lambda _: None
    if more:
        write(files, 1, more)
    agent = Agent(files, plane, signer).start()
    agent.drain(clock)
    assert plane.kept[path.name] == records(1500) + more
    assert sum(says.entries for says, _ in plane.taken) == 1500 + more.count(b"\n")
    assert forks(signer.signed) == []
    assert agent.freed[-1] == (path.name, len(records(1500) + more))


def break_at(moment, agent, plane, signer, broken):
    def crash(*_, **__):
        raise Crash

    def crash_in(call):
        return lambda made: crash() if made == call else None

    if moment == "note":
        broken.setattr("app.sidecar.batch_notes.write_atomically", crash)
    elif moment == "signature":
        signer.fail = crash
    elif moment == "signed":
        broken.setattr(agent.shipping, "_ship_first", crash)
    elif moment == "state":
        plane.after = crash_in("state")
    elif moment in {"before", "after"}:
        setattr(plane, moment, crash_in("batch"))
    elif moment == "acknowledgement":
        broken.setattr(agent.notes, "acknowledge", crash)
    else:
        agent.shipping._freed = crash


def only(call, fail):
    """Fails at this call alone."""
    return lambda made: fail(made) if made == call else None


class Fuse:
    """Lets so many operations on disk or network begin, and then no more: the process is dead."""

    def __init__(self, monkeypatch, plane, signer):
        self.left = None
        places = [(os, "fsync"), (os, "fdatasync"), (os, "fchmod"), (Path, "replace"), (Path, "unlink")]
        places += [(plane, "ship_batch"), (plane, "put_state"), (signer, "begin")]
        for owner, name in places:
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, real):
        def operate(*arguments, **options):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Crash
            return real(*arguments, **options)

        return operate


def test_a_crash_before_any_operation_on_disk_or_network(tmp_path, clock, monkeypatch):
    """Two files and three batches; one run for each operation that there is, dying before it."""
    deaths = 0
    for operation in range(1000):
        plane, signer = Plane(), Signer()
        files = SidecarFiles(tmp_path / str(operation))
        files.prepare()
        (files.states / f"{STATE.removeprefix('sha256:')}.json").write_bytes(STATE_DOCUMENT)
        paths = [write(files, 1, records(1100)), write(files, 2, records(2, start=1100) + b'{"torn":')]
        with monkeypatch.context() as patched:
            fuse = Fuse(patched, plane, signer)
            agent = Agent(files, plane, signer)
            fuse.left = operation
            try:
                agent.start().drain(clock)
                died = False
            except Crash:
                died = True
            fuse.left = None
            paths.append(write(files, 3, records(3, start=1102)))
            Agent(files, plane, signer).start().drain(clock)
        kept = {paths[0].name: records(1100), paths[1].name: records(2, start=1100) + b'{"torn":\n'}
        assert plane.kept == {**kept, paths[2].name: records(3, start=1102)}, operation
        assert sum(says.entries for says, _ in plane.taken) == 1106, operation
        assert forks(signer.signed) == [], operation
        assert not list(files.records.iterdir()), operation
        deaths += died
        if not died:
            break
    assert deaths > 30


@pytest.mark.parametrize("where", ["identity", "batch", "state"])
def test_whoever_does_not_answer_breaks_nothing(files, plane, signer, agent, clock, where):
    write(files, 1, records(1500))
    unanswered = NotAccepted("the control plane does not answer: ConnectError")
    if where == "identity":
        signer.fail = failing(5, unanswered)
    else:
        plane.before = only(where, failing(5, unanswered))
    agent.start().shipping.step(ended=True)
    assert agent.reasons() == []
    described = agent.shipping.describe()
    assert described["waiting"] == 2
    assert described["waiting_since"].startswith("20")
    assert "does not answer" in described["trouble"]
    assert agent.freed == []
    agent.drain(clock)
    assert agent.shipping.describe()["waiting"] == 0
    assert agent.shipping.describe()["trouble"] is None
    assert sum(says.entries for says, _ in plane.taken) == 1500
    assert forks(signer.signed) == []


def test_a_shipment_that_is_slow_ends_no_lease(files, plane, agent, clock, monkeypatch):
    """Somebody on the way lets a batch through byte by byte: no call times out, and nothing is refused."""
    write(files, 1, records(3))
    agent.start()
    boot, found = [doubts.boot_seconds()], []
    monkeypatch.setattr(doubts, "boot_seconds", lambda: boot[0])

    def slowly(call):
        boot[0] += 3600.0
        found.append((call, agent.reasons()))

    plane.before = slowly
    agent.drain(clock)
    assert found == [("state", []), ("batch", [])]


def test_tries_come_less_often_when_nobody_answers(files, plane, agent, clock):
    tries = []
    plane.before = lambda call: tries.append(clock[0]) or no("the control plane does not answer")
    write(files, 1, records(1))
    agent.start()
    while clock[0] < 1120:
        agent.shipping.step(ended=True)
        clock[0] += 0.1
    waits = [round(after - before) for before, after in itertools.pairwise(tries)]
    assert waits[:4] == [1, 2, 4, 8]
    assert set(waits[4:]) == {15}


def test_many_that_fail_at_once_are_one_failure(files, signer, agent, clock):
    signer.fail = lambda batch: no("fulcio does not answer")
    write(files, 1, records(10_000))
    agent.start().shipping.step(ended=True)
    agent.shipping.step(ended=True)
    assert agent.shipping.describe()["waiting"] == 10
    signer.fail = lambda batch: None
    agent.drain(clock, within=2.0)


@pytest.mark.parametrize("reason", sorted(BREAKS))
def test_a_refusal_ends_the_lease_until_the_batch_is_taken(files, plane, signer, agent, clock, reason):
    write(files, 1, records(5))
    tries = []
    plane.before = lambda call: (tries.append(clock[0]), no("status 409: no", reason)) if call == "batch" else None
    agent.start()
    for _ in range(110):
        agent.shipping.step(ended=True)
        assert agent.reasons() == [reason]
        clock[0] += 0.1
    assert [round(after - before) for before, after in itertools.pairwise(tries)] == [5, 5]
    plane.before = lambda call: no("the control plane does not answer")
    clock[0] += 6
    agent.shipping.step(ended=True)
    assert agent.reasons() == [reason], "who does not answer has not forgiven anything"
    plane.before = lambda call: None
    agent.drain(clock)
    assert agent.reasons() == []
    assert len(plane.taken) == 1
    assert forks(signer.signed) == []


def test_the_first_refusal_says_why(files, plane, agent, clock):
    write(files, 1, records(5))
    agent.start()
    for reason in (Reason.BATCH_GAP, Reason.LINEAGE_BROKEN):
        plane.before = lambda call, reason=reason: no(f"because of {reason}", reason) if call == "batch" else None
        agent.shipping.step(ended=True)
        clock[0] += 6
    assert [(doubt.reason, doubt.detail) for doubt in agent.doubts.current()] == [
        (Reason.BATCH_GAP, "because of batch.gap")
    ]


def test_a_new_agent_knows_of_the_break(files, plane, signer, agent, clock):
    write(files, 1, records(5))
    plane.before = lambda call: no("status 409: no", Reason.BATCH_FORK) if call == "batch" else None
    agent.start().shipping.step(ended=True)
    plane.before = lambda call: no("the control plane does not answer")
    again = Agent(files, plane, signer).start()
    assert again.reasons() == [Reason.BATCH_FORK]
    again.shipping.step(ended=True)
    assert again.reasons() == [Reason.BATCH_FORK]
    plane.before = lambda call: None
    again.drain(clock)
    assert again.reasons() == []
    assert Agent(files, plane, signer).start().reasons() == []


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"reason":"none.such","detail":"x"}'])
def test_a_break_that_cannot_be_read_is_one(files, plane, signer, damage):
    agent = Agent(files, plane, signer).start()
    (agent.notes.directory / module.BREAK).write_bytes(damage)
    assert Agent(files, plane, signer).start().reasons() == [Reason.LINEAGE_BROKEN]


def test_an_evicted_sidecar_gets_no_token_and_no_lease(files, plane, signer, agent, clock):
    write(files, 1, records(5))
    signer.fail = lambda batch: no("status 403: evicted", Reason.SIDECAR_EVICTED)
    agent.start().shipping.step(ended=True)
    agent.shipping.step(ended=True)
    assert agent.reasons() == [Reason.SIDECAR_EVICTED]
    signer.fail = lambda batch: None
    agent.drain(clock)
    assert agent.reasons() == []


@pytest.mark.parametrize("reason", [None, Reason.RECORD_CONFLICT])
def test_other_refusals_are_no_break(files, plane, agent, clock, reason):
    write(files, 1, records(5))
    plane.before = failing(2, NotAccepted("status 409: something else", reason))
    agent.start().shipping.step(ended=True)
    assert agent.reasons() == []
    refused = agent.shipping.refused
    assert (refused.reason if refused else None) == reason
    agent.drain(clock)
    assert agent.shipping.refused is None


def test_what_is_refused_is_told_since_when_it_is_also_after_a_restart(files, plane, signer, agent, clock):
    write(files, 1, records(5))
    plane.before = only("batch", lambda _: no("status 409: 3 to 7 are missing", Reason.BATCH_GAP))
    agent.start().shipping.step(ended=True)
    told = agent.shipping.refused.told("records")
    assert (told["code"], told["detail"]) == ("batch.gap", "status 409: 3 to 7 are missing")
    os.utime(next(files.batches.glob("*/break.json")), (1_800_000_000, 1_800_000_000))
    agent = Agent(files, plane, signer).start()
    assert agent.shipping.refused.told("records") == {**told, "since": "2027-01-15T08:00:00Z"}
    plane.before = lambda _: None
    agent.drain(clock)
    assert agent.shipping.refused is None


def test_a_signature_that_was_refused_is_made_again_over_the_same_statement(files, plane, signer, agent, clock):
    write(files, 1, records(5))
    plane.before = only("batch", failing(1, NotAccepted("no", Reason.BATCH_INVALID)))
    agent.start().drain(clock)
    assert len(signer.signed) == 2
    assert forks(signer.signed) == []


def test_another_lineage_under_the_same_instance_is_found(files, plane, signer, clock):
    """A disk that was put back: the same instance goes on from an older place, with other salts."""
    write(files, 1, records(5))
    Agent(files, plane, signer).start().drain(clock)
    for note in (files.batches / files.instance()).iterdir():
        note.unlink()
    write(files, 2, records(5))
    agent = Agent(files, plane, signer).start()
    agent.shipping.step(ended=True)
    assert agent.reasons() == [Reason.BATCH_FORK]


class Slow(Signer):
    """Signs when it is told to."""

    def __init__(self):
        super().__init__()
        self.futures = {}

    def begin(self, unsigned):
        self.signed.append(unsigned)
        return self.futures.setdefault(unsigned.subject, Future())

    def finish(self, unsigned):
        self.futures[unsigned.subject].set_result(b"signed: " + unsigned.statement)


def test_several_are_signed_at_once_and_shipped_in_order(files, plane, clock):
    signer = Slow()
    agent = Agent(files, plane, signer).start()
    write(files, 1, records((module.WINDOW + 8) * 1000))
    agent.shipping.step(ended=True)
    assert len(agent.notes.pending) == module.WINDOW, "no more wait than that"
    assert len(signer.signed) == module.AT_ONCE
    assert agent.shipping.describe()["in_flight"] == module.AT_ONCE
    for unsigned in reversed(signer.signed[1:]):
        signer.finish(unsigned)
    agent.shipping.step(ended=True)
    assert plane.taken == []
    signer.finish(signer.signed[0])
    while agent.shipping.step(ended=True) == 0.0:
        pass
    assert [says.first_entry for says, _ in plane.taken] == [1000 * n for n in range(module.AT_ONCE)]
    assert len(signer.signed) == 2 * module.AT_ONCE


def test_the_last_records_go_when_the_agent_ends(files, plane, signer, agent, clock):
    path = write(files, 1, records(2) + b'{"torn":')
    agent.start().shipping.finish(5.0)
    assert plane.kept[path.name] == records(2) + b'{"torn":\n'
    assert not path.exists()


def test_what_waits_at_the_end_is_said(files, plane, signer, agent, clock):
    write(files, 1, records(2))
    plane.before = lambda call: no("the control plane does not answer")
    with pytest.raises(PlacetError, match="1 batch not shipped: the control plane does not answer"):
        agent.start().shipping.finish(5.0)
    plane.before = lambda call: None
    again = Agent(files, plane, signer).start()
    again.drain(clock)
    assert forks(signer.signed) == []


def test_a_full_disk_holds_back_and_loses_nothing(files, plane, signer, agent, clock, monkeypatch):
    path = write(files, 1, records(2))
    agent.start()

    def full(*_, **__):
        raise PlacetError("cannot write: No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("app.sidecar.batch_notes.write_atomically", full)
        with pytest.raises(PlacetError, match="No space"):
            agent.shipping.step(ended=True)
    with monkeypatch.context() as broken:
        broken.setattr("app.sidecar.shipper.write_atomically", full)
        agent.shipping.step(ended=True)
        assert agent.freed == [], "nothing is given back that was not noted"
    agent.drain(clock)
    assert plane.kept[path.name] == records(2)
    assert len(plane.taken) == 1


def test_an_agent_that_signed_does_not_go_on_unsigned(files, plane, agent, clock):
    plain = PlainShipping(Shipper(files.records, plane, lambda *_: None), files, Failures())
    plain.open()
    write(files, 1, records(2))
    agent.start().drain(clock)
    with pytest.raises(UsageError, match=r"give --lineage-trust-config, or .* delete .*private/instance"):
        plain.open()


def test_the_status_is_json(files, plane, signer, agent, clock):
    write(files, 1, records(2))
    signer.fail = lambda batch: no("fulcio does not answer")
    agent.start().shipping.step(ended=True)
    agent.shipping.step(ended=True)
    described = agent.shipping.describe()
    assert json.loads(json.dumps(described)) == described
    assert {name: described[name] for name in ("acknowledged", "waiting", "in_flight", "signed")} == {
        "acknowledged": 0, "waiting": 1, "in_flight": 0, "signed": 0,
    }  # fmt: skip

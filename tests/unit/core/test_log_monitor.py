"""A monitor against logs that lie, each in its own way, all with the log's own key."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core import merkle
from app.core.errors import Denied, PlacetError, UsageError
from app.core.log_expected import ExpectedFile, checked_page
from app.core.log_monitor import DEFAULT_GRACE, Monitor
from app.core.log_monitor_state import MonitorState
from app.core.log_source import DirectorySource, LogUnavailable
from app.core.log_witness import FileWitness, witness
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig

from .log_kit import Authority, MadeLog, Plane, Signer, flip, some


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def sidecar(authority):
    return Signer(authority)


@pytest.fixture
def log(tmp_path, authority):
    made = MadeLog(tmp_path / "log", authority)
    made.publish(*some(300))
    return made


class Follower:
    """A monitor that keeps its state in a file, as the command does."""

    def __init__(self, log, file, **more):
        self.at = datetime.now(UTC)
        self.file, self.trust = file, log.authority.trust
        self.monitor = Monitor(DirectorySource(log.directory), self.trust, now=lambda: self.at, **more)

    def look(self, **how):
        report, state = self.monitor.look(MonitorState.load(self.file, self.trust), **how)
        if not report.findings:
            state.save(self.file)
        return report

    def later(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def follow(log, tmp_path):
    return lambda made=None, **more: Follower(made or log, tmp_path / "state.json", **more)


def reasons(report):
    return [one.reason for one in report.findings]


# ---- a log that is what it says ----------------------------------------------------------------------------


def test_it_follows_the_log(log, follow):
    follower = follow()
    first = follower.look()
    assert (first.before, first.now.size, first.scanned, first.findings) == (None, 300, 300, [])
    log.publish(*some(500, "more"))
    second = follower.look()
    assert (second.before, second.now.size, second.scanned, second.findings) == (first.now, 800, 500, [])
    assert follower.look().scanned == 0
    assert follower.look(full=True).scanned == 800


def test_an_empty_log(tmp_path, authority, follow, log):
    empty = MadeLog(tmp_path / "empty", authority)
    empty.publish()
    follower = Follower(empty, tmp_path / "empty.json")
    assert follower.look().findings == []
    empty.publish(b"first")
    report = follower.look()
    assert (report.findings, report.scanned) == ([], 1)


def test_what_a_full_tile_replaced(log, follow):
    follower = follow()
    follower.look()
    log.publish(*some(300, "more"), partial=False)
    assert follower.look().findings == []


# ---- logs that lie -----------------------------------------------------------------------------------------


def test_a_forked_log(tmp_path, authority, log, follow):
    follower = follow()
    before = follower.look().now
    kept = follower.file.read_bytes()
    # Everything about the fork holds by itself: it is signed by the log's own key, and it is larger.
    fork = MadeLog(tmp_path / "fork", authority, some(299))
    fork.publish(b"another entry", *some(100, "more"))
    log.directory.rename(tmp_path / "aside")
    fork.directory.rename(log.directory)
    report = follower.look()
    assert reasons(report) == [Reason.LOG_INCONSISTENT]
    assert [one.note for one in report.findings[0].checkpoints] == [before.note, report.now.note]
    assert follower.file.read_bytes() == kept  # and it goes on being found
    assert reasons(follower.look()) == [Reason.LOG_INCONSISTENT]


def test_two_roots_of_one_size(tmp_path, authority, log, follow):
    follower = follow()
    follower.look()
    fork = MadeLog(tmp_path / "fork", authority)
    fork.publish(*some(299), b"another entry")
    log.directory.rename(tmp_path / "aside")
    fork.directory.rename(log.directory)
    report = follower.look()
    assert reasons(report) == [Reason.LOG_INCONSISTENT]
    assert "of 300 entries there are two roots" in report.findings[0].detail


def test_a_log_that_was_rolled_back(log, follow):
    follower = follow()
    follower.look()
    earlier = log.authority.note(200, merkle.root(log.leaves[:200]))
    log.show(earlier)
    report = follower.look()
    assert Reason.LOG_INCONSISTENT in reasons(report)
    assert "has 200 entries now, and had 300" in report.findings[0].detail


@pytest.mark.parametrize("level", ["entries", "0"])
def test_a_log_that_was_truncated(log, follow, level):
    follower = follow()
    follower.look()
    log.publish(*some(300, "more"))
    log.file(level, 2).unlink()
    report = follower.look()
    assert set(reasons(report)) == {Reason.LOG_MISSING}
    assert f"tile/{level}/002.p/88 is not there" in report.findings[0].detail


def test_an_entry_that_was_replaced(log, follow):
    path = log.file("entries", 0)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"entry 17", b"entry 71", 1))
    report = follow().look()
    assert reasons(report) == [Reason.LOG_INVALID]
    assert report.findings[0].detail == "tile/entries/000 and tile/0/000 differ in entry 17"
    assert report.findings[0].index == 17


def test_an_entry_and_its_leaf_that_were_replaced(log, follow):
    path = log.file("entries", 0)
    path.write_bytes(path.read_bytes().replace(b"entry 17", b"entry 71", 1))
    leaves = log.leaves[:256]
    leaves[17] = merkle.entry_hash(b"entry 71")
    log.file("0", 0).write_bytes(b"".join(leaves))
    report = follow().look()
    assert [one.detail for one in report.findings] == ["tile/0/000 and tile/1/000 contradict each other"]


def test_every_bit_of_every_tile_counts(log, follow):
    log.publish(*some(300, "more"))
    paths = [path for path in log.directory.rglob("*") if path.is_file() and path.name != "checkpoint"]
    used = [log.file("entries", n) for n in range(3)] + [log.file("0", n) for n in range(3)] + [log.file("1", 0)]
    assert set(used) <= set(paths)
    for path in used:
        raw = path.read_bytes()
        for at in {0, 1, 2, 31, 32, len(raw) // 2, len(raw) - 1}:
            flip(path, at)
            report = follow().look()
            assert report.findings, (path, at)
            assert set(reasons(report)) <= {Reason.LOG_INVALID, Reason.LOG_MISSING}
            path.write_bytes(raw)
    assert follow().look().findings == []


def test_old_tiles_are_compared_in_full(log, follow):
    follower = follow()
    follower.look()
    log.publish(*some(300, "more"))
    follower.look()
    flip(log.file("entries", 0), 5)
    assert follower.look().findings == []  # which is why there is --full
    assert reasons(follower.look(full=True)) == [Reason.LOG_INVALID]


@pytest.mark.parametrize("how", ["key", "origin"])
def test_a_checkpoint_of_another_log(log, follow, stranger, how):
    follower = follow()
    follower.look()
    root = merkle.root(log.leaves)
    log.show(stranger.note(300, root) if how == "key" else log.authority.note(300, root, origin="log.example.org"))
    with pytest.raises(Denied, match=r"^log\.invalid: "):
        follower.look()


def test_a_log_that_is_down(log, follow):
    (log.directory / "checkpoint").unlink()
    with pytest.raises(LogUnavailable):
        follow().look()


# ---- witnesses ---------------------------------------------------------------------------------------------


def test_witnesses_who_saw_the_same_log(tmp_path, log, follow):
    files = []
    for size in (1, 128, 255, 256, 257, 300):
        file = tmp_path / f"{size}.checkpoint"
        file.write_text(log.authority.note(size, merkle.root(log.leaves[:size])))
        files.append(witness(str(file)))
    report = follow(witnesses=files).look()
    assert (report.findings, report.witnessed, report.unavailable) == ([], 6, [])


def test_a_witness_who_saw_another_history(tmp_path, log, follow):
    seen = tmp_path / "seen"
    seen.write_text(log.authority.note(120, merkle.root(MadeLog(tmp_path / "x", log.authority, some(120, "y")).leaves)))
    report = follow(witnesses=[FileWitness(seen)]).look()
    assert reasons(report) == [Reason.LOG_INCONSISTENT]
    assert report.findings[0].entry == str(seen)
    assert [one.size for one in report.findings[0].checkpoints] == [120, 300]


def test_a_witness_who_saw_more(tmp_path, log, follow):
    seen = tmp_path / "seen"
    seen.write_text(log.authority.note(301, merkle.root([*log.leaves, bytes(32)])))
    report = follow(witnesses=[FileWitness(seen)]).look()
    assert reasons(report) == [Reason.LOG_INCONSISTENT]
    assert "has 300 entries now, and had 301" in report.findings[0].detail


def test_a_witness_of_another_log(tmp_path, log, follow, stranger):
    seen = tmp_path / "seen"
    seen.write_text(stranger.note(5, bytes(32)))
    report = follow(witnesses=[FileWitness(seen)]).look()
    assert reasons(report) == [Reason.LOG_INVALID]
    assert report.findings[0].entry == str(seen)


def test_witnesses_that_do_not_answer(tmp_path, follow):
    report = follow(witnesses=[witness("http://127.0.0.1:9/checkpoint")]).look()
    assert (report.findings, len(report.unavailable)) == ([], 1)
    with pytest.raises(UsageError):
        follow(witnesses=[FileWitness(tmp_path / "nowhere")]).look()


# ---- what the control plane holds --------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path, authority, sidecar):
    """A log that a sidecar and others write to: the sidecar's are those at odd places."""
    made = MadeLog(tmp_path / "signed", authority)
    made.publish(*(sidecar.entry(f"s{n}") if n % 2 else f"other {n}".encode() for n in range(10)))
    return made


OWN = (1, 3, 5, 7, 9)


def test_everything_is_claimed(signed, follow):
    plane = Plane()
    plane.hold(signed, *OWN)
    report = follow(signed, expected=plane).look()
    assert (report.findings, report.own, report.expected, report.unclaimed) == ([], 5, 5, 0)
    assert report.witnessed == 1  # all five hold the same checkpoint


def test_the_order_does_not_matter_and_it_goes_on_where_it_ended(signed, follow):
    plane = Plane()
    plane.hold(signed, 9, 1, 5)
    follower = follow(signed, expected=plane)
    report = follower.look()
    assert (report.findings, report.unclaimed) == ([], 2)
    plane.hold(signed, 7, 3)  # of entries that were read already
    report = follower.look()
    assert (report.findings, report.unclaimed, report.expected, report.scanned) == ([], 0, 2, 0)
    assert plane.asked[-1] == "3"


def test_an_expected_entry_that_is_not_there(signed, follow):
    plane = Plane()
    plane.hold(signed, *OWN)
    plane.entries[2] = plane.entries[2].model_copy(update={"leaf": "ab" * 32})
    report = follow(signed, expected=plane).look()
    assert reasons(report) == [Reason.LOG_MISSING]
    assert (report.findings[0].index, report.findings[0].entry) == (5, "batch payments/a/i1/5")
    # Nor when it is told of after the log was read.
    plane.entries[2:], late = [], plane.entries[2]
    follower = follow(signed, expected=plane)
    assert follower.look().findings == []
    plane.entries.append(late)
    assert reasons(follower.look()) == [Reason.LOG_MISSING]


def test_an_expected_entry_beyond_the_log(signed, follow):
    plane = Plane()
    plane.hold(signed, *OWN)
    plane.entries.append(plane.entries[0].model_copy(update={"index": "10"}))
    report = follow(signed, expected=plane).look()
    assert reasons(report) == [Reason.LOG_MISSING]
    assert "has 10 entries, and none at 10" in report.findings[0].detail


def test_an_entry_that_was_replaced_under_an_expected_one(tmp_path, authority, signed, sidecar, follow):
    plane = Plane()
    plane.hold(signed, *OWN)
    changed = MadeLog(tmp_path / "changed", authority)
    changed.publish(*signed.entries[:5], sidecar.entry("another"), *signed.entries[6:])
    signed.directory.rename(tmp_path / "aside")
    changed.directory.rename(signed.directory)
    report = follow(signed, expected=plane).look()
    # The sidecar's own checkpoint contradicts this log, and the entry is not the one that the control plane holds.
    assert sorted(reasons(report)) == [Reason.LOG_INCONSISTENT, Reason.LOG_MISSING]


def test_a_split_view_is_seen_by_what_sidecars_saw(tmp_path, authority, signed, follow, sidecar):
    """The log shows the monitor a shorter history than it showed the sidecar."""
    plane = Plane()
    signed.publish(sidecar.entry("hidden"))
    plane.hold(signed, *OWN, 10)
    signed.show(authority.note(10, merkle.root(signed.leaves[:10])))
    report = follow(signed, expected=plane).look()
    assert sorted(set(reasons(report))) == [Reason.LOG_INCONSISTENT, Reason.LOG_MISSING]


def test_entries_that_are_stored_while_it_looks(signed, sidecar, follow):
    """What the log gets between our checkpoint and the control plane's answer is no finding."""

    class Busy(Plane):
        def page(self, after):
            if not self.asked:
                signed.publish(sidecar.entry("meanwhile"))
                self.hold(signed, *OWN, 10)
            return super().page(after)

    report = follow(signed, expected=Busy()).look()
    assert (report.findings, report.now.size, report.scanned, report.unclaimed) == ([], 11, 11, 0)


def test_an_entry_that_nobody_claims(signed, follow):
    plane = Plane()
    plane.hold(signed, *OWN[:-1])
    follower = follow(signed, expected=plane)
    report = follower.look()
    assert (report.findings, report.unclaimed) == ([], 1)
    follower.later(DEFAULT_GRACE - 1)
    assert follower.look().findings == []
    follower.later(2)
    report = follower.look()
    assert reasons(report) == [Reason.LOG_UNEXPECTED]
    assert (report.findings[0].index, report.findings[0].entry) == (9, "spiffe://example.org/sidecar/payments/a")
    # Reading everything anew does not begin the time of grace again.
    assert reasons(follower.look(full=True)) == [Reason.LOG_UNEXPECTED]
    plane.hold(signed, 9)
    assert follower.look().findings == []


def test_the_same_statement_signed_again(signed, sidecar, follow):
    signed.publish(sidecar.entry("s9"), sidecar.entry("s11"), sidecar.entry("s11"))  # 10 repeats 9, 12 repeats 11
    plane = Plane()
    plane.hold(signed, *OWN, 12)
    follower = follow(signed, expected=plane)
    assert follower.look().unclaimed == 0
    signed.publish(sidecar.entry("s12"), sidecar.entry("s11"))  # long after that look
    plane.hold(signed, 13)
    follower.later(DEFAULT_GRACE + 1)
    report = follower.look()
    assert (report.findings, report.unclaimed) == ([], 0)


def test_others_entries_are_nobodys_business(signed, authority, follow):
    elsewhere = Signer(authority, "spiffe://example.com/sidecar/payments/a")
    forged = Signer(authority, own_ca=True)
    signed.publish(elsewhere.entry("theirs"), forged.entry("anybody's"), b"junk")
    plane = Plane()
    plane.hold(signed, *OWN)
    report = follow(signed, expected=plane, grace=0).look()
    assert (report.findings, report.own) == ([], 5)


def test_a_control_plane_does_not_choose_whose_entries_count(signed, follow):
    plane = Plane(identities="spiffe://example.org/sidecar/nobody")  # it hides everything that it should hold
    assert follow(signed, expected=plane, grace=0).look().findings == []
    report = follow(signed, expected=plane, own="spiffe://example.org/sidecar/", grace=0).look(full=True)
    assert reasons(report) == [Reason.LOG_UNEXPECTED] * 5
    # Alone there is nobody to claim anything; it is counted.
    report = follow(signed, own="spiffe://example.org/sidecar/", grace=0).look(full=True)
    assert (report.findings, report.own, report.unclaimed) == ([], 5, 0)


def test_entries_of_another_trusted_log_are_for_its_own_monitor(tmp_path, authority, stranger, signed, follow):
    document = json.loads(authority.file.read_text())
    [other] = json.loads(stranger.file.read_text())["trustedRoot"]["tlogs"]
    document["trustedRoot"]["tlogs"].append({**other, "baseUrl": "https://before.example.org"})
    file = tmp_path / "both.json"
    file.write_text(json.dumps(document))
    follower = follow(signed)
    follower.trust = TrustConfig.from_file(file)
    plane = Plane()
    plane.hold(signed, *OWN)
    before = stranger.note(9000, bytes(32), origin="before.example.org")
    plane.hold(signed, 7, note=before)
    follower.monitor = replace(follower.monitor, trust=follower.trust, expected=plane)
    report = follower.look()
    assert (report.findings, report.expected, report.elsewhere) == ([], 6, 1)
    # The same key in another name is no other log.
    plane.hold(signed, 7, note=authority.note(5, bytes(32), origin="127.0.0.2"))
    report = follower.look()
    assert reasons(report) == [Reason.LOG_INVALID]
    assert "of another log: '127.0.0.2'" in report.findings[0].detail


def test_evidence_that_the_control_plane_cannot_read(signed, follow):
    plane = Plane()
    plane.hold(signed, *OWN)
    plane.entries[1] = plane.entries[1].model_copy(update={"leaf": None, "checkpoint": None})
    report = follow(signed, expected=plane).look()
    assert reasons(report) == [Reason.LOG_MISSING]
    assert "cannot read its own evidence" in report.findings[0].detail


def test_many_pages_and_steps(tmp_path, authority, sidecar, monkeypatch):
    monkeypatch.setattr("app.core.log_monitor.STEP", 100)
    log = MadeLog(tmp_path / "log", authority)
    log.publish(*some(700))
    for index in range(0, 700, 50):
        log.entries[index] = sidecar.entry(f"s{index}")
    again = MadeLog(tmp_path / "again", authority)
    again.publish(*log.entries)
    plane = Plane(size=4)
    plane.hold(again, *range(650, -1, -50))
    report = Follower(again, tmp_path / "state", expected=plane, grace=0).look()
    assert (report.findings, report.own, report.expected, report.scanned) == ([], 14, 14, 700)


# ---- what it keeps -----------------------------------------------------------------------------------------


def test_a_state_that_was_damaged(log, follow, stranger):
    follower = follow()
    follower.look()
    whole = follower.file.read_bytes()
    assert follower.file.stat().st_mode & 0o777 == 0o600
    document = json.loads(whole)
    for raw in (b"", b"{", whole[:-10], json.dumps({**document, "more": 1}).encode(), b'{"format": "x"}'):
        follower.file.write_bytes(raw)
        with pytest.raises(PlacetError, match="is damaged"):
            follower.look()
    follower.file.write_text(json.dumps({**document, "checkpoint": stranger.note(5, bytes(32))}))
    with pytest.raises(Denied, match=r"^log\.invalid: what .*state\.json keeps: the checkpoint is not signed"):
        follower.look()


def test_a_look_that_is_cut_short_changes_nothing(log, follow):
    follower = follow()
    follower.look()
    before = follower.file.read_bytes()
    log.publish(*some(500, "more"))

    def killed(done, total):
        raise KeyboardInterrupt

    whole, follower.monitor = follower.monitor, replace(follower.monitor, progress=killed)
    with pytest.raises(KeyboardInterrupt):
        follower.look()
    assert follower.file.read_bytes() == before
    follower.monitor = whole
    assert follower.look().scanned == 500


def test_a_file_of_expected_entries(tmp_path, signed, follow):
    plane = Plane(size=100)
    plane.hold(signed, *OWN)
    file = tmp_path / "expected.json"
    file.write_bytes(plane.page(None).model_dump_json().encode())
    assert follow(signed, expected=ExpectedFile(file)).look().expected == 5
    file.write_text('{"identities": "x", "identities": "y"}')
    with pytest.raises(UsageError):
        ExpectedFile(file)
    for document in ({}, [], {"identities": "x", "entries": [{}], "next": "", "more": False}):
        with pytest.raises(PlacetError, match="no list of expected entries"):
            checked_page(document, "it")


@pytest.mark.parametrize("fault", ["empty pages", "the same empty page", "the same page"])
def test_a_control_plane_cannot_keep_the_monitor_asking_for_ever(signed, follow, fault):
    class Endless(Plane):
        def page(self, after):
            assert len(self.asked) < 100, "it is asked for ever"
            page = super().page(None)
            entries = page.entries if fault == "the same page" else []
            reached = str(len(self.asked)) if fault == "empty pages" else page.next
            return page.model_copy(update={"more": True, "entries": entries, "next": reached})

    plane = Endless()
    plane.hold(signed, 0, 1)
    with pytest.raises(LogUnavailable, match="leads nowhere"):
        follow(signed, expected=plane).look()


def test_a_page_of_which_nothing_can_be_listed_any_more_is_no_reason_to_stop(signed, follow):
    class Damaged(Plane):
        def page(self, after):
            page = super().page(after)
            return page.model_copy(update={"entries": []}) if len(self.asked) < 4 else page

    plane = Damaged(size=1)
    plane.hold(signed, *OWN)
    assert follow(signed, expected=plane).look().expected == 2

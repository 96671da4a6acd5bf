"""Shipping with a control plane that keeps what it is given, forgets to answer, or says no."""

import json

import pytest

from app.core.errors import PlacetError
from app.sidecar import shipper as module
from app.sidecar.control_plane import NotAccepted
from app.sidecar.shipper import Shipper


class Crash(Exception):
    """The agent dies here."""


class Plane:
    """A control plane with the rules of the real one: whole lines, in order, a repeat only if it is the same."""

    def __init__(self):
        self.kept = {}
        self.batches = []
        self.before = lambda: None
        self.after = lambda: None

    def ship(self, path, first, last, raw):
        self.before()
        assert last - first == len(raw)
        assert raw.endswith(b"\n"), "a batch ends with a whole line"
        held = self.kept.setdefault(path.name, b"")
        if first < len(held) and (path.name, first, raw) in self.batches:
            pass
        elif first != len(held):
            raise NotAccepted("another batch")
        else:
            self.kept[path.name] += raw
            self.batches.append((path.name, first, raw))
        self.after()


@pytest.fixture
def plane():
    return Plane()


@pytest.fixture
def freed():
    return []


@pytest.fixture
def ship(tmp_path, plane, freed):
    """One shipment by an agent that has just started: nothing is remembered but what is on disk."""

    def shipped(**options):
        return Shipper(tmp_path, plane, lambda path, upto: freed.append((path.name, upto))).ship(**options)

    return shipped


def write(directory, number, content):
    path = directory / f"{number:08d}.log"
    with path.open("ab") as file:
        file.write(content)
    return path


def names(directory):
    return [path.name for path in directory.iterdir()]


def lines(count, start=0):
    return b"".join(b'{"n":%d}\n' % n for n in range(start, start + count))


def drain(ship, **options):
    for _ in range(1000):
        if not ship(**options):
            return
    pytest.fail("shipping does not end")


def test_everything_arrives_once_and_in_order(tmp_path, plane, ship, freed):
    write(tmp_path, 1, lines(2500))
    write(tmp_path, 2, lines(10))
    drain(ship)
    assert plane.kept == {"00000001.log": lines(2500), "00000002.log": lines(10)}
    assert freed[-1] == ("00000002.log", len(lines(10)))
    assert [upto for name, upto in freed if name == "00000001.log"][-1] == len(lines(2500))


def test_the_file_that_is_written_stays_and_older_ones_go(tmp_path, ship):
    for number in (1, 2, 3):
        write(tmp_path, number, lines(5))
    drain(ship)
    assert sorted(names(tmp_path)) == ["00000003.ack", "00000003.log"]
    drain(ship, ended=True)
    assert names(tmp_path) == []


def test_half_a_line_waits_for_its_end(tmp_path, plane, ship):
    path = write(tmp_path, 1, lines(3) + b'{"n":')
    drain(ship)
    assert plane.kept[path.name] == lines(3)
    write(tmp_path, 1, b"3}\n")
    drain(ship)
    assert plane.kept[path.name] == lines(4)


def test_the_torn_last_line_of_a_dead_file_is_shipped_too(tmp_path, plane, ship):
    write(tmp_path, 1, lines(3) + b'{"n":')
    write(tmp_path, 2, lines(1))
    drain(ship)
    assert plane.kept["00000001.log"] == lines(3) + b'{"n":\n'
    assert plane.kept["00000002.log"] == lines(1)
    assert not (tmp_path / "00000001.log").exists()


def test_the_torn_end_of_the_last_file_when_the_agent_ends(tmp_path, plane, ship):
    write(tmp_path, 1, lines(1) + b"{")
    drain(ship, ended=True)
    assert plane.kept["00000001.log"] == lines(1) + b"{\n"
    assert names(tmp_path) == []


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("more", [b"", b'{"late":1}\n'])
def test_a_crash_around_the_call(tmp_path, plane, ship, moment, more):
    """Sent or not: the same bytes go again, whatever was written meanwhile, and arrive once."""
    path = write(tmp_path, 1, lines(3))

    def crash():
        raise Crash

    setattr(plane, moment, crash)
    with pytest.raises(Crash):
        ship()
    write(tmp_path, 1, more)
    setattr(plane, moment, lambda: None)
    drain(ship)
    assert plane.kept[path.name] == lines(3) + more
    assert plane.batches[0] == (path.name, 0, lines(3))


def test_a_crash_between_the_answer_and_the_note(tmp_path, plane, ship, freed, monkeypatch):
    path = write(tmp_path, 1, lines(3))
    write_atomically = module.write_atomically

    def crash_when_acknowledging(target, content, **options):
        if json.loads(content)["intended"] is None:
            raise Crash
        write_atomically(target, content, **options)

    monkeypatch.setattr(module, "write_atomically", crash_when_acknowledging)
    with pytest.raises(Crash):
        ship()
    assert freed == []  # nothing is given back that was not noted
    monkeypatch.setattr(module, "write_atomically", write_atomically)
    write(tmp_path, 1, lines(1, start=3))
    drain(ship)
    assert plane.kept[path.name] == lines(4)


def test_a_crash_before_the_intention_is_noted_sends_nothing(tmp_path, plane, ship, monkeypatch):
    write(tmp_path, 1, lines(3))

    def crash(*_, **__):
        raise Crash

    monkeypatch.setattr(module, "write_atomically", crash)
    with pytest.raises(Crash):
        ship()
    assert plane.batches == []


def test_a_control_plane_that_holds_more_than_we_know(tmp_path, plane, ship):
    """Our notes were lost, not its records."""
    path = write(tmp_path, 1, lines(2000))
    drain(ship)
    path.with_suffix(".ack").unlink()
    write(tmp_path, 1, lines(5, start=2000))
    drain(ship)
    assert plane.kept[path.name] == lines(2005)


@pytest.mark.parametrize("refusal", [NotAccepted("no"), NotAccepted("status 409: other bytes are stored here")])
def test_a_refusal_is_not_an_acknowledgement(tmp_path, plane, ship, freed, refusal):
    """Not even one that says what is held: somebody else may have shipped that."""
    path = write(tmp_path, 1, lines(2))
    plane.before = lambda: refuse(refusal)
    for _ in range(3):
        with pytest.raises(NotAccepted):
            ship()
        with pytest.raises(NotAccepted):
            ship(ended=True)
    assert freed == []
    assert path.read_bytes() == lines(2)


def refuse(error):
    raise error


def test_nothing_is_deleted_while_it_is_not_acknowledged(tmp_path, plane, ship):
    write(tmp_path, 1, lines(2))
    write(tmp_path, 2, lines(2))
    plane.before = lambda: refuse(NotAccepted("no"))
    with pytest.raises(NotAccepted):
        ship()
    with pytest.raises(NotAccepted):
        ship(ended=True)
    assert {name for name in names(tmp_path) if name.endswith(".log")} == {"00000001.log", "00000002.log"}


def test_batches_are_bounded_and_a_longer_line_goes_alone(tmp_path, plane, ship):
    long = b'{"x":"' + b"y" * (module.MAX_BYTES + 10) + b'"}\n'
    write(tmp_path, 1, lines(module.MAX_ENTRIES + 1) + long + lines(1))
    drain(ship)
    assert [raw.count(b"\n") for _, _, raw in plane.batches] == [module.MAX_ENTRIES, 1, 1, 1]
    assert plane.batches[2][2] == long


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b"[]",
        b'{"acknowledged": "x", "intended": null}',
        b'{"acknowledged": 1, "acknowledged": 2, "intended": null}',
    ],
)
def test_damaged_notes_send_nothing_wrong(tmp_path, plane, ship, damage):
    path = write(tmp_path, 1, lines(2))
    path.with_suffix(".ack").write_bytes(damage)
    with pytest.raises(PlacetError, match="damaged; delete it"):
        ship()
    assert plane.batches == []
    path.with_suffix(".ack").unlink()
    drain(ship)
    assert plane.kept[path.name] == lines(2)


def test_no_records(tmp_path, ship):
    assert ship() is False
    write(tmp_path, 1, b"")
    assert ship() is False
    assert (tmp_path / "00000001.log").exists()


def test_what_was_acknowledged_is_known_after_a_restart(tmp_path, plane, ship):
    path = write(tmp_path, 1, lines(7))
    drain(ship)
    assert Shipper(tmp_path, plane, lambda *_: None).acknowledged(path) == len(lines(7))
    assert Shipper(tmp_path, plane, lambda *_: None).acknowledged(tmp_path / "none.log") == 0


def test_notes_that_a_killed_agent_left_are_tidied_away(tmp_path):
    written = write(tmp_path, 1, lines(1))
    kept = [written, written.with_suffix(".ack"), written.with_suffix(".opa")]
    gone = [tmp_path / name for name in (".00000001.ack.x7", "00000002.ack", "00000002.opa")]
    kept += [tmp_path / "00000003.log.gz", tmp_path / "notes.txt"]  # somebody's own
    for path in kept[1:] + gone:
        path.write_bytes(b"x")
    for name in ("lost+found", ".snapshot"):  # where a file system is mounted
        kept.append(tmp_path / name)
        kept[-1].mkdir()
    module.tidy(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)

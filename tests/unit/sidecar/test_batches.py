"""How record files become batches, and what of it survives a crash."""

import json
import os
import stat
from pathlib import Path

import pytest

from app.core import merkle
from app.core.batch import MAX_BYTES, MAX_ENTRIES, BatchStatement, payload_digest
from app.core.errors import PlacetError
from app.sidecar import batch_notes, batches, record_origin
from app.sidecar.batch_notes import Notes
from app.sidecar.batches import Cutter
from app.sidecar.config import SidecarFiles
from app.sidecar.shipper import Progress

from .batch_kit import OPA, POLICY, SIDECAR, STATE, Crash, record, records, write


@pytest.fixture
def files(tmp_path):
    files = SidecarFiles(tmp_path / "till")
    files.prepare()
    return files


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, in the test's hand."""
    now = [1000.0]
    monkeypatch.setattr(batches.time, "monotonic", lambda: now[0])
    return now


class Desk:
    """The notes and the cutter of an agent that has just started."""

    def __init__(self, files, sidecar=SIDECAR):
        self.notes = Notes(files)
        self.notes.load()
        self.cutter = Cutter(self.notes, OPA, lambda: sidecar)

    def cut_all(self, **options):
        made = []
        while batch := self.cutter.cut(**options):
            made.append(batch)
        return made


def entries(batch, files):
    return batch.raw(files.records)[:-1].split(b"\n")


def test_a_batch_says_what_its_records_say(files):
    path = write(files, 1, records(3) + b"2026/11/26 00:00:00 http: TLS handshake error\n")
    (batch,) = Desk(files).cut_all(ended=True)
    says = BatchStatement.read(batch.statement)
    assert says == batch.says
    assert (says.sidecar, says.instance, says.file) == (SIDECAR, files.instance(), path.name)
    assert (says.first_entry, says.entries, says.first_byte, says.last_byte) == (0, 4, 0, path.stat().st_size)
    assert (says.allows, says.denials, says.others, says.dropped) == (2, 1, 1, 0)
    assert (says.policies, says.states, says.opa, says.previous) == ((POLICY,), (STATE,), OPA, None)
    lines = path.read_bytes().splitlines()
    salts = [batch.salts[at : at + 16] for at in range(0, 64, 16)]
    assert len(set(salts)) == 4
    leaf_hashes = [merkle.leaf_hash(salt, line) for salt, line in zip(salts, lines, strict=True)]
    assert says.root == merkle.root(leaf_hashes).hex()


def test_a_batch_is_on_disk_before_anybody_has_it(files, monkeypatch):
    """The records first: a note must not promise what a crash of the machine takes back."""
    synced = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def sync(descriptor, real=real):
            synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            real(descriptor)

        monkeypatch.setattr(os, name, sync)
    desk = Desk(files)
    path = write(files, 1, records(1))
    assert str(desk.notes.directory.parent) in synced, "the directory of the instance may be gone after a crash"
    synced.clear()
    (batch,) = desk.cut_all(ended=True)
    note = desk.notes.directory / batch.name
    assert synced[0] == str(path)
    assert f".{batch.name}." in synced[1]
    assert synced[2:] == [str(note.parent)]
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert stat.S_IMODE(note.parent.stat().st_mode) == stat.S_IMODE(files.batches.stat().st_mode) == 0o700


def test_a_restart_has_the_very_same_batches(files):
    write(files, 1, records(2500))
    made = Desk(files).cut_all(ended=True)
    again = Desk(files)
    assert again.notes.pending == made
    assert [batch.says.entries for batch in made] == [1000, 1000, 500]
    assert again.cut_all(ended=True) == []


def test_the_sequence_goes_on_over_files_and_restarts(files):
    write(files, 1, records(1200))
    made = Desk(files).cut_all(ended=True)
    write(files, 2, b"")  # an OPA that answered nothing
    write(files, 3, records(7, start=1200))
    made += Desk(files).cut_all(ended=True)
    assert [batch.says.first_entry for batch in made] == [0, 1000, 1200]
    assert [batch.says.previous for batch in made] == [None, *(payload_digest(one.statement) for one in made[:-1])]
    assert b"".join(batch.raw(files.records) for batch in made) == records(1207)


def test_the_sequence_goes_on_when_all_was_acknowledged_and_deleted(files):
    desk = Desk(files)
    write(files, 1, records(1500))
    made = desk.cut_all(ended=True)
    for batch in made:
        desk.notes.acknowledge(batch)
    desk.cutter.delete_finished(ended=True)
    assert list(files.records.iterdir()) == []
    assert [path.name for path in desk.notes.directory.iterdir()] == [made[-1].name]
    write(files, 2, records(1))
    (batch,) = Desk(files).cut_all(ended=True)
    assert (batch.says.first_entry, batch.says.previous) == (1500, made[-1].digest)


@pytest.mark.parametrize("moment", ["note", "acknowledgement", "notes that go"])
def test_a_crash_while_something_is_written(files, monkeypatch, moment):
    desk = Desk(files)
    write(files, 1, records(1500))
    first, second = desk.cut_all(ended=True)
    write(files, 2, records(10, start=1500))
    with monkeypatch.context() as broken:
        if moment == "note":
            broken.setattr(batch_notes, "write_atomically", crash)
            crashes(desk.cutter.cut, ended=True)
        elif moment == "acknowledgement":
            broken.setattr(Progress, "acknowledge", crash)
            crashes(desk.notes.acknowledge, first)
        else:
            desk.notes.acknowledge(first)
            broken.setattr("pathlib.Path.unlink", crash)
            crashes(desk.notes.acknowledge, second)
    desk = Desk(files)
    unacknowledged = {"note": [first, second], "acknowledgement": [first, second], "notes that go": []}[moment]
    assert desk.notes.pending == unacknowledged
    (third,) = desk.cut_all(ended=True)
    assert (third.says.first_entry, third.says.previous) == (1500, second.digest)


def crash(*_, **__):
    raise Crash


def crashes(step, *arguments, **options):
    with pytest.raises(Crash):
        step(*arguments, **options)


def test_half_a_note_is_none(files):
    desk = Desk(files)
    write(files, 1, records(2))
    (desk.notes.directory / ".00000001-0.json.x7").write_bytes(b'{"dig')
    assert Desk(files).notes.pending == []
    assert list(desk.notes.directory.iterdir()) == []


def test_entries_wait_a_second_for_others(files, clock):
    desk = Desk(files)
    path = write(files, 1, records(2))
    assert desk.cutter.cut() is None
    clock[0] += 0.9
    write(files, 1, record(2))
    assert desk.cutter.cut() is None
    clock[0] += 0.2
    batch = desk.cutter.cut()
    assert entries(batch, files) == path.read_bytes().splitlines()
    write(files, 1, record(3))
    clock[0] += 0.5
    assert desk.cutter.cut() is None, "each batch waits anew"


def test_a_full_batch_waits_for_nobody(files, clock):
    desk = Desk(files)
    write(files, 1, records(MAX_ENTRIES + 1))
    assert desk.cutter.cut().says.entries == MAX_ENTRIES
    assert desk.cutter.cut() is None
    big = b'{"x":"' + b"y" * (MAX_BYTES // 2) + b'"}\n'
    write(files, 1, big + big)
    assert desk.cutter.cut().says.entries == 2
    assert desk.cutter.cut() is None


def test_a_longer_line_is_alone(files):
    long = b'{"x":"' + b"y" * MAX_BYTES + b'"}\n'
    write(files, 1, records(2) + long + records(1))
    made = Desk(files).cut_all(ended=True)
    assert [batch.says.entries for batch in made] == [2, 1, 1]
    assert entries(made[1], files) == [long[:-1]]


def test_half_a_line_waits_and_the_torn_end_of_a_dead_file_does_not(files, clock):
    desk = Desk(files)
    path = write(files, 1, records(1) + b'{"half":')
    assert desk.cutter.cut() is None
    clock[0] += 2
    assert desk.cutter.cut().says.entries == 1
    clock[0] += 2
    assert desk.cutter.cut() is None
    write(files, 2, records(1))
    torn = desk.cutter.cut()
    assert entries(torn, files) == [b'{"half":']
    assert torn.says.last_byte == path.stat().st_size + 1
    (after,) = desk.cut_all(ended=True)
    assert (after.says.file, after.says.first_byte) == (f"{2:08d}-{2:016x}.log", 0)
    again = Desk(files)
    assert len(again.notes.pending) == 3
    for batch in list(again.notes.pending):
        again.notes.acknowledge(batch)
    again.cutter.delete_finished()
    assert not path.exists()


def test_nothing_is_cut_before_the_sidecar_knows_its_name(files):
    write(files, 1, records(1))
    assert Desk(files, sidecar=None).cut_all(ended=True) == []


def test_files_go_only_when_all_of_them_was_acknowledged(files):
    desk = Desk(files)
    first, second, third = write(files, 1, records(3)), write(files, 2, records(3)), write(files, 3, b"")
    record_origin.note(first, OPA)
    made = desk.cut_all()
    desk.cutter.delete_finished()
    assert first.exists()
    desk.notes.acknowledge(made[0])
    desk.cutter.delete_finished()
    assert not first.exists()
    assert second.exists()
    assert third.exists()
    desk.notes.acknowledge(made[1])
    desk.cutter.delete_finished()
    assert [path.name for path in files.records.iterdir()] == [third.name]


def test_each_file_names_the_opa_that_wrote_it(files):
    other = "sha256:" + "e" * 64
    record_origin.note(write(files, 1, records(1)), other)
    record_origin.note(write(files, 2, records(1)), OPA)
    write(files, 3, records(1))
    assert [batch.says.opa for batch in Desk(files).cut_all(ended=True)] == [other, OPA, OPA]


def test_an_origin_that_is_damaged_makes_no_batch(files):
    write(files, 1, records(1)).with_suffix(".opa").write_bytes(b"sha256:")
    with pytest.raises(PlacetError, match="damaged; write the digest"):
        Desk(files).cut_all(ended=True)


def test_what_was_shipped_before_batches_were_signed_is_in_none(files):
    path = write(files, 1, records(5))
    Progress(path).acknowledge(len(records(3)))
    write(files, 2, records(1))
    made = Desk(files).cut_all(ended=True)
    assert [(batch.says.first_entry, batch.says.entries) for batch in made] == [(0, 2), (2, 1)]
    assert made[0].says.first_byte == len(records(3))


def test_acknowledgements_that_were_lost_send_again_what_is_noted(files):
    """A repeat of the same statement is harmless; another statement for the same range would be a fork."""
    desk = Desk(files)
    path = write(files, 1, records(2100))
    made = desk.cut_all(ended=True)
    desk.notes.acknowledge(made[0])
    desk.notes.acknowledge(made[1])
    path.with_suffix(".ack").unlink()
    again = Desk(files)
    assert again.notes.pending == made[1:]
    assert again.cut_all(ended=True) == []


def test_a_new_instance_begins_after_what_was_acknowledged(files):
    desk = Desk(files)
    write(files, 1, records(2100))
    made = desk.cut_all(ended=True)
    desk.notes.acknowledge(made[0])
    (files.private / "instance").unlink()
    again = Desk(files)
    assert again.notes.pending == []
    remade = again.cut_all(ended=True)
    assert (remade[0].says.first_entry, remade[0].says.previous) == (0, None)
    assert remade[0].says.instance != made[0].says.instance
    assert b"".join(batch.raw(files.records) for batch in remade) == records(1100, start=1000)
    assert len(list(desk.notes.directory.iterdir())) == 3, "what the old one had under way stays, for whoever looks"


def spoil(change):
    def spoiled(path):
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return spoiled


def other_counts(note):
    note["statement"] = note["statement"].replace('"allows":"', '"allows":"1')


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "no object": lambda path: path.write_bytes(b"[]"),
    "no members": lambda path: path.write_bytes(b"{}"),
    "one member more": spoil(lambda note: note.update(x="1")),
    "a statement of another kind": spoil(lambda note: note.update(statement=7)),
    "another statement": spoil(other_counts),
    "another digest": spoil(lambda note: note.update(digest=OPA)),
    "salts of another length": spoil(lambda note: note.update(salts=note["salts"][:-8])),
    "salts that are no base64": spoil(lambda note: note.update(salts="?" + note["salts"])),
    "a name of another place": lambda path: path.rename(path.with_name(path.name.replace("0.json", "1.json"))),
    "a link of the chain is gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_note_is_one_clear_error(files, damage):
    desk = Desk(files)
    write(files, 1, records(3000))
    made = desk.cut_all(ended=True)
    damage(desk.notes.directory / made[1].name)
    with pytest.raises(PlacetError, match=r"is damaged \(.*\); restore it, or delete .*private/instance") as error:
        Desk(files)
    assert "\n" not in str(error.value)


def test_other_salts_are_not_what_was_noted(files):
    """They would prove nothing: the root is over the salts that were drawn first."""
    desk = Desk(files)
    write(files, 1, records(2))
    (batch,) = desk.cut_all(ended=True)
    note = desk.notes.directory / batch.name
    spoil(lambda document: document.update(salts="A" * 43 + "="))(note)
    with pytest.raises(PlacetError, match="are not the records that were noted"):
        Desk(files)


@pytest.mark.parametrize("change", [b"X", b"\n"])
def test_records_that_changed_after_the_note_are_not_signed(files, change):
    path = write(files, 1, records(2))
    Desk(files).cut_all(ended=True)
    with path.open("r+b") as file:
        file.seek(20)
        file.write(change)
    with pytest.raises(PlacetError, match=r"are not the records that were noted in .*; the lineage .* is broken"):
        Desk(files)


def test_whichever_batch_is_acknowledged_all_before_it_are(files):
    """Such as when a crash of the machine brought a deleted file back without its note."""
    desk = Desk(files)
    first, second = write(files, 1, records(2)), write(files, 2, records(1500))
    made = desk.cut_all(ended=True)
    Progress(second).acknowledge(made[1].says.last_byte)
    again = Desk(files)
    assert again.notes.pending == [made[2]]
    write(files, 3, b"")
    again.cutter.delete_finished()
    assert not first.exists()
    assert second.exists()

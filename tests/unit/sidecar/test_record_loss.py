"""Answers of OPA that have no record are said by the next batch: each once, and across restarts."""

import pytest

from app.core.batch import BatchStatement
from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.sidecar import record_loss, shipper
from app.sidecar.config import SidecarFiles
from app.sidecar.record_keeper import RecordKeeper, _Watched
from app.sidecar.records import RecordFile

from .batch_kit import records, write
from .test_batches import Desk


@pytest.fixture
def files(tmp_path):
    files = SidecarFiles(tmp_path / "till")
    files.prepare()
    return files


def dropped(made):
    return [BatchStatement.read(batch.statement).dropped for batch in made]


def test_each_loss_is_said_once_by_the_next_batch_of_its_file(files):
    path = write(files, 1, records(2))
    assert dropped(Desk(files).cut_all(ended=True)) == [0]
    record_loss.note(path, 3)
    record_loss.note(path, 3)  # found again, as it is every half second
    write(files, 1, records(2, 2))
    assert dropped(Desk(files).cut_all(ended=True)) == [3]
    write(files, 1, records(2, 4))
    record_loss.note(path, 5)
    assert dropped(Desk(files).cut_all(ended=True)) == [2]
    write(files, 1, records(1, 6))
    record_loss.note(path, 4)  # of an agent that counted anew
    assert dropped(Desk(files).cut_all(ended=True)) == [0]
    write(files, 2, records(1, 7))
    assert dropped(Desk(files).cut_all(ended=True)) == [0], "of the other file"


def test_a_crash_before_it_is_noted_says_it_again(files, monkeypatch):
    path = write(files, 1, records(2))
    record_loss.note(path, 2)
    monkeypatch.setattr(record_loss, "told", lambda *_: None)
    assert dropped(Desk(files).cut_all(ended=True)) == [2]
    monkeypatch.undo()
    write(files, 1, records(1, 2))
    assert dropped(Desk(files).cut_all(ended=True)) == [2]


def test_the_note_goes_with_its_file_and_a_damaged_one_is_named(files):
    path = write(files, 1, records(1))
    record_loss.note(path, 1)
    (note,) = files.records.glob("*.lost")
    assert note.stat().st_mode & 0o777 == 0o600
    note.write_text("many")
    with pytest.raises(PlacetError, match="damaged"):
        Desk(files).cut_all(ended=True)
    record_loss.forget(path)
    record_loss.note(path, 1)
    path.unlink()
    shipper.tidy(files.records)
    assert list(files.records.glob("*.lost")) == []


class Answers:
    """An OPA that answered so many times, as far as the record keeper asks it."""

    def __init__(self, answered):
        self.api, self.number = self, answered

    def exit_code(self):
        return None

    def answered(self):
        return self.number


class Keeper:
    """The part of the agent that knows OPA's id."""

    def __init__(self):
        self.status, self.opa_id = self, ""


class Space:
    """A reserve that is whole."""

    def keep(self):
        pass


def test_more_answers_than_records_are_noted_as_lost(files):
    path = write(files, 1, records(2))
    keeper = RecordKeeper(None, Keeper(), None)
    keeper._watched = _Watched(Answers(5), RecordFile(path), Space())
    with pytest.raises(Denied) as denied:
        keeper.step()
    assert denied.value.reason == Reason.RECORD_MISSING
    assert dropped(Desk(files).cut_all(ended=True)) == [3]

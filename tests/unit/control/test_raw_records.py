"""Records are read by position, in both forms; an erasure makes new objects and moves nothing."""

from dataclasses import replace
from hashlib import sha256

import pytest
import sqlalchemy
from sqlmodel import select

from app.control import raw_records
from app.control.problems import NotFound, Unavailable
from app.control.raw_records import Changed, Span
from app.control.store import Batch, Decision
from app.core import merkle, record_frames
from app.core.errors import Denied
from app.core.reason_codes import Reason

from .conftest import record

SPAN = Span("payments", "one", "i1", "000001.log", 0, 1)
LINES = [b"a message", b"", *(record(f"d{number}")[:-1] for number in range(70)), b"x" * 3000]


class Named:
    def __init__(self, object):
        self.object = object


@pytest.fixture
def objects(plane):
    return plane.objects


def plain(objects, lines=LINES):
    body = b"".join(line + b"\n" for line in lines)
    key = raw_records.object_key(SPAN, sha256(body).hexdigest(), record_frames.PLAIN)
    objects.put(key, body)
    return Named(key)


def positions(lines):
    at = 0
    for line in lines:
        yield at
        at += len(line) + 1


def test_each_entry_is_read_alone_in_both_forms(objects):
    framed, old = Named(raw_records.put(objects, SPAN, LINES)), plain(objects)
    assert framed.object.endswith(".frames")
    assert sha256(objects.get(framed.object)).hexdigest() in framed.object
    assert raw_records.entries(objects, framed) == raw_records.entries(objects, old) == LINES
    for number, (position, line) in enumerate(zip(positions(LINES), LINES, strict=True)):
        assert raw_records.read(objects, framed, number) == raw_records.read(objects, old, position) == line
        assert raw_records.numbers(objects, framed, [number]) == {number: number}
        assert raw_records.numbers(objects, old, [position]) == {position: number}


def test_one_entry_takes_two_reads_however_large_the_object_is(objects, monkeypatch):
    lines = [b"%d" % number + b"\xff" * 50 for number in range(20_000)]  # a head of more than is read at first
    framed = Named(raw_records.put(objects, SPAN, lines))
    read = []
    part = type(objects).part

    def counted(self, key, offset, length):
        read.append(length)
        return part(self, key, offset, length)

    monkeypatch.setattr(type(objects), "part", counted)
    assert raw_records.read(objects, framed, 19_999) == lines[19_999]
    assert len(read) == 3
    assert sum(read) < 8_000
    read.clear()
    framed = Named(raw_records.put(objects, SPAN, lines[:1000]))
    assert raw_records.read(objects, framed, 999) == lines[999]
    assert len(read) == 2


@pytest.mark.parametrize("position", [-1, len(LINES), 2**63])
def test_a_position_that_is_none_is_told(objects, position):
    framed, old = Named(raw_records.put(objects, SPAN, LINES)), plain(objects)
    for batch in (framed, old):
        where = 5 if batch is old and position == len(LINES) else position  # inside of a line
        with pytest.raises(Changed):
            raw_records.read(objects, batch, where)
    with pytest.raises(Changed):
        raw_records.numbers(objects, old, [5])


def test_what_was_changed_in_the_store_is_not_given_out(objects):
    framed = Named(raw_records.put(objects, SPAN, LINES))
    body = objects.get(framed.object)
    for spoilt in (b"", body[:20], body[:400], b"X" + body[1:], body[:-30] + bytes(30)):
        objects.put(framed.object, spoilt)
        with pytest.raises(Changed):
            raw_records.entries(objects, framed)
        with pytest.raises(Changed):
            raw_records.read(objects, framed, len(LINES) - 1)
    objects.put(framed.object, body)
    assert raw_records.read(objects, framed, 0) == LINES[0]
    with pytest.raises(NotFound):
        raw_records.read(objects, Named("records/none.frames"), 0)


def test_an_outage_is_no_damage(objects, monkeypatch):
    framed = Named(raw_records.put(objects, SPAN, LINES))

    def down(*_):
        raise Unavailable("the object store does not answer")

    monkeypatch.setattr(type(objects), "part", down)
    monkeypatch.setattr(type(objects), "get", down)
    with pytest.raises(Unavailable):
        raw_records.read(objects, framed, 0)


@pytest.mark.parametrize("form", ["frames", "plain"])
def test_an_erasure_leaves_the_others_and_their_leaves(objects, form):
    batch = plain(objects) if form == "plain" else Named(raw_records.put(objects, SPAN, LINES))
    salts = bytes(range(1, 1 + merkle.SALT)) * len(LINES)
    key = f"salts/payments/{sha256(salts).hexdigest()}"
    objects.put(key, salts)
    made = raw_records.without(objects, SPAN, batch, key, {3, 40})
    assert made == raw_records.without(objects, SPAN, batch, key, [40, 3]), "the same call makes the same"
    erased = Named(made.object)
    assert raw_records.entries(objects, erased) == [None if at in (3, 40) else line for at, line in enumerate(LINES)]
    left = objects.get(made.salts)
    for at, line in enumerate(LINES):
        salt = left[merkle.SALT * at : merkle.SALT * (at + 1)]
        assert salt == (bytes(merkle.SALT) if at in (3, 40) else salts[: merkle.SALT])
        if at in (3, 40):
            with pytest.raises(Denied) as denied:
                raw_records.read(objects, erased, at)
            assert denied.value.reason == Reason.RECORD_ERASED
        else:
            assert raw_records.read(objects, erased, at) == line
    for stored in (made.object, made.salts):
        assert sha256(objects.get(stored)).hexdigest() in stored
    if form == "plain":
        assert made.moved == {position: number for number, position in enumerate(positions(LINES))}
    else:
        assert made.moved is None
    again = raw_records.without(objects, SPAN, erased, made.salts, {5})
    assert [at for at, line in enumerate(raw_records.entries(objects, Named(again.object))) if line is None] == [
        3,
        5,
        40,
    ]
    assert raw_records.entries(objects, batch) == LINES, "whoever erases removes the old object"


def test_what_is_not_there_is_not_erased(objects):
    batch = Named(raw_records.put(objects, SPAN, LINES))
    with pytest.raises(Changed, match="no entry"):
        raw_records.without(objects, SPAN, batch, None, {len(LINES)})
    objects.put("salts/payments/x", bytes(16))
    with pytest.raises(Changed, match="as many as entries"):
        raw_records.without(objects, SPAN, batch, "salts/payments/x", {0})


def test_what_was_changed_gets_no_new_name(objects):
    """A new object's name would vouch for what an unsigned batch holds now."""
    batch, old = Named(raw_records.put(objects, SPAN, LINES)), plain(objects)
    salts = f"salts/payments/{sha256(bytes(16) * len(LINES)).hexdigest()}"
    objects.put(salts, bytes(16) * len(LINES))
    received = old.object.rpartition("-")[2].removesuffix(record_frames.PLAIN)
    for one in (batch, old):
        assert raw_records.without(objects, SPAN, one, salts, {0}, received)
        with pytest.raises(Changed, match="not those that were received"):
            raw_records.without(objects, SPAN, one, salts, {0}, "0" * 64)
    objects.put(salts, b"x" * 16 * len(LINES))
    with pytest.raises(Changed, match="another digest"):
        raw_records.without(objects, SPAN, batch, salts, {0}, received)
    objects.put(batch.object, record_frames.pack([b"other", *LINES[1:]]))
    objects.put(old.object, b"other\n" + objects.get(old.object))
    for one in (batch, old):
        with pytest.raises(Changed, match="another digest"):
            raw_records.without(objects, SPAN, one, None, {1})


@pytest.mark.unsealed
def test_a_store_of_before_is_read_searched_and_erased_from(api, plane):
    """Batches that were stored as plain lines, of which rows name bytes, stay as they are until something is erased."""
    api.create_system("payments")
    lines = [record("d0"), b"a message\n", record("d1", allow=False), record("d2")]
    api.ship(b"".join(lines))
    with plane.store.read() as session:
        batch = session.exec(select(Batch)).one()
    old = replace(SPAN, file="f1", last=batch.last)
    key = raw_records.object_key(old, batch.sha256, record_frames.PLAIN)
    plane.objects.put(key, b"".join(lines))
    with plane.store.write() as session:
        session.execute(sqlalchemy.update(Batch).values(object=key))
        for row, position in zip(session.exec(select(Decision).order_by(Decision.id)), (0, 2, 3), strict=True):
            row.position = sum(map(len, lines[:position]))
    for number, name in ((0, "d0"), (2, "d1"), (3, "d2")):
        whole = api.get(f"/api/v1/decisions/{name}").json()
        assert (whole["number"], whole["raw"].encode()) == (number, lines[number][:-1])
    made = raw_records.without(plane.objects, old, Named(key), None, {2})
    with plane.store.write() as session:
        session.execute(sqlalchemy.update(Batch).values(object=made.object))
        for row in session.exec(select(Decision)):
            row.position = made.moved[row.position]
    assert api.get("/api/v1/decisions/d2").json()["raw"].encode() == lines[3][:-1]
    assert api.get("/api/v1/decisions/d1").json()["reason"] == "record.erased"

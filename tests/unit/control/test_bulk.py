"""Many rows at once arrive as they are, and an outage in the middle of them is an outage."""

import json
import secrets

import pytest
import sqlalchemy
from sqlalchemy import JSON, BigInteger, Column, MetaData, Table, Text, text

from app.control.problems import Unavailable
from app.control.settings import Settings
from app.control.store import Seals, Store
from app.control.store.bulk import add_rows

ODD = ["", "\\N", "\\.", "a\tb\nc\rd\\", "\u2028\U0001f642", "null", '"', "NULL", "\x01"]
NAMES = ("n", "j", "t")


@pytest.fixture
def store(tmp_path, database):
    opened = Store(Settings(directory=tmp_path, database=database).database_url, Seals(bytes(32)))
    yield opened
    opened.close()


def table():
    columns = Column("n", BigInteger, primary_key=True), Column("t", Text), Column("j", JSON)
    return Table(f"odd {secrets.token_hex(4)}", MetaData(), *columns)


def test_rows_arrive_as_they_are(store):
    into = table()
    rows = [{"n": number, "t": word, "j": [word, None, 1]} for number, word in enumerate(ODD)]
    rows += [{"n": number, "t": None, "j": {}} for number in range(100, 2100)]  # more than are inserted at once
    rows.append({"n": 2**63 - 1, "t": None, "j": {}})
    with store.write() as session:
        into.create(session.connection())
        add_rows(session, into, NAMES, [])
        add_rows(session, into, NAMES, ((row["n"], json.dumps(row["j"]), row["t"]) for row in rows))
    with store.read() as session:
        found = session.execute(sqlalchemy.select(into).order_by(into.c.n))
        assert [dict(row) for row in found.mappings()] == rows


def test_all_of_them_or_none(store):
    into = table()
    with store.write() as session:
        into.create(session.connection())
    with pytest.raises(Exception, match=r"(?i)unique"), store.write() as session:
        add_rows(session, into, NAMES, [(1, "[]", "a"), (1, "[]", "b")])
    with store.read() as session:
        assert session.execute(sqlalchemy.select(into)).all() == []


@pytest.fixture
def shared(tmp_path, postgresql):
    """A table of PostgreSQL's."""
    store, into = Store(Settings(directory=tmp_path, database=postgresql).database_url, Seals(bytes(32))), table()
    with store.write() as session:
        into.create(session.connection())
    yield store, into
    with store.write() as session:
        into.drop(session.connection())
    store.close()


def lost(store, into):
    with store.answering(), store.write() as session:
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with store.read() as other:
            other.execute(text(f"SELECT pg_terminate_backend({pid})"))
        add_rows(session, into, NAMES, [(1, "[]", "a")])


def locked(store, into):
    with store.write() as other, store.answering(), store.write() as session:
        other.execute(text(f'LOCK TABLE "{into.name}" IN ACCESS EXCLUSIVE MODE'))
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        add_rows(session, into, NAMES, [(1, "[]", "a")])


@pytest.mark.parametrize("trouble", [lost, locked])
def test_a_database_that_does_not_answer_is_an_outage(shared, trouble):
    with pytest.raises(Unavailable, match="the database does not answer"):
        trouble(*shared)
    with shared[0].write() as session:
        add_rows(session, shared[1], NAMES, [(1, "[]", "a")])

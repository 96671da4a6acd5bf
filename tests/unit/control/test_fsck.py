"""Whatever is changed of what is stored is named, at its place; and nothing else is."""

import base64
import contextlib
import copy
import importlib
import itertools
import json
import secrets
import sqlite3
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy

from app.control import batches, fsck, installation, records, states
from app.control.installation import initialise
from app.control.plane import DEFAULT_IDENTITY_ISSUER, Plane
from app.control.settings import Settings
from app.control.store import System, decision_row
from app.control.tokens import Access
from app.core import record_frames, word_filter
from app.core.errors import Denied, PlacetError, UsageError
from cli.server_verifiers import batch_verifier

from .batch_kit import Chain, verify_batch_plain
from .conftest import record, verify_plain, verify_statement_plain
from .test_records import POISON
from .test_signed_batches import PLACET, Live, signed

STATE = b'{"tenants":{}}'
DIGEST = "sha256:" + sha256(STATE).hexdigest()


def verifier():
    return verify_batch_plain


def line(number, allow=True, **members):
    """A record that names a trust state that there is."""
    document = json.loads(record(f"d{number}", allow))
    document["result"]["state"] = DIGEST
    document["result"]["subject"]["id"] = f"job-{number}"
    return json.dumps(document | members).encode() + b"\n"


def take(plane, chain, raw, **place):
    made = chain.next(raw, **place)
    batches.take(plane, chain.system, chain.name, json.dumps(made.body()).encode())


def fill(plane):
    """Three signed batches of one sidecar in two files, two of another, and two that came unsigned."""
    with plane.store.write() as session:
        session.add(System(name="payments", identities=[], required_predicates=[], horizon_seconds=3600))
    states.keep(plane, Access("t", "t", frozenset(), None), "payments", DIGEST, STATE)
    one, two = Chain(), Chain("two")
    take(plane, one, line(1) + b"a message\n" + line(2, False) + line(3, timestamp=None))
    take(plane, two, line(11) + line(12))
    take(plane, one, line(4) + line(5, False) + b'{"half": \n')
    take(plane, one, line(6) + line(7) + line(8), file="000002.log", first_byte=0)
    take(plane, two, line(13, False) + line(14, timestamp=None) + line(15, timestamp=None))
    unsigned = replace(plane, verify_batch=None)
    first = line(21) + b"a message\n" + line(22, False)
    span = records.Span("payments", "old", "i0", "000001.log", 0, len(first))
    records.ingest(unsigned, span, first)
    second = line(23) + line(24)
    records.ingest(unsigned, replace(span, first=span.last, last=span.last + len(second)), second)


class Stand:
    #: Those that tests change for a while.
    tables = ("batch", "decision", "batch_value")

    def __init__(self, directory):
        self.settings = Settings.load(directory)
        self.means = fsck.Means(self.settings, (DEFAULT_IDENTITY_ISSUER,), verifier)
        self.objects = Path(directory) / "objects"

    def check(self, means=None, **options):
        """The report, and what was found."""
        found = []
        report = fsck.check(means or self.means, found.append, settled=timedelta(0), **options)
        unused = [one for one in found if one.kind == "unused"]
        assert report.findings == len(found) - len(unused)
        return report, [one for one in found if one.kind != "unused"], [one.object for one in unused]

    def found(self, **options):
        return self.check(**options)[1]

    @contextlib.contextmanager
    def database(self):
        engine = sqlalchemy.create_engine(self.settings.database_url)
        with engine.begin() as connection:
            yield connection
        engine.dispose()

    def rows(self, table):
        with self.database() as connection:
            columns = "*" if connection.dialect.name == "sqlite" else "*, CAST(reasons AS TEXT) AS reasons"
            order = "batch, value" if table == "batch_value" else "id"
            query = f"SELECT {columns if table == 'decision' else '*'} FROM {table} ORDER BY {order}"
            return [dict(one) for one in connection.execute(sqlalchemy.text(query)).mappings()]

    @contextlib.contextmanager
    def changed(self, *statements):
        """Rows are otherwise, for a while. SQLite alone: it asks nothing about foreign keys."""
        connection = sqlite3.connect(self.settings.database_url.database, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        before = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in self.tables}
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(*statement)
        connection.execute("COMMIT")
        try:
            yield
        finally:
            connection.execute("BEGIN")
            for table, rows in before.items():
                connection.execute(f"DELETE FROM {table}")
                connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            connection.execute("COMMIT")
            connection.close()

    def stored(self, *kinds):
        kinds = kinds or ("records", "salts", "leaves", "evidence", "states")
        return sorted(
            path.relative_to(self.objects).as_posix()
            for kind in kinds
            for path in (self.objects / kind).rglob("*")
            if path.is_file()
        )

    @contextlib.contextmanager
    def objects_changed(self, bodies):
        """Objects are otherwise, or are not there (None), for a while."""
        before = {
            key: self.objects.joinpath(key).read_bytes() if (self.objects / key).exists() else None for key in bodies
        }
        self._put(bodies)
        try:
            yield
        finally:
            self._put(before)

    def _put(self, bodies):
        for key, body in bodies.items():
            if body is None:
                (self.objects / key).unlink(missing_ok=True)
            else:
                (self.objects / key).write_bytes(body)


def made(directory, database=None):
    installed = initialise(directory / "control", directory / "root-key.pem", database)
    plane = Plane.open(
        Settings.load(installed.directory), verify_plain, verify_statement_plain, verify_batch=verify_batch_plain
    )
    fill(plane)
    plane.close()
    return Stand(installed.directory)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    return made(tmp_path_factory.mktemp("fsck"))


def where(findings):
    return [(one.kind, one.table, one.row, one.column) for one in findings]


def test_nothing_is_found_where_nothing_was_changed(stand):
    report, findings, unused = stand.check()
    assert (findings, unused) == ([], [])
    assert (report.batches, report.unsigned, report.states) == (7, 2, 1)
    assert (report.entries, report.decisions) == (20, 18)
    assert (report.unused, report.breaks) == (0, [])


def flipped(value, bit=0):
    """The value with one bit changed, at least where it is text or a number."""
    if value is None:
        return 1
    if isinstance(value, int):
        return value ^ (1 << bit)
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[len(raw) // 2] ^= 1
    return raw.decode() if isinstance(value, str) else bytes(raw)


def update(table, row, column, value):
    return f'UPDATE {table} SET "{column}" = ? WHERE id = ?', (value, row["id"])


def test_every_changed_column_of_a_batch_row_is_named(stand):
    wrong = []
    for row in stand.rows("batch"):
        for column, value in row.items():
            if row["id"] in (2, 7):
                continue  # the others are the first, middle, last and unsigned ones
            new = value + 1000 if column in ("id", "first") else flipped(value)
            with stand.changed(update("batch", row, column, new)):
                found = where(stand.found())
            place = ("batch", new if column == "id" else row["id"], column)
            if column == "seal":  # where all that is signed is right
                place = (*place[:2], None if row["root"] is None else "received_at")
            if [one[1:] for one in found] != [place]:
                wrong.append((row["id"], column, found))
    assert wrong == []


def test_every_changed_column_of_a_decision_row_is_named(stand):
    wrong = []
    by_batch = {}
    for row in stand.rows("decision"):
        by_batch.setdefault(row["batch"], []).append(row)
    for column in stand.rows("decision")[0]:
        if column == "id":
            continue  # below
        for number in range(3):
            rows = [some[number] for some in by_batch.values() if number < len(some)]  # one of each batch at once
            new = {row["id"]: 999 if column == "batch" else flipped(row[column]) for row in rows}
            with stand.changed(*(update("decision", row, column, new[row["id"]]) for row in rows)):
                found = where(stand.found())
            if sorted(found) != sorted(("changed", "decision", row["id"], column) for row in rows):
                wrong.append((column, number, found))
    assert wrong == []


def test_whatever_is_changed_of_a_value_of_a_batch_is_named(stand):
    """Each column, of values of each kind; what is removed, and what is added."""
    seen, wrong = set(), []
    for row in stand.rows("batch_value"):
        if (name := row["value"].partition("=")[0]) in seen:
            continue
        seen.add(name)
        names = ("value", "batch")
        key, found = tuple(row[name] for name in names), "/".join(str(row[name]) for name in names)
        where_it_is = " AND ".join(f"{name} = ?" for name in names)
        for column, value in row.items():
            new = 99 if column == "batch" else flipped(value)
            change = (f'UPDATE batch_value SET "{column}" = ? WHERE {where_it_is}', (new, *key))
            with stand.changed(change):
                there = where(stand.found())
            if column == "batch":
                due = [("missing", "batch_value", found, None), ("surplus", "batch_value", None, "batch")]
            elif column in names:
                other = "/".join(str(new if name == column else row[name]) for name in names)
                due = [("missing", "batch_value", found, None), ("surplus", "batch_value", other, None)]
            else:
                due = [("changed", "batch_value", found, column)]
            if sorted(there, key=str) != sorted(due, key=str):
                wrong.append((key, column, there))
        change = f"UPDATE batch_value SET places = CAST(places AS TEXT) WHERE {where_it_is}"
        with stand.changed((change, key)):
            assert where(stand.found()) == [("changed", "batch_value", found, "places")]
        with stand.changed((f"DELETE FROM batch_value WHERE {where_it_is}", key)):
            assert where(stand.found()) == [("missing", "batch_value", found, None)]
    assert seen == {"action", "resource_type", "subject_issuer", "policy", "reason"}
    assert wrong == []
    for batch, due in ((1, "action=x/1"), (99, None)):
        with stand.changed(("INSERT INTO batch_value VALUES ('action=x', ?, x'0000', 1, 0, 0)", (batch,))):
            [(kind, table, row, _)] = where(stand.found())
        assert (kind, table, row) == ("surplus", "batch_value", due)


def test_rows_that_are_gone_added_or_moved_are_named(stand):
    batch = {row["id"]: row for row in stand.rows("batch")}
    decisions = {row["id"]: row for row in stand.rows("decision")}
    gone = [
        ("DELETE FROM batch WHERE id = ?", (3,)),
        ("DELETE FROM decision WHERE batch = ?", (3,)),
        ("DELETE FROM batch_value WHERE batch = ?", (3,)),
    ]
    with stand.changed(*gone[:2]):
        assert ("surplus", "batch_value", None, "batch") in where(stand.found())
    with stand.changed(*gone):
        _, findings, unused = stand.check()
    assert where(findings) == [("gap", "batch", 4, None), ("missing", "batch", None, None)]
    assert "entries 4 to 6 of payments/one" in findings[0].detail
    assert (findings[1].object, findings[1].expected) == (batch[3]["evidence"], batch[3]["payload"])
    assert sorted(unused) == sorted(batch[3][name] for name in ("object", "salts", "leaves"))

    with stand.changed(gone[0]):
        findings = stand.found()
    orphans = [("surplus", "decision", row["id"], "batch") for row in decisions.values() if row["batch"] == 3]
    assert sorted(where(findings), key=str) == sorted(
        [("gap", "batch", 4, None), *orphans, ("missing", "batch", None, None)], key=str
    )
    # The last one of an instance: nothing comes after it, but its evidence is there.
    last = [(one[0], (5,)) for one in gone]
    with stand.changed(*last):
        (finding,) = stand.found()
    assert (finding.kind, finding.object) == ("missing", batch[5]["evidence"])
    assert (
        "spiffe://placet.internal/sidecar/payments/two (instance i1) signed a batch of entries 2 to 4" in finding.detail
    )

    with stand.changed(*((one[0], (6,)) for one in gone)):
        (finding,) = stand.found()
    assert (finding.kind, finding.row) == ("gap", 7)

    row = dict(batch[3], id=None, instance="i7")  # the same batch once more, under another name
    columns = ", ".join(f'"{name}"' for name in row)
    copy = (f"INSERT INTO batch ({columns}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    with stand.changed(copy):
        findings = where(stand.found())
    assert {one[2] for one in findings} == {8}
    assert ("surplus", "batch", 8, None) in findings

    one, two, seventh, last = (list(decisions)[at] for at in (0, 1, 6, 17))
    for number in (one, two, last):
        with stand.changed(("DELETE FROM decision WHERE id = ?", (number,))):
            (finding,) = stand.found()
        of = decisions[number]
        assert (finding.kind, finding.table, finding.expected) == ("missing", "decision", of["batch"])
        assert f"the decision {of['decision_id']} at {of['position']} of " in finding.detail
    with stand.changed(("DELETE FROM decision WHERE batch = 1", ())):
        assert where(stand.found()) == [("missing", "batch", 1, None)]
    for number in (one, seventh, last):
        row = dict(decisions[number], id=None)
        columns = ", ".join(f'"{name}"' for name in row)
        copy = (f"INSERT INTO decision ({columns}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        with stand.changed(copy):
            assert where(stand.found()) == [("surplus", "decision", last + 1, "batch")]
    with stand.changed(update("decision", decisions[two], "batch", 2)):
        (finding,) = stand.found()
    assert (where([finding]), finding.expected, finding.found) == ([("changed", "decision", two, "batch")], 1, 2)
    swap = [update("decision", {"id": old}, "id", new) for old, new in ((one, 99), (two, one), (99, two))]
    with stand.changed(*swap):
        assert where(stand.found()) == [("changed", "decision", number, "id") for number in (two, one)]
    for number in decisions:  # also to one that keeps the order, and that no other row has
        for bit in (1 << 10, 1 << 50):
            with stand.changed(update("decision", decisions[number], "id", number ^ bit)):
                assert where(stand.found()) == [("changed", "decision", number ^ bit, "id")]
    swap = [("UPDATE batch SET id = 99 WHERE id = 1", ()), ("UPDATE batch SET id = 1 WHERE id = 2", ())]
    with stand.changed(*swap, ("UPDATE batch SET id = 2 WHERE id = 99", ())):
        assert where(stand.found()) == [("changed", "batch", 1, "id"), ("changed", "batch", 2, "id")]
    for column in ("evidence", "salts", "leaves", "object"):
        one, other = batch[1][column], batch[3][column]
        with stand.changed(update("batch", batch[1], column, other), update("batch", batch[3], column, one)):
            assert [found[1:] for found in where(stand.found())] == [("batch", 1, column), ("batch", 3, column)]


def test_when_a_batch_came_is_named_where_that_cannot_be(stand):
    """Whoever has the key of the seals is found out as far as anything else says it."""
    first, third = (row for row in stand.rows("batch") if row["id"] in (1, 3))
    for row, value in (
        (first, "2026-01-31 11:00:00.000000"),  # before it was signed
        (first, "2199-01-01 00:00:00.000000"),
        (third, first["received_at"].replace("2026", "2126")),
        (first, first["received_at"].replace(" ", "T")),
        (first, "yesterday"),
    ):
        with stand.changed(update("batch", row, "received_at", value)):
            found = where(stand.found())
        assert found == [("changed", "batch", row["id"], "received_at")]


def test_a_batch_is_received_after_the_one_before_it(stand):
    third, fourth = (row for row in stand.rows("batch") if row["id"] in (3, 4))
    early, late = "2026-02-01 00:00:00.000000", "2026-03-01 00:00:00.000000"
    with stand.changed(update("batch", third, "received_at", late), update("batch", fourth, "received_at", early)):
        found = where(stand.found())
    assert found == [("changed", "batch", 3, "received_at"), ("changed", "batch", 4, "received_at")]
    key = stand.settings.seal_key.read_bytes()
    changed = update("batch", third, "received_at", late), update("batch", fourth, "received_at", early)
    with stand.changed(*changed):
        installation.seal(stand.settings)  # by somebody who has the key
        found = where(stand.found())
    installation.seal(stand.settings)
    assert stand.settings.seal_key.read_bytes() == key
    assert ("changed", "batch", 3, "received_at") in found
    assert (
        "changed",
        "decision",
        decision_row(3, 2),
        "time_ns",
    ) in found  # it had none of its own, so it has that of the receipt


def test_every_changed_byte_of_an_object_is_named(stand):
    for key in stand.stored():
        body = (stand.objects / key).read_bytes()
        for at in sorted({0, len(body) - 1}):
            altered = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            with stand.objects_changed({key: altered}):
                findings = stand.found()
            assert len(findings) == 1, findings
            (finding,) = findings
            assert (finding.kind, finding.object, finding.column) == ("changed", key, None)
            assert finding.found.removeprefix("sha256:") == sha256(altered).hexdigest()
        for altered in (body[:-1], b""):
            with stand.objects_changed({key: altered}):
                (finding,) = stand.found()
            assert (finding.kind, finding.object, finding.column) == ("changed", key, None)
        with stand.objects_changed({key: None}):
            (finding,) = stand.found()
            assert (finding.kind, finding.object) == ("missing", key)


def test_objects_that_were_swapped_or_added_are_named(stand):
    for kind in ("records", "salts", "leaves", "evidence"):
        keys = stand.stored(kind)
        for one, other in itertools.pairwise(keys):
            bodies = [(stand.objects / key).read_bytes() for key in (other, one)]
            with stand.objects_changed(dict(zip((one, other), bodies, strict=True))):
                findings = stand.found()
            assert sorted(str(found.object) for found in findings) == [one, other], findings
            assert {found.kind for found in findings} == {"changed"}
        added = f"{kind}/payments/{'0' * 64}"
        with stand.objects_changed({added: b"x"}):
            report, findings, unused = stand.check()
        assert (findings, unused, report.unused) == ([], [added], 1)
    added = f"states/payments/{'0' * 64}.json"
    with stand.objects_changed({added: b"{}"}):
        (finding,) = stand.found()
    assert (finding.kind, finding.object) == ("changed", added)


def test_the_entry_that_was_changed_is_named(stand):
    key = next(row["object"] for row in stand.rows("batch") if row["id"] == 4)
    entries = record_frames.unpack((stand.objects / key).read_bytes())
    other = record_frames.pack([entry.replace(b"job-7", b"job-9") for entry in entries])
    with stand.objects_changed({key: other}):
        (finding,) = stand.found()
    assert "entry 8 with its salt" in finding.detail
    assert finding.found == sha256(other).hexdigest()
    # Under its own digest, which the row then names, it is another object, and the tree tells.
    moved = key.replace(sha256(record_frames.pack(entries)).hexdigest(), sha256(other).hexdigest())
    row = next(row for row in stand.rows("batch") if row["id"] == 4)
    with stand.objects_changed({moved: other, key: None}), stand.changed(update("batch", row, "object", moved)):
        (finding,) = stand.found()
    assert (finding.column, "entry 8 with its salt" in finding.detail) == ("object", True)


def test_damaged_text_and_numbers_do_not_stop_the_check(stand):
    for table, column in (
        ("batch", "sidecar"),
        ("batch", "instance"),
        ("batch", "object"),
        ("batch", "evidence"),
        ("batch", "signed_at"),
        ("decision", "reasons"),
        ("decision", "time_ns"),
        ("decision", "position"),
    ):
        for damaged in ("CAST(x'ff80' AS TEXT)", "x'00ff'", "''", "1e300", "'a/../b'"):
            row = stand.rows(table)[0]["id"]
            with stand.changed((f'UPDATE {table} SET "{column}" = {damaged} WHERE id = ?', (row,))):
                findings = stand.found()
            assert [one[1:] for one in where(findings)] == [(table, row, column)], (damaged, findings)
            json.dumps([one.as_dict() for one in findings]).encode()
    # Of batches that came unsigned, rows alone say where their objects lie.
    for column in ("system", "sidecar", "instance", "file", "object"):
        for damaged in ("CAST(x'ff80' AS TEXT)", "x'00ff'", "''", "1e300", "'a/../b'"):
            with stand.changed((f'UPDATE batch SET "{column}" = {damaged} WHERE id = 7', ())):
                assert ("batch", 7, column) in [one[1:] for one in where(stand.found())], (column, damaged)


def test_parts_can_be_checked_alone(stand):
    assert stand.check(scope=fsck.Scope("payments"))[0].batches == 7
    report = stand.check(scope=fsck.Scope("payments", "two"))[0]
    assert (report.batches, report.unused, report.states) == (2, None, 1)
    with pytest.raises(UsageError, match="no system nobody"):
        stand.check(scope=fsck.Scope("nobody"))
    fourth = stand.rows("batch")[3]
    since = datetime.fromisoformat(fourth["received_at"] + "+00:00")
    report, findings, _ = stand.check(scope=fsck.Scope(since=since))
    assert (report.batches, findings) == (4, [])
    with stand.changed(update("decision", stand.rows("decision")[3], "action", "x")):  # of the sidecar two
        assert stand.found(scope=fsck.Scope(sidecar="one")) == []
        assert len(stand.found(scope=fsck.Scope(sidecar="two"))) == 1


@pytest.fixture
def elsewhere(monkeypatch):
    """The verifier as other processes find it: tests are no packages to them."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return partial(copy.copy, importlib.import_module("batch_kit").verify_batch_plain)


def test_several_processes_find_the_same(stand, elsewhere):
    rows = stand.rows("decision")
    means = replace(stand.means, verifier=elsewhere)
    with stand.changed(*(update("decision", row, "action", "x") for row in rows)):
        alone, together = stand.found(), stand.found(means=means, jobs=2)
    assert alone == together
    assert len(alone) == len(rows)


#: Columns of which each database has its own form, and some others.
NOT_ALIKE = ("first_entry", "root", "salts", "log_index", "signed_at", "time_ns", "reasons", "position", "words")


def test_postgresql_too(tmp_path, postgresql, elsewhere):
    stand = made(tmp_path, fresh(postgresql))
    report, findings, unused = stand.check()
    assert (report.batches, report.decisions, findings, unused) == (7, 18, [], [])
    wrong = []
    for table in ("batch", "decision"):
        row = stand.rows(table)[2]
        for column, value in row.items():
            if column not in NOT_ALIKE:
                continue
            new = datetime(2026, 1, 31) if column == "signed_at" else flipped(value)
            kind = "::json" if column == "reasons" else ""
            with stand.database() as connection:
                query = f'UPDATE {table} SET "{column}" = %s{kind} WHERE id = %s'
                connection.exec_driver_sql(query, ('["x"]' if kind else new, row["id"]))
            found = where(stand.found())
            with stand.database() as connection:
                connection.exec_driver_sql(query, (value, row["id"]))
            if [one[1:] for one in found] != [(table, row["id"], column)]:
                wrong.append((table, column, found))
    assert wrong == []
    assert stand.found(means=replace(stand.means, verifier=elsewhere), jobs=2) == []


def fresh(server):
    """The URL of a new database."""
    name = f"t{secrets.token_hex(6)}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sqlalchemy.make_url(server).set(database=name).render_as_string(hide_password=False)


def ingest_at(depth, *arguments):
    """Where so much of the stack is in use, parsers that recurse give up earlier."""
    return ingest_at(depth - 1, *arguments) if depth else records.ingest(*arguments)


def test_filters_are_compared_in_the_form_that_they_have(stand):
    row = stand.rows("batch")[0]
    entries = record_frames.unpack((stand.objects / row["object"]).read_bytes())
    older = word_filter.build(entries, word_filter.OLDEST)
    assert row["words"] == word_filter.build(entries) != older
    with stand.changed(update("batch", row, "words", older)):
        assert stand.found() == []
    for words in (row["words"], older):
        for bits in [1 << at for at in range(32)] + [0x03, 0x02, 0x01]:  # and from one form to another
            header = (int.from_bytes(words[:4], "big") ^ bits).to_bytes(4, "big")
            with stand.changed(update("batch", row, "words", header + words[4:])):
                assert [one[1:] for one in where(stand.found())] == [("batch", row["id"], "words")], header
    for words in (b"pwf0" + bytes(64), b"", b"pwf2", older[:-1]):
        with stand.changed(update("batch", row, "words", words)):
            assert [one[1:] for one in where(stand.found())] == [("batch", row["id"], "words")], words


def test_odd_records_make_no_finding(tmp_path):
    installed = initialise(tmp_path / "control", tmp_path / "root-key.pem")
    plane = Plane.open(Settings.load(installed.directory), verify_plain, verify_statement_plain)
    with plane.store.write() as session:
        session.add(System(name="payments", identities=[], required_predicates=[], horizon_seconds=3600))
    odd = b"".join(POISON.values()) + b"\n\n" + b"{" * 5000 + b'\n{"\xff": 1}\n'
    odd += b"".join(
        record(f"deep{depth}").replace(b'"in-7"', b"[" * depth + b"]" * depth) for depth in range(600, 990, 6)
    )
    for depth in (0, 100, 200):
        span = records.Span("payments", f"s{depth}", "i", "f", 0, len(odd))
        ingest_at(depth, plane, span, odd)
    plane.close()
    stand = Stand(installed.directory)
    report, findings, _ = stand.check(replace(stand.means, verifier=None))
    assert report.unsigned == 3
    assert {(one.kind, one.found) for one in findings} == {("repeat", "odd")}, "but that most have one id and time"


def test_breaks_are_listed_and_what_was_kept_is_checked(tmp_path):
    stand = made(tmp_path)
    plane = Plane.open(stand.settings, verify_plain, verify_statement_plain, verify_batch=verify_batch_plain)
    chain = Chain("three", entry=5, previous="sha256:" + "0" * 64)
    with pytest.raises(Denied, match="gap"):
        take(plane, chain, line(1))
    plane.close()
    report, findings, _ = stand.check()
    assert ([one["kind"] for one in report.breaks], report.breaks[0]["stops"], findings) == (["batch.gap"], True, [])
    (key,) = stand.stored("quarantine")
    body = (stand.objects / key).read_bytes()
    for other, kind in ((body + b" ", "changed"), (None, "missing")):
        with stand.objects_changed({key: other}):
            (finding,) = stand.found()
        assert (finding.kind, finding.table, finding.row, finding.object) == (kind, "lineage_break", 1, key)


def test_what_is_stored_meanwhile_makes_no_finding(tmp_path):
    stand = made(tmp_path)
    plane = Plane.open(stand.settings, verify_plain, verify_statement_plain, verify_batch=verify_batch_plain)
    chain = Chain("three")

    number = itertools.count(1000)  # a decision that comes again is a break

    def progress(step):
        take(plane, chain, line(next(number), False) + line(next(number)))

    findings = stand.found(progress=progress)
    plane.close()
    assert len(chain.made) > 10
    assert findings == stand.found() == []


def test_what_cannot_be_read_is_no_finding(tmp_path):
    stand = made(tmp_path)
    with pytest.raises(UsageError, match="--lineage-trust-config"):
        stand.check(replace(stand.means, verifier=None))
    assert {one.kind for one in stand.found(means=replace(stand.means, issuers=("https://x.example",)))} == {"unproved"}
    (stand.objects / "placet").rename(tmp_path / "placet")
    with pytest.raises(PlacetError, match="the object store is another one"):
        stand.check()
    stand.objects.rename(tmp_path / "elsewhere")
    with pytest.raises(PlacetError, match=r"cannot read .*objects"):
        stand.check()
    assert not stand.objects.exists()
    (tmp_path / "elsewhere").rename(stand.objects)
    (tmp_path / "placet").rename(stand.objects / "placet")
    database = stand.settings.directory / "placet.db"
    database.write_bytes(database.read_bytes()[:8192] + bytes(100_000))
    with pytest.raises(PlacetError):
        stand.check()
    database.unlink()
    with pytest.raises(PlacetError, match=r"cannot read .*placet.db"):
        stand.check()
    assert not database.exists()


def test_the_command_with_real_signatures(tmp_path, opa_binary):
    live = Live(tmp_path, opa_binary)
    try:
        client, session = live.sidecar("one")
        answer = client.put(f"/api/v1/systems/payments/states/{DIGEST}", content=STATE)
        assert answer.status_code == 204, answer.text
        chain = Chain(closed_at=datetime.now(UTC))
        for number in (0, 3, 6):
            made = chain.next(b"".join(line(number + more) for more in range(3)))
            answer = client.post(chain.path, json=signed(made, session))
            assert answer.status_code == 200, answer.text
    finally:
        live.close()
    settings = live.plane.settings
    command = [PLACET, "lineage", "fsck", "--dir", settings.directory, "--identity-issuer", live.url]
    tiles = next((tmp_path / "sigstore").rglob("checkpoint")).parent
    command += ["--lineage-trust-config", live.sigstore.trust_config, "--trust-config", live.sigstore.trust_config]
    command += ["--log", tiles]

    def run(*arguments, expect):
        done = subprocess.run([*map(str, [*command, *arguments])], capture_output=True, text=True, timeout=60)
        assert done.returncode == expect, (done.stdout, done.stderr)
        return done

    done = run("--output", "json", expect=0)
    document = json.loads(done.stdout)
    assert document["checked"]["log"] >= 3
    assert (document["findings"], document["unused"], document["breaks"]) == ([], [], [])
    assert (document["checked"]["batches"], document["checked"]["decisions"]) == (3, 9)
    assert (
        "3 batches with 9 entries and 9 decisions, 1 trust state, 5 entries of the log: no findings; 0 " in done.stderr
    )
    assert "is not initialised" in run("--dir", tmp_path / "nowhere", expect=1).stderr

    stand = Stand(settings.directory)
    with stand.changed(update("decision", stand.rows("decision")[4], "outcome", "deny")):
        done = run("--output", "lines", expect=3)
        (finding,) = map(json.loads, done.stdout.splitlines())
        assert finding == {
            "kind": "changed",
            "table": "decision",
            "row": decision_row(2, 1),
            "column": "outcome",
            "object": None,
            "expected": "allow",
            "found": "deny",
            "detail": "outcome is not what it must be",
        }

    # One bit of a tile, and of an entry; also of those that wider ones took the place of.
    files = sorted((path for path in (tiles / "tile").rglob("*") if path.is_file()), key=lambda one: int(one.name))
    assert len(files) > 2, files
    for tile in (files[0], files[-1]):
        raw = tile.read_bytes()
        tile.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        (finding, *_) = map(json.loads, run("--output", "lines", expect=3).stdout.splitlines())
        assert (finding["kind"], str(tiles) in finding["object"]) == ("changed", True)
        tile.write_bytes(raw)

    # Evidence of which the digests were made to fit: the signature does not.
    row = stand.rows("batch")[1]
    evidence = json.loads((stand.objects / row["evidence"]).read_bytes())
    signature = bytearray(base64.b64decode(evidence["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    evidence["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    forged = json.dumps(evidence).encode()
    key = f"evidence/payments/{sha256(forged).hexdigest()}"
    with stand.objects_changed({key: forged}), stand.changed(update("batch", row, "evidence", key)):
        means = fsck.Means(settings, (live.url,), partial(batch_verifier, live.sigstore.trust_config))
        (finding,) = stand.found(means=means)
        assert (finding.kind, finding.row, finding.object) == ("unproved", 2, key)
    # A former issuer, under which none of these was signed, is no harm.
    assert stand.found(means=replace(means, issuers=("https://placet.example.org", live.url))) == []

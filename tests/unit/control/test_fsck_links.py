"""Whatever is changed of what is stored of journals is named, at its place; and nothing else is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.control import fsck, installation, links
from app.control.fsck.kept import Said
from app.control.installation import initialise
from app.control.plane import Plane
from app.control.settings import Settings
from app.control.store import Approval, System, Warrant
from app.core.errors import UsageError
from app.core.link_names import Ref
from app.core.warrant_request import APPROVAL, WarrantRequest

from .batch_kit import verify_batch_plain
from .conftest import verify_plain, verify_statement_plain
from .link_kit import AT, Journal, digest
from .test_fsck import Stand, where

COLUMNS = ("system", "sidecar", "instance", "number", "payload", "kind", "execution", "at", "signed_at", "log_index",
           "object", "evidence_sha256", "received_at")  # fmt: skip


def approved(whole):
    """What the boss signed."""
    return json.dumps({"subject": [{"digest": {"sha256": whole[7:]}}], "predicate": {"warrant": "w1"}})


def approval_of(raw):
    return Said(APPROVAL, json.loads(raw), "boss@example.org", "i", AT)


def made(directory, database=None):
    """Two journals of two sidecars."""
    installed = initialise(directory / "control", directory / "root-key.pem", database)
    plane = Plane.open(
        Settings.load(installed.directory), verify_plain, verify_statement_plain, verify_batch=verify_batch_plain
    )
    with plane.store.write() as session:
        session.add(System(name="payments", identities=[], required_predicates=[], horizon_seconds=3600))
        session.flush()
        who = {"requested_by": "t", "obtained": {}, "how": "api", "subject_issuer": "i", "subject_id": "s"}
        asked = {"actions": ["read"], "resources": ["*"], "lifetime_seconds": 60, "subject": {"issuer": "i", "id": "s"}}
        whole = WarrantRequest.model_validate(asked).digest("payments", "w1")
        session.add(
            Warrant(id="w1", system="payments", request=asked, request_digest=whole, needs_approval=True, **who)
        )
        session.flush()
        signer = {"identity": "boss@example.org", "issuer": "i", "signed_at": AT, "received_by": "t"}
        session.add(Approval(warrant="w1", request_digest=whole, evidence=approved(whole), **signer))
    one, two = Journal(), Journal("two", instance="i2")
    one.trust()
    one.enforce()
    one.start(decisions=[Ref("decision/d1", digest("leaf"))], warrants=[Ref("warrant/w1", digest("token"))])
    one.step("load", materials=[Ref("artifact/a", digest("a"))], products=[Ref("artifact/b", digest("b"))])
    one.end()
    two.start("execution-of-two")
    two.step("load", "execution-of-two")
    for journal in (one, two):
        for statement in journal.made:
            body = json.dumps(journal.body(statement, log_index=statement.number)).encode()
            links.take(plane, journal.system, journal.name, body)
    plane.close()
    return Links(installed.directory)


class Links(Stand):
    """The same for journals."""

    tables = ("link", "link_resource", "approval")

    def __init__(self, directory):
        super().__init__(directory)
        self.means = replace(self.means, said=approval_of)

    def keys(self):
        return sorted(path.relative_to(self.objects).as_posix() for path in Path(self.objects).rglob("links/*/*/*/*"))


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    return made(tmp_path_factory.mktemp("fsck-links"))


def test_nothing_is_found_where_nothing_was_changed(stand):
    report, found, unused = stand.check()
    assert (report.links, found, unused) == (7, [], [])
    report, found, _ = stand.check(scope=fsck.Scope(sidecar="two"))
    assert (report.links, found) == (2, [])
    with pytest.raises(UsageError, match="--lineage-trust-config"):
        stand.check(fsck.Means(stand.settings))


def test_statements_are_sealed_anew_and_one_by_one(stand):
    number = stand.rows("link")[-1]["id"]
    with stand.changed(("UPDATE link SET received_at = '2026-03-01 00:00:00.000000' WHERE id = ?", (number,))):
        assert [(one.table, one.row, one.column) for one in stand.found()] == [("link", number, "received_at")]
        installation.seal_row(stand.settings, f"link/{number}")
        assert stand.found() == []
    assert [(one.table, one.row) for one in stand.found()] == []
    with stand.changed(("UPDATE link SET received_at = '2026-03-01 00:00:00.000000'", ())):
        assert installation.seal(stand.settings) > 7
        assert stand.found() == []
    installation.seal(stand.settings)


def flipped(value):
    if isinstance(value, int):
        return value + 1000
    return "x" if value is None else value[:-1] + chr(ord(value[-1]) ^ 1)


@pytest.mark.parametrize("column", COLUMNS)
def test_every_changed_column_is_named(stand, column):
    for row in (stand.rows("link")[3], stand.rows("link")[0]):
        new = flipped(row[column])
        with stand.changed((f"UPDATE link SET {column} = ? WHERE id = ?", (new, row["id"]))):
            found = where(stand.found())
        assert {one[1:] for one in found if one[0] != "unused"} >= {("link", row["id"], column)}, found
        assert {one[2] for one in found} == {row["id"]} or column == "object", found


def test_changed_rows_of_what_a_statement_names_are_named(stand):
    step = stand.rows("link")[3]["id"]
    for change in (
        "UPDATE link_resource SET name = 'artifact/c' WHERE link = ? AND position = 1",
        "UPDATE link_resource SET sha256 = 'x' WHERE link = ? AND position = 2",
        "UPDATE link_resource SET material = 1 WHERE link = ? AND position = 1",
        "UPDATE link_resource SET position = 9 WHERE link = ? AND position = 3",
        "DELETE FROM link_resource WHERE link = ? AND position = 2",
        "INSERT INTO link_resource VALUES (?, 4, 1, 'artifact/more', 'x')",
    ):
        with stand.changed((change, (step,))):
            assert where(stand.found()) == [("changed", "link_resource", step, None)], change
    with stand.changed(("UPDATE link_resource SET link = 99 WHERE link = ?", (step,))):
        assert where(stand.found()) == [
            ("changed", "link_resource", step, None),
            ("surplus", "link_resource", 99, "link"),
        ]


def test_rows_that_are_gone_are_named_by_their_evidence_and_by_the_gap(stand):
    rows = stand.rows("link")

    def gone(row):
        return [(f"DELETE FROM {table} WHERE {name} = ?", (row["id"],))
                for table, name in (("link_resource", "link"), ("link", "id"))]  # fmt: skip

    with stand.changed(*gone(rows[2])):
        found = stand.found()
    assert [(one.kind, one.row) for one in found] == [("gap", rows[3]["id"]), ("missing", None)]
    assert found[1].object == rows[2]["object"]
    with stand.changed(*gone(rows[6])):
        assert [(one.kind, one.object) for one in stand.found()] == [("missing", rows[6]["object"])]


def test_every_changed_byte_of_evidence_is_named(stand):
    rows = {row["object"]: row["id"] for row in stand.rows("link")}
    key = stand.keys()[2]
    body = (stand.objects / key).read_bytes()
    for at in range(0, len(body), 97):
        with stand.objects_changed({key: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]}):
            found = stand.found()
        assert found, at
        assert {one.row for one in found} == {rows[key]}, at
    with stand.objects_changed({key: None}):
        assert where(stand.found()) == [("missing", "link", rows[key], "object")]


def test_swapped_and_added_evidence_is_named(stand):
    one, two = stand.keys()[2:4]
    bodies = {key: (stand.objects / key).read_bytes() for key in (one, two)}
    rows = {row["object"]: row["id"] for row in stand.rows("link")}
    with stand.objects_changed({one: bodies[two], two: bodies[one]}):
        assert {one.row for one in stand.found()} == {rows[one], rows[two]}
    with stand.objects_changed({one + ".x": b"{}"}):
        assert stand.check()[1:] == ([], [one + ".x"])


def test_an_approval_that_was_changed_on_either_side_is_named(stand):
    key = "approvals/payments/w1.json"
    for body, kind in ((b"what the boss signed", "changed"), (None, "missing")):
        with stand.objects_changed({key: body}):
            assert [(one.kind, one.table, one.object) for one in stand.found()] == [(kind, "approval", key)]
    with stand.changed(("UPDATE approval SET evidence = 'something else'", ())):
        assert [(one.kind, one.object) for one in stand.found()] == [("changed", key), ("unproved", None)]


def test_both_databases(tmp_path, database):
    stand = made(tmp_path, database)
    report, found, _ = stand.check()
    assert (report.links, found) == (7, [])
    with stand.database() as connection:
        connection.exec_driver_sql("UPDATE link SET kind = 'execution/end' WHERE number = 3")
        connection.exec_driver_sql("DELETE FROM link_resource WHERE position = 0 AND link = 1")
    assert sorted(where(stand.found())) == [("changed", "link", 4, "kind"), ("changed", "link_resource", 1, None)]

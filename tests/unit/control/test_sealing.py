"""Seals while the control plane writes: what was not as it was written stays named, and the key is the database's."""

from types import SimpleNamespace

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import select

from app.control import installation, systems
from app.control.fsck import seals
from app.control.fsck.scratch import Scratch
from app.control.fsck.tables import reading
from app.control.plane import Plane
from app.control.settings import Settings
from app.control.store import Hold, Quarantine, Retention, Seals, Store, System, TrustState, migrations, sealing
from app.core.errors import PlacetError, UsageError

from .conftest import DEVELOPER, verify_plain

pytestmark = pytest.mark.unsealed


def named(plane):
    """What fsck says of the rows with seals."""
    scratch, store = Scratch(), Store(plane.settings.database_url)  # its own, which only reads
    try:
        with reading(store) as tables:
            found = [one for one in seals.check(tables, Seals.load(plane.settings.seal_key), scratch, ()) if one]
        return [(one.kind, one.table, one.row) for one in found]
    finally:
        scratch.close()
        store.close()


@pytest.fixture
def filled(plane):
    with plane.store.write() as session:
        session.add(System(name="payments", identities=[DEVELOPER], horizon_seconds=60))
        session.flush()
        session.add(Retention(system="payments", records_days=30, set_by="ann"))
        for subject in ("eve", "bob"):
            session.add(Quarantine(issuer="https://i", subject=subject, reason="stolen", added_by="ann"))
            session.add(Hold(system="payments", subject_id=subject, reason="trial", placed_by="ann"))
    assert named(plane) == []
    return plane


def tamper(plane, statement):
    """As whoever has only the database."""
    with plane.store.engine.begin() as connection:
        connection.execute(text(statement))


def test_a_changed_row_that_is_changed_again_stays_named(filled):
    """Through the session's objects, and by an UPDATE past them; the rows beside it are sealed as ever."""
    tamper(filled, "UPDATE hold SET reason = 'none' WHERE subject_id = 'eve'")
    [(kind, table, row)] = named(filled)
    assert (kind, table) == ("changed", "hold")
    for _ in range(2):
        with filled.store.write() as session:
            for hold in session.exec(select(Hold)):
                hold.note = f"{hold.note}, looked at"
                session.add(hold)
        assert named(filled) == [("changed", "hold", row)]
        with filled.store.write() as session:
            session.execute(update(Hold).values(note="looked at"))
        assert named(filled) == [("changed", "hold", row)]
    tamper(filled, "UPDATE hold SET reason = 'trial' WHERE subject_id = 'eve'")
    assert named(filled) == [("changed", "hold", row)], "nothing tells that it is as it was"
    assert installation.seal(filled.settings)
    assert named(filled) == []


def test_an_added_row_that_is_changed_stays_named(filled):
    columns = "issuer, subject, kind, reason, added_by, since"
    tamper(
        filled,
        f"INSERT INTO quarantine ({columns}) SELECT issuer, 'mallory', kind, reason, added_by, since "
        "FROM quarantine WHERE subject = 'eve'",
    )
    [(kind, table, row)] = named(filled)
    assert (kind, table) == ("surplus", "quarantine")
    with filled.store.write() as session:
        for one in session.exec(select(Quarantine)):
            one.lifted_by = "ann"
            session.add(one)
    assert named(filled) == [("surplus", "quarantine", row)]


def test_a_removed_row_stays_named_when_its_key_is_taken_again(filled):
    """SQLite gives the number of the newest row again; and some keys are of the matter."""
    tamper(filled, "DELETE FROM retention")
    tamper(filled, "DELETE FROM hold WHERE subject_id = 'bob'")
    gone = named(filled)
    assert [(kind, table) for kind, table, _ in gone] == [("missing", "hold"), ("missing", "retention")]
    with filled.store.write() as session:
        session.add(Retention(system="payments", records_days=5, set_by="ann"))
        session.add(Hold(system="payments", subject_id="eve", reason="trial", placed_by="ann"))
    assert {(table, row) for _, table, row in named(filled)} == {(table, row) for _, table, row in gone}


def test_a_changed_row_that_is_removed_stays_named(filled):
    """As an object, and by a DELETE past the session; what is as it was written is forgotten."""
    tamper(filled, "UPDATE quarantine SET reason = 'none' WHERE subject = 'eve'")
    tamper(filled, "UPDATE hold SET reason = 'none' WHERE subject_id = 'eve'")
    changed = named(filled)
    with filled.store.write() as session:
        for one in session.exec(select(Quarantine)):
            session.delete(one)
        session.execute(delete(Hold))
    assert named(filled) == [("missing", table, row) for _, table, row in changed]


def test_what_is_removed_and_added_in_one_transaction_is_sealed(filled):
    with filled.store.write() as session:
        session.delete(session.get_one(Retention, "payments"))
        session.add(Retention(system="payments", records_days=5, set_by="ann"))
    assert named(filled) == []
    with filled.store.write() as session:
        session.delete(session.get_one(Retention, "payments"))
        session.flush()
        session.add(Retention(system="payments", records_days=6, set_by="ann"))
    assert named(filled) == []


def test_one_row_is_taken_as_it_is(filled):
    """After a repair by hand, beside a server that runs; the others stay named."""
    tamper(filled, "UPDATE hold SET reason = 'none'")
    tamper(filled, "DELETE FROM retention")
    tamper(filled, "DELETE FROM seal WHERE about = 'seal'")
    found = named(filled)
    assert len(found) == 4
    for number, (_, table, row) in enumerate(found, 1):
        installation.seal_row(filled.settings, f"{table}/{row}")
        assert named(filled) == found[number:]
    for wrong in ("hold/99", "hold", "", "decision/1", "batch/1", "batch/x", "nothing/1"):
        with pytest.raises(UsageError, match="no sealed row"):
            installation.seal_row(filled.settings, wrong)


def test_what_was_read_before_the_lock_is_not_written_back(filled):
    """Somebody changes a row, and puts it back while the control plane waits for it."""
    with filled.store.write() as session:
        systems.set_limits(session, "payments", {"clock": 3})
    with filled.store.write() as session:
        session.exec(select(System)).all()
        committed = session.get_one(System, "payments")
        set_committed_value(committed, "lineage_limits", {"clock": 0, "opa": 0})  # as it was for a while
        systems.set_limits(session, "payments", {"dropped": 5})
    with filled.store.read() as session:
        assert systems.find(session, "payments").lineage_limits == {"clock": 3, "dropped": 5}
    assert named(filled) == []


def test_a_sealing_that_fails_leaves_no_key(filled, monkeypatch):
    """Else the next start would find a key, and not the database's."""

    def fail(store):
        raise PlacetError("no")

    for name, call in (("seal", installation.seal), ("upgrade", installation.migrate)):
        monkeypatch.setattr(migrations, name, fail)
        monkeypatch.setattr(installation, "inspect", lambda engine: SimpleNamespace(has_table=lambda table: False))
        kept = filled.settings.seal_key.read_bytes()
        with pytest.raises(PlacetError, match=r"^no$"):
            call(filled.settings)
        assert filled.settings.seal_key.read_bytes() == kept, "one that was there stays"
        filled.settings.seal_key.unlink()
        with pytest.raises(PlacetError, match=r"^no$"):
            call(filled.settings)
        assert not filled.settings.seal_key.exists()
        filled.settings.seal_key.write_bytes(kept)
        filled.settings.seal_key.chmod(0o600)


def test_a_key_that_others_can_read_is_not_used(filled):
    filled.settings.seal_key.chmod(0o640)
    with pytest.raises(PlacetError, match="others can read"):
        Seals.load(filled.settings.seal_key)


def test_who_has_only_the_database_gives_himself_no_token(filled, api):
    """Neither a row of his own, nor more scopes for one that he has."""
    mine = api.with_token("system:read")
    assert mine.get("/api/v1/systems").status_code == 200
    assert mine.post("/api/v1/quarantine", json={}).status_code == 403
    identifier = mine.token.split("_")[1]
    for scope, status in (("admin", 401), ("system:read", 200)):  # the second is what it was
        tamper(filled, f"UPDATE api_token SET scopes = '[\"{scope}\"]' WHERE id = '{identifier}'")
        assert mine.get("/api/v1/systems").status_code == status
    copied = mine.token.replace(identifier, "0" * 12)
    columns = "name, secret_sha256, scopes, system, sidecar, created_at, created_by, revoked_at"
    of = f"FROM api_token WHERE id = '{identifier}'"
    tamper(filled, f"INSERT INTO api_token (id, {columns}) SELECT '000000000000', {columns} {of}")
    assert api.get("/api/v1/systems", headers={"Authorization": f"Bearer {copied}"}).status_code == 401
    assert mine.get("/api/v1/systems").status_code == 200


def test_an_order_that_is_gone_orders_nothing(filled):
    with filled.store.write() as session:
        hold = session.exec(select(Hold)).first()
        assert sealing.are_as_written(session, hold)
        session.connection().execute(text("DELETE FROM hold"))
        assert not sealing.are_as_written(session, hold)


def test_a_row_is_changed_twice_in_one_transaction(filled):
    with filled.store.write() as session:
        retention = session.get_one(Retention, "payments")
        for days in (40, 50):
            retention.records_days = days
            session.add(retention)
            session.flush()
        session.add(TrustState(system="payments", digest="sha256:aa", sidecar=""))
        session.flush()
        session.get_one(TrustState, ("payments", "sha256:aa")).named = True
    assert named(filled) == []


def test_the_key_is_the_databases(filled, api):
    """A control plane with another key does not start; one that runs says that it is not ready."""
    file = filled.settings.seal_key
    key = file.read_bytes()
    assert api.client.get("/readyz").status_code == 200
    for change in ("UPDATE seal SET mac = {} WHERE about = 'seal'", "DELETE FROM seal WHERE about = 'seal'"):
        zeros = "'\\x00'::bytea" if filled.store.engine.dialect.name == "postgresql" else "x'00'"
        tamper(filled, change.format(zeros))
        assert api.client.get("/readyz").status_code == 503
        assert named(filled) == [("changed", "seal", "key")]
    installation.seal(filled.settings)
    assert named(filled) == []
    Seals.make(file)
    with pytest.raises(PlacetError, match="not the key of this database's seals"):
        Plane.open(Settings.load(filled.settings.directory), verify_plain)
    installation.seal(filled.settings)
    assert "seals of another key" in api.client.get("/readyz").text
    file.write_bytes(key)
    installation.seal(filled.settings)
    assert api.client.get("/readyz").status_code == 200

"""Seals: an HMAC for each row of which nothing that is signed tells what it was, written with the row.

Whoever changes a bit of such a row, removes it, or adds one is named by `placet server fsck`, unless he has the key,
which lies with the control plane and not in the database. That an older row was put back with its older seal, or that
a row was removed together with its seal, no seal can tell.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, bindparam, event, false, inspect, select, text, tuple_, update
from sqlalchemy.orm import ORMExecuteState
from sqlmodel import Session, SQLModel, col

from app.control.store import as_stored
from app.control.store.bulk import insert_where
from app.control.store.decision import Batch
from app.control.store.link import Link
from app.control.store.seal import Seal
from app.core.errors import PlacetError
from app.core.files import read_bounded, write_atomically

#: Rows with a seal of their own, and what that is over. The rest of them follows from what a sidecar signed; of a batch
#: that came unsigned, from the bytes of this SHA-256 or, after an erasure, in this object.
OWN = {
    "batch": ("system", "sidecar", "instance", "file", "first", "last", "sha256", "object", "received_at"),
    "link": ("system", "sidecar", "instance", "number", "received_at"),
}

#: Besides those, decisions and what statements name are made anew of what sidecars signed.
UNSEALED = frozenset({*OWN, "decision", "link_resource", "seal"})

_KEY_BYTES = 32
_AT_ONCE = 100

#: A row's columns that name it.
Key = tuple[Any, ...]


class Seals:
    """Makes seals with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, file: Path) -> Seals:
        """The key of an initialised directory."""
        if not file.exists():
            raise PlacetError(f"there is no {file}: restore it from a backup, or make another: placet server seal")
        try:
            key = bytes.fromhex(read_bounded(file, 2 * _KEY_BYTES + 1, "the key of the seals").decode("ascii").strip())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise PlacetError(f"{file} holds no key: restore it from a backup, or remove it: placet server seal")
        return cls(key)

    @classmethod
    def make(cls, file: Path) -> Seals:
        """A key of its own, in a file."""
        key = secrets.token_bytes(_KEY_BYTES)
        write_atomically(file, key.hex().encode() + b"\n", mode=0o600)
        return cls(key)

    def row(self, table: str, row: Mapping[str, Any]) -> bytes:
        """The seal of a row, given as `app.control.store.as_stored` reads it."""
        said = json.dumps([table, {name: as_stored.plain(value) for name, value in row.items()}], sort_keys=True)
        return hmac.digest(self._key, said.encode(), "sha256")

    def own(self, table: str, row: Mapping[str, Any]) -> bytes:
        """The seal of a row that has its own."""
        values = {name: row[name] for name in OWN[table]}
        at = values["received_at"]
        return self.row(table, values | {"received_at": _moment(at) if isinstance(at, datetime) else at})

    def hold(self, table: str, row: Mapping[str, Any]) -> bool:
        """Whether a row that has a seal of its own is as it was written."""
        return row["seal"] is not None and same(row["seal"], self.own(table, row))


def same(stored: Any, made: bytes) -> bool:
    """Whether a seal is this one, whatever the database holds in its place."""
    return hmac.compare_digest(as_stored.as_bytes(stored), made)


class SealingSession(Session):
    """A session that seals what it writes. `info["seals"]` makes the seals."""


@event.listens_for(SealingSession, "before_flush")
def _flushing(session: Session, _: object, __: object) -> None:
    for one in session.new:
        if isinstance(one, Batch | Link):
            one.seal = own_seal(session, str(one.__tablename__), one.model_dump())


@event.listens_for(SealingSession, "after_flush")
def _flushed(session: Session, _: object) -> None:
    written: dict[Table, set[Key]] = defaultdict(set)
    for one in (*session.new, *filter(session.is_modified, session.dirty), *session.deleted):
        mapper = inspect(one).mapper
        written[mapper.local_table].add(tuple(mapper.primary_key_from_instance(one)))
    for table, keys in written.items():
        if table.name not in UNSEALED:
            seal(session, table, keys)


@event.listens_for(SealingSession, "do_orm_execute")
def _executed(state: ORMExecuteState) -> Any:
    """What changes rows past the session's objects. An UPDATE changes the rows that were found first, and no others."""
    statement: Any = state.statement
    if not (state.is_insert or state.is_update or state.is_delete) or statement.table.name in UNSEALED:
        return None
    table: Table = statement.table
    if state.is_insert:
        raise RuntimeError(f"rows of {table.name} are added as objects, or sealed by whoever adds them")
    state.session.flush()
    names = tuple(table.primary_key)
    where = () if statement.whereclause is None else (statement.whereclause,)
    connection = state.session.connection()
    if state.is_delete:
        gone = connection.execute(table.delete().where(*where).returning(*names), state.parameters or {})
        _forget(connection, table, map(as_stored.key_of, gone.fetchall()))
        return gone
    # As an UPDATE locks it: whoever only refers to the row does not wait.
    found = select(*names).where(*where).with_for_update(key_share=True)
    keys = {tuple(one) for one in connection.execute(found, state.parameters or {})}
    result = state.invoke_statement(statement.where(tuple_(*names).in_(keys) if keys else false()))
    seal(state.session, table, keys)
    return result


def own_seal(session: Session, table: str, row: Mapping[str, Any]) -> bytes:
    """The seal of a batch or a statement that this transaction adds."""
    return seals_of(session).own(table, row)


def seal(session: Any, table: Table | type[SQLModel], keys: Iterable[Sequence[Any]]) -> None:
    """Write the seals of rows that this transaction has written, added or removed."""
    rows: Table = table if isinstance(table, Table) else table.__table__  # type: ignore[attr-defined]
    _write(session.connection(), seals_of(session), rows, map(tuple, keys))


def are_as_written(session: Session, *rows: SQLModel) -> bool:
    """Whether rows have the seals with which the control plane wrote them: before it does what they order."""
    connection, seals = session.connection(), seals_of(session)
    for one in rows:
        table: Table = one.__table__  # type: ignore[attr-defined]
        [row] = _stored(connection, table, [tuple(getattr(one, column.name) for column in table.primary_key)])
        made = select(col(Seal.mac)).where(col(Seal.about) == table.name, col(Seal.key) == as_stored.key(table, row))
        stored = connection.execute(made).scalar()
        if stored is None or not same(stored, seals.row(table.name, row)):
            return False
    return True


def seals_of(session: Any) -> Seals:
    """What makes the seals of this transaction."""
    seals = session.info.get("seals")
    if not isinstance(seals, Seals):
        raise RuntimeError("this database was opened without the key of its seals")
    return seals


def seal_everything(connection: Connection, seals: Seals) -> int:
    """Seal all rows as they are now, after an upgrade or a repair by hand, and say how many there are."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    count = 0
    connection.execute(Seal.__table__.delete())  # type: ignore[attr-defined]
    for table in sealed():
        keys = connection.execute(select(*table.primary_key)).fetchall()
        _write(connection, seals, table, map(tuple, keys))
        count += len(keys)
    return count + sum(_seal_own(connection, seals, SQLModel.metadata.tables[name]) for name in OWN)


def _seal_own(connection: Connection, seals: Seals, table: Table) -> int:
    names = ("id", *OWN[table.name])
    columns = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
    found = connection.execute(text(f"SELECT {columns} FROM {table.name}")).fetchall()  # noqa: S608 - names of ours
    sealed = update(table).where(table.c.id == bindparam("number")).values(seal=bindparam("made"))
    rows = iter(found)
    while some := list(islice(rows, 1000)):
        values = [dict(zip(names, one, strict=True)) for one in some]
        connection.execute(sealed, [{"number": one["id"], "made": seals.own(table.name, one)} for one in values])
    return len(found)


def _write(connection: Connection, seals: Seals, table: Table, keys: Iterable[Key]) -> None:
    rest = iter(sorted(keys))
    while some := list(islice(rest, _AT_ONCE)):
        rows = _stored(connection, table, some)
        made = {as_stored.key(table, one): seals.row(table.name, one) for one in rows}
        _forget(connection, table, set(map(as_stored.key_of, some)) - made.keys())
        _keep(connection, table, made)


def _stored(connection: Connection, table: Table, keys: Sequence[Key]) -> list[as_stored.Row]:
    """The rows of these keys that are there."""
    columns = [connection.dialect.identifier_preparer.quote(column.name) for column in table.primary_key]
    bound = {f"k{at}_{number}": value for at, one in enumerate(keys) for number, value in enumerate(one)}
    wanted = " OR ".join(
        "(" + " AND ".join(f"{column} = :k{at}_{number}" for number, column in enumerate(columns)) + ")"
        for at in range(len(keys))
    )
    found = connection.execute(text(f"{as_stored.select_all(table, connection.dialect)} WHERE {wanted}"), bound)
    return [as_stored.row(table, values) for values in found]


def _keep(connection: Connection, table: Table, made: Mapping[str, bytes]) -> None:
    if not made:
        return
    adding = insert_where(connection, Seal.__table__)  # type: ignore[attr-defined]
    upsert = adding.on_conflict_do_update(index_elements=["about", "key"], set_={"mac": adding.excluded.mac})
    connection.execute(upsert, [{"about": table.name, "key": key, "mac": mac} for key, mac in made.items()])


def _forget(connection: Connection, table: Table, gone: Iterable[str]) -> None:
    one = Seal.__table__  # type: ignore[attr-defined]
    rest = iter(sorted(gone))
    while some := list(islice(rest, 5 * _AT_ONCE)):
        connection.execute(one.delete().where(one.c.about == table.name, one.c.key.in_(some)))


def _moment(at: datetime) -> str:
    return as_stored.instant(at if at.tzinfo is None else at.astimezone(UTC))


def sealed() -> Iterator[Table]:
    """The tables whose rows have seals."""
    tables = SQLModel.metadata.tables
    return (tables[name] for name in sorted(tables.keys() - UNSEALED))

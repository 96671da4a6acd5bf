"""Seals: an HMAC for each row of which nothing that is signed tells what it was, written with the row.

Whoever changes a bit of such a row, removes it, or adds one is named by `placet server fsck`, unless he has the key,
which lies with the control plane and not in the database. That an older row was put back with its older seal, or that
a row was removed together with its seal, no seal can tell.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, bindparam, event, false, inspect, select, text, tuple_, update
from sqlalchemy.orm import ORMExecuteState
from sqlmodel import Session, SQLModel, col

from app.control.store import as_stored
from app.control.store.bulk import insert_where, next_numbers
from app.control.store.decision import Batch
from app.control.store.link import Link
from app.control.store.seal import Seal
from app.control.store.seals import OWN, UNSEALED, Seals, same

log = logging.getLogger("placet.control")

_AT_ONCE = 100

#: A row's columns that name it.
Key = tuple[Any, ...]

#: The row of `seal` that tells by which key the others are made.
KEY_ROW = ("seal", "[]")

_SEALS: Table = Seal.__table__  # type: ignore[attr-defined]

#: In a session: the rows that it changes, and that were not as the control plane wrote them.
_DOUBTED = "not as written"


class SealingSession(Session):
    """A session that seals what it writes. `info["seals"]` makes the seals."""


@event.listens_for(SealingSession, "before_flush")
def _flushing(session: Session, _: object, __: object) -> None:
    for kind in (Batch, Link):
        rows: list[Any] = [one for one in session.new if isinstance(one, kind)]
        table: Table = kind.__table__  # type: ignore[union-attr]
        without = [one for one in rows if one.id is None]
        for one, number in zip(without, _numbers(session, table, len(without)), strict=True):
            one.id = number
        for one in rows:
            one.seal = own_seal(session, table.name, one.model_dump())
    for table, keys in _by_table((*filter(session.is_modified, session.dirty), *session.deleted)).items():
        _look_at(session, table, keys)


def _numbers(session: Session, table: Table, many: int) -> list[int]:
    return next_numbers(session.connection(), table, many) if many else []


@event.listens_for(SealingSession, "after_flush")
def _flushed(session: Session, _: object) -> None:
    changed = _by_table(filter(session.is_modified, session.dirty))
    added, gone = _by_table(session.new), _by_table(session.deleted)
    for table, keys in gone.items():
        again = keys & added.get(table, set())
        _forget(session, table, keys - again)
        if again:
            added[table] -= again
            changed.setdefault(table, set()).update(again)
    for table, keys in added.items():
        seal(session, table, keys)
    for table, keys in changed.items():
        _seal_again(session, table, keys)


def _by_table(rows: Iterable[Any]) -> dict[Table, set[Key]]:
    """The keys of rows that have seals in `seal`."""
    found: dict[Table, set[Key]] = defaultdict(set)
    for one in rows:
        mapper = inspect(one).mapper
        if mapper.local_table.name not in UNSEALED:
            found[mapper.local_table].add(tuple(mapper.primary_key_from_instance(one)))
    # Rows are locked in this order: the same in every transaction.
    return {table: found[table] for table in sorted(found, key=lambda one: one.name)}


@event.listens_for(SealingSession, "do_orm_execute")
def _executed(state: ORMExecuteState) -> Any:
    """What changes rows past the session's objects. An UPDATE changes the rows that were found first, and no others."""
    statement: Any = state.statement
    if not (state.is_insert or state.is_update or state.is_delete) or statement.table.name in UNSEALED:
        return None
    table: Table = statement.table
    if state.is_insert:
        raise RuntimeError(f"rows of {table.name} are added as objects, or sealed by whoever adds them")
    session = state.session
    session.flush()
    names = tuple(table.primary_key)
    where = () if statement.whereclause is None else (statement.whereclause,)
    connection = session.connection()
    found = select(*names).where(*where).order_by(*names).with_for_update(key_share=True)
    keys = {tuple(one) for one in connection.execute(found, state.parameters or {})}
    _look_at(session, table, keys)
    if state.is_delete:
        gone = connection.execute(table.delete().where(*where).returning(*names), state.parameters or {})
        _forget(session, table, map(tuple, gone.fetchall()))
        return gone
    result = state.invoke_statement(statement.where(tuple_(*names).in_(keys) if keys else false()))
    _seal_again(session, table, keys)
    return result


def own_seal(session: Session, table: str, row: Mapping[str, Any]) -> bytes:
    """The seal of a batch or a statement that this transaction adds."""
    return seals_of(session).own(table, row)


def seal(session: Any, table: Table | type[SQLModel], keys: Iterable[Sequence[Any]]) -> None:
    """Seal rows that this transaction has added. Where a seal is, a row was removed of which it goes on to tell."""
    rows: Table = table if isinstance(table, Table) else table.__table__  # type: ignore[attr-defined]
    connection = session.connection()
    for made in _made(connection, seals_of(session), rows, map(tuple, keys)):
        adding = insert_where(connection, _SEALS).on_conflict_do_nothing()
        connection.execute(adding, [{"about": rows.name, "key": key, "mac": mac} for key, mac in made.items()])


def _seal_again(session: Any, table: Table, keys: Iterable[Key]) -> None:
    """Seal rows that this transaction has changed, but those that were not as they were written."""
    connection, doubted = session.connection(), session.info.get(_DOUBTED, ())
    for made in _made(connection, seals_of(session), table, keys):
        held = {key: mac for key, mac in made.items() if (table.name, key) not in doubted}
        _keep(connection, table.name, held)


def _forget(session: Any, table: Table, keys: Iterable[Key]) -> None:
    """Remove the seals of rows that this transaction has removed. Of those that were not as written they stay."""
    connection, doubted = session.connection(), session.info.get(_DOUBTED, set())
    gone = {(table.name, as_stored.key_of(key)) for key in keys}
    rest = iter(sorted(key for _, key in gone - doubted))
    while some := list(islice(rest, 5 * _AT_ONCE)):
        connection.execute(_SEALS.delete().where(_SEALS.c.about == table.name, _SEALS.c.key.in_(some)))
    doubted -= gone


def are_as_written(session: Session, *objects: SQLModel) -> bool:
    """Whether rows have the seals with which the control plane wrote them: before it does what they order."""
    connection, seals = session.connection(), seals_of(session)
    for one in objects:
        table: Table = one.__table__  # type: ignore[attr-defined]
        key = tuple(getattr(one, column.name) for column in table.primary_key)
        rows = _stored(connection, table, [key])
        if not rows or _otherwise(connection, seals, table, rows):
            return False
    return True


def _look_at(session: Any, table: Table, keys: Iterable[Key]) -> None:
    """Lock rows that are about to be changed or removed. What is not as it was written then stays named by its seal."""
    connection, seals = session.connection(), seals_of(session)
    rest = iter(sorted(keys))
    while some := list(islice(rest, _AT_ONCE)):
        for key in _otherwise(connection, seals, table, _stored(connection, table, some, lock=True)):
            session.info.setdefault(_DOUBTED, set()).add((table.name, key))
            _tell(table.name, key)


@lru_cache(maxsize=1024)  # once, however often it is changed
def _tell(table: str, key: str) -> None:
    log.error("%s %s is not as the control plane wrote it: see placet server fsck", table, key)


def _otherwise(connection: Connection, seals: Seals, table: Table, rows: Sequence[as_stored.Row]) -> list[str]:
    """The keys of those of these rows that are not as the control plane wrote them."""
    made = {as_stored.key(table, one): seals.row(table.name, one) for one in rows}
    named = (col(Seal.about) == table.name, col(Seal.key).in_(made))
    there = {key: mac for key, mac in connection.execute(select(col(Seal.key), col(Seal.mac)).where(*named))}  # noqa: C416
    return [key for key, mac in made.items() if key not in there or not same(there[key], mac)]


def are_of_this_key(session: Session) -> bool:
    """Whether the rows' seals were made with the key that this process has."""
    about, key = KEY_ROW
    stored = session.connection().execute(select(col(Seal.mac)).where(col(Seal.about) == about, col(Seal.key) == key))
    mac = stored.scalar()
    return mac is not None and same(mac, seals_of(session).own_name())


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
    connection.execute(_SEALS.delete())
    _keep(connection, KEY_ROW[0], {KEY_ROW[1]: seals.own_name()})
    count = 0
    for table in sealed():
        for made in _made(connection, seals, table, _keys(connection, table)):
            _keep(connection, table.name, made)
            count += len(made)
    return count + sum(_seal_own(connection, seals, SQLModel.metadata.tables[name]) for name in OWN)


def seal_row(connection: Connection, seals: Seals, about: str, row: str) -> bool:
    """Seal one row, named as `placet server fsck` names it; forget it if it is gone. Says whether there was either."""
    if (about, row) == (KEY_ROW[0], as_stored.named(KEY_ROW[1])):
        _keep(connection, about, {KEY_ROW[1]: seals.own_name()})
        return True
    if about in OWN:
        return row.isdecimal() and bool(_seal_own(connection, seals, SQLModel.metadata.tables[about], int(row)))
    table = SQLModel.metadata.tables.get(about)
    if table is None or about in UNSEALED:
        return False
    keys = [key for key in _keys(connection, table) if as_stored.named(as_stored.key_of(key)) == row]
    for made in _made(connection, seals, table, keys):
        _keep(connection, about, made)
    left = connection.scalars(select(_SEALS.c.key).where(_SEALS.c.about == about))
    orphans = {one for one in left if as_stored.named(one) == row} - {as_stored.key_of(key) for key in keys}
    connection.execute(_SEALS.delete().where(_SEALS.c.about == about, _SEALS.c.key.in_(orphans)))
    return bool(keys or orphans)


def _keys(connection: Connection, table: Table) -> list[Key]:
    return [tuple(one) for one in connection.execute(select(*table.primary_key))]


def _seal_own(connection: Connection, seals: Seals, table: Table, only: int | None = None) -> int:
    names = OWN[table.name]
    columns = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
    where = "" if only is None else f" WHERE id = {only:d}"
    found = connection.execute(text(f"SELECT {columns} FROM {table.name}{where}")).fetchall()  # noqa: S608 - names of ours
    sealed = update(table).where(table.c.id == bindparam("of_row")).values(seal=bindparam("made"))
    rows = iter(found)
    while some := list(islice(rows, 1000)):
        values = [dict(zip(names, one, strict=True)) for one in some]
        connection.execute(sealed, [{"of_row": one["id"], "made": seals.own(table.name, one)} for one in values])
    return len(found)


def _made(connection: Connection, seals: Seals, table: Table, keys: Iterable[Key]) -> Iterator[dict[str, bytes]]:
    """The seals of those of these rows that are there, by their keys, some at a time."""
    rest = iter(sorted(keys))
    while some := list(islice(rest, _AT_ONCE)):
        if made := {as_stored.key(table, one): seals.row(table.name, one) for one in _stored(connection, table, some)}:
            yield made


def _stored(connection: Connection, table: Table, keys: Sequence[Key], *, lock: bool = False) -> list[as_stored.Row]:
    """The rows of these keys that are there. Locked as an UPDATE would: whoever only refers to one does not wait."""
    columns = [connection.dialect.identifier_preparer.quote(column.name) for column in table.primary_key]
    last = f" ORDER BY {', '.join(columns)}"
    if lock and connection.dialect.name == "postgresql":
        last += " FOR NO KEY UPDATE"
    bound = {f"k{at}_{number}": value for at, one in enumerate(keys) for number, value in enumerate(one)}
    wanted = " OR ".join(
        "(" + " AND ".join(f"{column} = :k{at}_{number}" for number, column in enumerate(columns)) + ")"
        for at in range(len(keys))
    )
    found = connection.execute(text(f"{as_stored.select_all(table, connection.dialect)} WHERE {wanted}{last}"), bound)
    return [as_stored.row(table, values) for values in found]


def _keep(connection: Connection, about: str, made: Mapping[str, bytes]) -> None:
    if not made:
        return
    adding = insert_where(connection, _SEALS)
    upsert = adding.on_conflict_do_update(index_elements=["about", "key"], set_={"mac": adding.excluded.mac})
    connection.execute(upsert, [{"about": about, "key": key, "mac": mac} for key, mac in made.items()])


def sealed() -> Iterator[Table]:
    """The tables whose rows have seals."""
    tables = SQLModel.metadata.tables
    return (tables[name] for name in sorted(tables.keys() - UNSEALED))

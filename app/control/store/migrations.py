"""Bring a database to the schema that this version needs, and tell whether it has it."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from app.control.store import sealing
from app.control.store.engine import Store
from app.control.store.seals import Seals
from app.core.errors import PlacetError
from app.core.shipped import shipped


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(store: Store) -> None:
    """Run every missing migration, in one transaction: all of them or none. What that changes is sealed anew."""
    try:
        with _writer(store.engine).begin() as connection:
            had = MigrationContext.configure(connection).get_current_revision()
            command.upgrade(_config(connection), "head")
            if had != MigrationContext.configure(connection).get_current_revision():
                _seal(store, connection)
    except CommandError as error:
        raise PlacetError(f"cannot migrate the database: {error}; it may belong to a newer version") from error


def seal(store: Store) -> int:
    """Seal every row as it is now, and say how many there are."""
    with _writer(store.engine).begin() as connection:
        return _seal(store, connection)


def seal_row(store: Store, table: str, row: str) -> bool:
    """Seal one row as it is now, and say whether there is one."""
    with _writer(store.engine).begin() as connection:
        return sealing.seal_row(connection, _seals(store), table, row)


def undo(store: Store) -> None:
    """Drop everything that the migrations made."""
    with _writer(store.engine).begin() as connection:
        command.downgrade(_config(connection), "base")


def current(store: Store) -> str | None:
    """The revision that the database is at; None for an empty one."""
    with store.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def require_current(store: Store, directory: str) -> None:
    """Fail, saying what to do, unless the database has exactly the schema of this version."""
    scripts = ScriptDirectory.from_config(_config())
    have, need = current(store), scripts.get_current_head()
    if have is None:
        raise PlacetError(f"the database is empty; run: placet server init --dir {directory}")
    if have not in {one.revision for one in scripts.walk_revisions()}:
        raise PlacetError(
            f"the database is at schema {have}, of a newer version than this one, which needs {need}: "
            "run that version, or restore the backup from before its migration"
        )
    if have != need:
        raise PlacetError(
            f"the database is at schema {have}, this version needs {need}; run: placet server migrate --dir {directory}"
        )


def _seal(store: Store, connection: Connection) -> int:
    return sealing.seal_everything(connection, _seals(store))


def _seals(store: Store) -> Seals:
    if store.seals is None:
        raise PlacetError("this database was opened without the key of its seals")
    return store.seals


def _writer(engine: Engine) -> Engine:
    return engine.execution_options(placet_writes=True)

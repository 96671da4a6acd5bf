"""The database engine and its three kinds of transaction.

`read` sees one state; `write` changes rows; `publish` is a write under the one lock of everything that TUF
publishes, which holds across processes: an advisory lock on PostgreSQL, the writer's place on SQLite.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from app.control.problems import Unavailable
from app.control.store.sealing import SealingSession, are_of_this_key
from app.control.store.seals import Seals

#: Seconds to wait for the database to accept a connection, for a lock, and for a statement.
CONNECT_TIMEOUT = 5
LOCK_TIMEOUT = 10
STATEMENT_TIMEOUT = 30

#: The PostgreSQL advisory lock of publications ("placet" in ASCII).
_PUBLISH_LOCK = 0x706C61636574


class Store:
    """One database. Thread-safe; each transaction is a session of its own."""

    def __init__(self, url: URL, seals: Seals | None = None) -> None:
        """`seals` are needed to write rows that are sealed."""
        self.seals = seals
        self.engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
        self._writer = self.engine.execution_options(placet_writes=True)
        self._publisher = self.engine.execution_options(placet_writes=True, placet_publishes=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that changes nothing."""
        with Session(self.engine, expire_on_commit=False, info={"seals": self.seals}) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block, or changes nothing."""
        with self._session(self._writer) as session, session.begin():
            yield session

    @contextmanager
    def publish(self) -> Iterator[Session]:
        """A `write` that no other publication, of any process, runs beside."""
        with self._session(self._publisher) as session, session.begin():
            yield session

    def _session(self, engine: Engine) -> Session:
        return SealingSession(engine, expire_on_commit=False, info={"seals": self.seals})

    def has_our_seals(self) -> bool:
        """Whether its rows are sealed with the key that this process has."""
        with self.read() as session:
            return are_of_this_key(session)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn an outage inside the block into one clear line. Raises `Unavailable`."""
        try:
            yield
        except SQLAlchemyError as error:
            if is_outage(error):
                raise Unavailable(f"the database does not answer: {first_line(error)}") from error
            raise

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def is_outage(error: Exception) -> bool:
    """Whether the error says that the database is down, locked or cut off, rather than that a row is wrong."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def first_line(error: Exception) -> str:
    """What the driver says, without SQLAlchemy's statement and its parameters."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return said.splitlines()[0][:300]


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver would begin late and never IMMEDIATE
        # `secure_delete`: what was erased does not stay on free pages of the file.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # IMMEDIATE takes the writer's place at once; a transaction that reads first could not take it later.
        writes = connection.get_execution_options().get("placet_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        pool_timeout=CONNECT_TIMEOUT,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s -c lock_timeout={LOCK_TIMEOUT}s",
            # TCP keep-alives, so that a database host that vanished is noticed.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if connection.get_execution_options().get("placet_publishes"):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_PUBLISH_LOCK})")

    return engine

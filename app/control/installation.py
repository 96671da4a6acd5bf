"""Set up a control plane: directory, keys, TUF root, schema and first token; all of it or nothing."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from app.control import batch_values, publication, tokens
from app.control.key_store import KeyStore
from app.control.keyring import Keyring
from app.control.objects import Objects
from app.control.repository import Repository, first_root
from app.control.settings import DEFAULT_DOMAIN, SETTINGS, Settings
from app.control.signing_keys import ONLINE_ROLES, OnlineKeys, generate
from app.control.store import Batch, Seals, Store, TufMetadata, migrations
from app.core.errors import PlacetError, UsageError
from app.core.files import write_atomically


@dataclass(frozen=True)
class Installed:
    """Where things lie now."""

    directory: Path
    root_key: Path
    root_metadata: Path
    admin_token: Path


def initialise(
    directory: Path,
    root_key: Path,
    database: str | None = None,
    objects: str | None = None,
    domain: str = DEFAULT_DOMAIN,
    warrant_key: str | None = None,
) -> Installed:
    """Make `directory`. Everything is made in a scratch directory beside it, which takes its place at the end.

    `warrant_key` is the URI of a key that is there already (`app.control.key_store`); by default one is made.
    """
    directory, root_key = directory.absolute(), root_key.absolute()
    _require_room(directory, root_key)
    scratch: Path | None = None
    made_root_key = False
    store: Store | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))  # mode 0700
        settings = Settings(directory=scratch, database=database, objects=objects, domain=domain)
        root_signer, root_pem = generate()
        online, root = _write_keys(settings, root_signer)
        store = _fill_database(settings, online, root, warrant_key)
        _write_root_key(root_key, root_pem)
        made_root_key = True
        write_atomically(scratch / SETTINGS, settings.encode(), mode=0o600)
        store.close()  # SQLite's files are moved as a whole, not under an open connection
        scratch.rename(directory)  # takes the place of an empty directory too
    except BaseException as error:
        if made_root_key:
            root_key.unlink(missing_ok=True)
        if store is not None and database is not None:
            with suppress(SQLAlchemyError):
                migrations.undo(store)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if isinstance(error, OSError):
            raise PlacetError(f"cannot set up {directory}: {error.strerror or error}") from error
        raise
    final = Settings(directory=directory, database=database, objects=objects)
    return Installed(directory, root_key, final.root_metadata, final.admin_token)


def migrate(settings: Settings) -> str | None:
    """Bring the database to this version's schema, and give it. A directory from before seals gets their key."""
    with _opened(settings) as store:
        with _key(settings, make=not inspect(store.engine).has_table("seal")) as store.seals:
            migrations.upgrade(store)
        return migrations.current(store)


def seal(settings: Settings) -> int:
    """Seal all rows as they are now, with a new key where there is none, and say how many there are."""
    with _opened(settings) as store:
        migrations.require_current(store, str(settings.directory))
        with _key(settings, make=True) as store.seals:
            return migrations.seal(store)


@contextmanager
def _key(settings: Settings, *, make: bool) -> Iterator[Seals]:
    """The key of the seals, or a new one where there is none: it is gone again when the block fails."""
    file = settings.seal_key
    made = make and not file.exists()
    seals = Seals.make(file) if made else Seals.load(file)
    try:
        yield seals
    except BaseException:
        if made:
            file.unlink(missing_ok=True)
        raise


def seal_row(settings: Settings, named: str) -> None:
    """Seal one row as it is now: TABLE/ROW, as fsck names it. Raises `UsageError` when there is none."""
    with _opened(settings) as store:
        migrations.require_current(store, str(settings.directory))
        store.seals = Seals.load(settings.seal_key)
        table, _, row = named.partition("/")
        if not migrations.seal_row(store, table, row):
            raise UsageError(f"there is no sealed row {named}: give TABLE/ROW, as placet server fsck names it")


def recount(settings: Settings, batches: list[int] | None = None) -> int:
    """Count the values of these batches anew, or of all, and say how many there are. Raises `UsageError`."""
    with _opened(settings) as store:
        migrations.require_current(store, str(settings.directory))
        store.seals = Seals.load(settings.seal_key)
        with store.read() as session:
            there = session.exec(select(Batch.id).order_by(col(Batch.id))).all()
        if missing := set(batches or ()) - set(there):
            raise UsageError(f"there is no batch {min(missing)}")
        chosen = sorted(set(batches)) if batches else [one or 0 for one in there]
        for one in chosen:
            with store.write() as session:
                session.get_one(Batch, one, with_for_update={"key_share": True})  # an erasure changes its rows, too
                batch_values.renew(session, one)
        if not batches:
            with store.write() as session:
                batch_values.remove_orphans(session)
        return len(chosen)


@contextmanager
def _opened(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database_url)
    try:
        with store.answering():
            yield store
    finally:
        store.close()


def _require_room(directory: Path, root_key: Path) -> None:
    if (directory / SETTINGS).exists():
        raise UsageError(f"{directory} is initialised already; its keys are not replaced")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} exists and is not an empty directory; choose another --dir")
    if root_key.exists():
        raise UsageError(f"{root_key} exists; choose another --root-key-out")
    if root_key == directory or directory in root_key.parents:
        raise UsageError("the root key must not lie in the server's directory: it is to be kept offline")
    if not root_key.parent.is_dir():
        raise UsageError(f"there is no directory {root_key.parent} for the root key")


def _write_keys(settings: Settings, root: CryptoSigner) -> tuple[OnlineKeys, bytes]:
    settings.keys.mkdir(mode=0o700)
    signers = {}
    for role in ONLINE_ROLES:
        signers[role], pem = generate()
        write_atomically(settings.keys / f"{role}.pem", pem, mode=0o600)
    online = OnlineKeys(**signers)
    metadata = first_root(online, root, settings.domain)
    write_atomically(settings.root_metadata, metadata, mode=0o644)
    write_atomically(settings.session_key, secrets.token_urlsafe(48).encode(), mode=0o600)
    return online, metadata


def _fill_database(settings: Settings, online: OnlineKeys, root: bytes, warrant_key: str | None) -> Store:
    """Schema, root metadata, first token, signing keys, first publication."""
    store = Store(settings.database_url, Seals.make(settings.seal_key))
    objects = Objects(settings.objects_url)
    with store.answering():
        if migrations.current(store) is not None:
            raise UsageError("the database belongs to a control plane already; name an empty one with --database")
    try:
        migrations.upgrade(store)
        with store.publish() as session:
            session.add(TufMetadata(name="1.root.json", body=root))
            _, secret = tokens.create(session, None, "first administrator", [tokens.Scope.ADMIN])
            write_atomically(settings.admin_token, secret.encode() + b"\n", mode=0o600)
            Keyring(KeyStore(settings.keys)).ensure(session, {"warrant": warrant_key} if warrant_key else None)
            Repository(online).publish(session, publication.targets(session, objects, set(), settings.domain))
    except BaseException:
        if settings.database is not None:
            with suppress(SQLAlchemyError):
                migrations.undo(store)
        store.close()
        raise
    return store


def _write_root_key(path: Path, pem: bytes) -> None:
    """Create the file; never replace one, whoever made it meanwhile."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())

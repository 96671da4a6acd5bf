"""What TUF serves: its metadata by its own signatures, and the rows from which its documents were made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import JSON, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, select
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.api.serialization import DeserializationError

from app.control import publication
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import Tables
from app.control.objects import Objects
from app.control.problems import NotFound
from app.control.repository import TIMESTAMP_FILE, Published
from app.control.store import (
    DomainLink,
    Governance,
    Issuer,
    IssuerSource,
    Pointer,
    Quarantine,
    SubjectGrant,
    System,
    TufMetadata,
)
from app.control.store.as_stored import INSTANT
from app.control.store.columns import Instant
from app.core.errors import PlacetError
from app.core.targets import STATE_TARGET

#: Members of documents that end with time, so that they may differ from what was published before.
_PASSING = {"modes", "revoked_warrants", "revoked_results", "environment", "warrant_issuers", "attesters"}
#: The tables of the others.
_TABLES = {
    "quarantine": "quarantine",
    "quarantined": "quarantine",
    "links": "domain_link",
    "grants": "subject_grant",
    "issuers": "issuer",
    "horizon_seconds": "system",
}


#: And of the forms of rows.
_FORMS = {
    "GovernanceDocument": "governance",
    "Grant": "subject_grant",
    "QuarantinedName": "quarantine",
    "QuarantinedSubject": "quarantine",
    "TrustedIssuer": "issuer",
}


def metadata(tables: Tables, pinned: bytes) -> Iterator[Finding]:
    """Each file of metadata by the signatures that it needs. `pinned` is the root that sidecars were given."""
    rows = {str(row["name"]): bytes(row["body"]) for row in tables.rows(TufMetadata, "name")}
    if rows.get("1.root.json") != pinned:
        yield changed("tuf_metadata", "1.root.json", "body", "the root that sidecars pin", "another")
    roots = [Metadata[Root].from_bytes(pinned)]
    while (body := rows.get(f"{roots[-1].signed.version + 1}.root.json")) is not None:
        try:
            root = Metadata[Root].from_bytes(body)
            roots[-1].verify_delegate(Root.type, root)
            root.verify_delegate(Root.type, root)
        except (DeserializationError, RepositoryError, ValueError) as error:
            yield _unproved(f"{roots[-1].signed.version + 1}.root.json", error)
            break
        roots.append(root)
    for name, body in rows.items():
        if name.endswith(".root.json"):
            continue
        try:
            found: Metadata[Any] = Metadata.from_bytes(body)
            due = (
                TIMESTAMP_FILE
                if found.signed.type == Timestamp.type
                else f"{found.signed.version}.{found.signed.type}.json"
            )
            if name != due:
                yield changed("tuf_metadata", name, "name", due, name)
            _verify(roots, found)
        except (DeserializationError, RepositoryError, ValueError) as error:
            yield _unproved(name, error)


def documents(tables: Tables, objects: Objects, domain: str) -> Iterator[Finding]:
    """What the database would publish now, against what it published last, where time alone changes nothing."""
    with Session(bind=tables.connection) as session:
        try:
            published = Published.read(session)
            if published is None:
                return
            signed = published.targets.signed.targets
            fetched = _fetched(session)
            made = dict(publication.documents(session, domain))
            for path in sorted(signed.keys() - made.keys()):
                if not path.startswith("releases/"):
                    yield Finding("missing", f"{path} was published, and there is no row of it", _table_of(path))
            for path, body in made.items():
                if path not in signed:  # of a system nothing need be published yet
                    if _table_of(path) == "pointer":
                        yield Finding("surplus", f"{path} was never published", "pointer", found=path)
                    continue
                key = publication.object_key(signed[path])
                yield from _compare(path, key, json.loads(objects.get(key)), json.loads(body), fetched)
        except NotFound:
            yield Finding("missing", "a document that TUF serves is not there", object="targets")
        except ValidationError as error:  # it says of which form the row is none
            detail = f"what is published cannot be made of it: {error}".splitlines()[0]
            yield Finding("changed", detail, _FORMS.get(error.title))
        except (DeserializationError, LookupError, PlacetError, SQLAlchemyError, ValueError) as error:
            found = list(_unreadable(tables))
            yield from found
            if not found:
                detail = f"what is published cannot be made of the database: {error}".splitlines()[0][:300]
                yield Finding("changed", detail)


def _table_of(path: str) -> str:
    return "governance" if path.endswith(".governance.json") else "pointer"


def _compare(path: str, key: str, before: Any, now: Any, fetched: set[str]) -> Iterator[Finding]:
    for name in sorted((before.keys() | now.keys()) - _PASSING):
        due, there = before.get(name), now.get(name)
        if path == STATE_TARGET and name == "issuers":
            due, there = ([one for one in some or [] if one["issuer"] not in fetched] for some in (due, there))
        if due != there:
            table = _TABLES.get(name, _table_of(path))
            expected, found = (json.dumps(one) for one in (due, there))
            found_here = changed(table, path, name, expected, found, f"{name} of {path} is not what was published last")
            yield Finding(found_here.kind, found_here.detail, table, None, None, key, found_here.expected,
                          found_here.found)  # fmt: skip


def _unreadable(tables: Tables) -> Iterator[Finding]:
    """Values that are no JSON, and no time."""
    for table in (Governance, Issuer, Quarantine, SubjectGrant, DomainLink, System, Pointer):
        columns: Any = inspect(table).columns
        for row in tables.rows(table, ", ".join(one.name for one in inspect(table).primary_key)):
            name = "/".join(str(row[one.name]) for one in inspect(table).primary_key)
            for column in columns:
                value = row[column.name]
                try:
                    if isinstance(column.type, JSON) and isinstance(value, str):
                        json.loads(value)
                    if isinstance(column.type, Instant) and value is not None:
                        datetime.strptime(value, INSTANT)
                except (TypeError, ValueError) as error:
                    detail = f"{column.name} cannot be read: {error}"
                    yield Finding("changed", detail, table.__tablename__, name, column.name, found=str(value)[:200])


def _fetched(session: Session) -> set[str]:
    """Issuers of which the keys come and go by themselves."""
    return set(session.exec(select(Issuer.issuer).where(Issuer.id == IssuerSource.issuer)))


def _verify(roots: list[Metadata[Root]], found: Metadata[Any]) -> None:
    """By the newest root that vouches for it. Raises `RepositoryError`."""
    refusal: RepositoryError | None = None
    for root in reversed(roots):
        try:
            root.verify_delegate(found.signed.type, found)
            return
        except RepositoryError as error:
            refusal = error
    if refusal is not None:
        raise refusal


def _unproved(name: str, error: Exception) -> Finding:
    return Finding("unproved", f"the metadata does not verify: {error}".splitlines()[0], "tuf_metadata", name, "body")

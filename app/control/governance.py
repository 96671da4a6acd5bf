"""A system's governance: versions of one document, and what of it sidecars are told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func
from sqlmodel import Session, and_, col, select

from app.control import systems
from app.control.governance_document import GovernanceDocument
from app.control.problems import Conflict, Invalid
from app.control.store import Governance
from app.control.tokens import Access
from app.core.complaint import complaint, place


def of(session: Session, system: str) -> GovernanceDocument:
    """The document in force; the default one, which asks for nothing, when none was set."""
    row = current(session, system)
    return read(row) if row else GovernanceDocument()


def every(session: Session) -> dict[str, GovernanceDocument]:
    """The document in force by system, of those that have one."""
    newest = select(Governance.system, func.max(Governance.version)).group_by(Governance.system).subquery()
    rows = session.exec(
        select(Governance).join(
            newest, and_(col(Governance.system) == newest.c[0], col(Governance.version) == newest.c[1])
        )
    )
    return {row.system: read(row) for row in rows}


def read(row: Governance) -> GovernanceDocument:
    """The document of a version."""
    return _parsed(json.dumps(row.document))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> GovernanceDocument:
    """Documents are parsed with every publication, which is every few seconds, and change seldom."""
    return GovernanceDocument.model_validate_json(text)


def current(session: Session, system: str) -> Governance | None:
    """The version in force. None: none was set yet, which counts as version 0."""
    query = select(Governance).where(Governance.system == system).order_by(col(Governance.version).desc())
    return session.exec(query.limit(1)).first()


def versions(session: Session, system: str, limit: int = 50) -> list[Governance]:
    """What was set, newest first."""
    query = select(Governance).where(Governance.system == system).order_by(col(Governance.version).desc())
    return list(session.exec(query.limit(limit)))


def segment_names(session: Session) -> set[str]:
    """The names of every system's segments."""
    return {segment.name for system in systems.listed(session) for segment in of(session, system.name).segments}


@dataclass(frozen=True)
class Proposed:
    """A document that may be set now."""

    #: The version in force. None: none was set yet.
    before: Governance | None
    parsed: GovernanceDocument

    @property
    def written(self) -> dict[str, Any]:
        """Every member written out, so that a later version of the software reads what was meant."""
        return self.parsed.model_dump(mode="json")

    @property
    def is_new(self) -> bool:
        """Whether it differs: a job may set the same file again and again."""
        return self.before is None or self.before.document != self.written


def propose(session: Session, system: str, document: Mapping[str, Any], version: int) -> Proposed:
    """What `put` would set. Raises `NotFound`, `Invalid`, and `Conflict` where `version` is not the one in force."""
    systems.find(session, system)
    found = Proposed(current(session, system), parse(document))
    in_force = found.before.version if found.before else 0
    if found.is_new and version != in_force:
        raise Conflict(
            f"version {in_force} is in force, and this changes version {version}: "
            f"take what `placet governance show {system}` prints, and change that",
            version=in_force,
        )
    return found


def put(
    session: Session, by: Access, system: str, document: Mapping[str, Any], version: int
) -> tuple[Governance, bool]:
    """Set a document on top of `version`, which must be the one in force, and say whether that changed anything.

    Raises `NotFound`, `Invalid`, `Conflict`.
    """
    wanted = propose(session, system, document, version)
    if wanted.before is not None and not wanted.is_new:
        return wanted.before, False
    row = Governance(system=system, version=version + 1, document=wanted.written, set_by=by.id)
    session.add(row)
    session.flush()
    return row, True


def parse(document: Mapping[str, Any]) -> GovernanceDocument:
    """Check a document. Raises `Invalid` with one line that names the place."""
    require_text(document)
    try:
        return GovernanceDocument.model_validate(document)
    except ValidationError as error:
        raise Invalid(complaint(error), field=place(error)) from error


def require_text(value: Any) -> None:
    """Refuse control characters anywhere: they break lines, terminals and, as NUL, databases."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and not one.isprintable():
            raise Invalid(f"{one[:60]!r}: line breaks, control characters and invisible characters are not allowed")

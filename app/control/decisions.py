"""Search stored decisions, newest first, and read one whole."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, and_, col, or_, select

from app.control import record_lines
from app.control.objects import Objects
from app.control.problems import Invalid, NotFound
from app.control.store import Batch, Decision

OUTCOMES = ("allow", "deny", "unreadable")
MODES = ("any", "shadow", "break-glass")
MAX_PAGE = 200


@dataclass(frozen=True)
class Filter:
    """What to look for; None does not filter. Times are UTC, `until` exclusive; text is matched as it is, caseless."""

    system: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    #: shadow, break-glass, or `any` of them.
    mode: str | None = None
    execution: str | None = None


@dataclass(frozen=True)
class Page:
    """Some decisions and where the next older ones begin."""

    items: list[Decision]
    next: str | None


@dataclass(frozen=True)
class Whole:
    """A decision with its raw record, and how many records carry its id (more than one is worth a look)."""

    decision: Decision
    batch: Batch
    raw: bytes
    copies: int


def search(session: Session, wanted: Filter, limit: int, cursor: str | None = None) -> Page:
    """One page. Pages are cut by (time, row), so records that arrive meanwhile shift nothing."""
    query = select(Decision).where(*_conditions(wanted))
    if cursor:
        time_ns, row = _decode(cursor)
        older = col(Decision.time_ns) < time_ns
        query = query.where(or_(older, and_(Decision.time_ns == time_ns, col(Decision.id) < row)))
    query = query.order_by(col(Decision.time_ns).desc(), col(Decision.id).desc()).limit(limit + 1)
    found = list(session.exec(query))
    more = len(found) > limit
    items = found[:limit]
    return Page(items, _encode(items[-1]) if more else None)


def whole(session: Session, objects: Objects, decision_id: str, only_system: str | None = None) -> Whole:
    """The decision of that id with its record; the one received first, when the id stands more than once."""
    query = select(Decision).where(Decision.decision_id == record_lines.clean(decision_id))
    if only_system is not None:
        query = query.where(Decision.system == only_system)
    found = list(session.exec(query.order_by(col(Decision.id)).limit(MAX_PAGE)))
    if not found:
        raise NotFound(f"there is no decision {decision_id}")
    decision = found[0]
    batch = session.get_one(Batch, decision.batch)
    raw = objects.part(batch.object, decision.offset, decision.length)
    return Whole(decision, batch, raw, len(found))


def moment(text: str) -> datetime:
    """An RFC 3339 time; without an offset it is UTC."""
    try:
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{text[:40]!r} is not a time such as 2026-01-31T12:00:00Z") from error


def _conditions(wanted: Filter) -> Iterable[Any]:
    if wanted.system:
        yield Decision.system == record_lines.clean(wanted.system)  # no database takes every text
    if wanted.outcome:
        if wanted.outcome not in OUTCOMES:
            raise Invalid(f"the outcome must be one of {', '.join(OUTCOMES)}")
        yield Decision.outcome == wanted.outcome
    if wanted.mode:
        if wanted.mode not in MODES:
            raise Invalid(f"the mode must be one of {', '.join(MODES)}")
        yield col(Decision.mode).is_not(None) if wanted.mode == "any" else Decision.mode == wanted.mode
    if wanted.execution:
        yield Decision.execution == record_lines.clean(wanted.execution)
    if wanted.since:
        yield col(Decision.time_ns) >= _nanoseconds(wanted.since)
    if wanted.until:
        yield col(Decision.time_ns) < _nanoseconds(wanted.until)
    if wanted.text and (text := record_lines.clean(wanted.text.strip().lower(), record_lines.MAX_TEXT)):
        yield col(Decision.text).contains(text, autoescape=True)


def _nanoseconds(at: datetime) -> int:
    """Nanoseconds since the epoch, as far as a column of 64 bits goes: no record is beyond."""
    exact = int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000
    return max(-(2**63), min(exact, 2**63 - 1))


def _encode(last: Decision) -> str:
    return base64.urlsafe_b64encode(f"{last.time_ns}.{last.id}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[int, int]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        time_ns, row = (int(part) for part in text.split("."))
    except (ValueError, binascii.Error) as error:
        raise Invalid("the cursor is malformed; take it from the answer of the page before") from error
    if not (0 <= time_ns < 2**63 and 0 <= row < 2**63):
        raise Invalid("the cursor is malformed; take it from the answer of the page before")
    return time_ns, row

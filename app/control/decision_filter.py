"""What decisions to look for, as columns of their rows and as terms of their records; and where a page ends."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import String, cast, func
from sqlmodel import and_, col, or_

from app.control import record_lines, value_counts
from app.control.problems import Invalid
from app.control.store import Batch, Decision
from app.control.store.columns import now
from app.core import record_path, record_words
from app.core.record_path import Leaf
from app.core.record_words import Wanted
from app.core.spans import UNITS

OUTCOMES = tuple(value_counts.COUNTS)
MODES = ("any", "shadow", "break-glass")

#: Characters of a text, and paths that one question may name.
MAX_TEXT = 200
MAX_WHERE = 8

#: Filters by a column of the same value.
_COLUMNS = (
    "system", "sidecar", "execution", "subject_issuer", "subject_id", "action", "resource_type", "resource_id",
    "policy",
)  # fmt: skip


_SPAN = re.compile(r"(\d{1,5})([dhms])")
#: Times before it are refused: a little earlier than the first year there is no time at all.
_FIRST_YEAR = 1900


@dataclass(frozen=True)
class Filter:
    """What to look for; None does not filter. Times are UTC, `until` exclusive."""

    system: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: Words of the record, caseless: all must occur (`app.core.record_words`).
    text: str | None = None
    #: Values at JSON paths.
    where: tuple[Leaf, ...] = ()
    #: shadow, break-glass, or `any` of them.
    mode: str | None = None
    execution: str | None = None
    sidecar: str | None = None
    subject_issuer: str | None = None
    subject_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    #: A reason code, among others.
    reason: str | None = None
    #: `sha256:…` of a policy bundle.
    policy: str | None = None

    def __post_init__(self) -> None:
        """Raises `Invalid` for what can find nothing, whatever is stored."""
        if self.outcome and self.outcome not in OUTCOMES:
            raise Invalid(f"the outcome must be one of {', '.join(OUTCOMES)}")
        if self.mode and self.mode not in MODES:
            raise Invalid(f"the mode must be one of {', '.join(MODES)}")
        if self.text and len(self.text) > MAX_TEXT:
            raise Invalid(f"a text may have {MAX_TEXT} characters")
        for part in (self.text or "").split():
            if not record_words.words(part):
                raise Invalid(f"{part!r} has no word to look for: letters, digits or underscores")

    @property
    def wanted(self) -> Wanted | None:
        """What must be read in records; None when their rows say enough."""
        text = (self.text or "").strip()
        return Wanted(text, self.where) if text or self.where else None

    @property
    def has_index(self) -> bool:
        """Whether an index gives the rows in the order of their time, without many others between them."""
        if self.subject_id or self.resource_id or self.execution or self.mode:
            return True
        return not self.sidecar and not self.counted()

    def counted(self) -> dict[str, str]:
        """What it asks of columns without an index of their own, by the filter's name, as `batch_value` has it."""
        asked = ((name, self._stored(name)) for name in value_counts.COLUMNS)
        return {name: value_counts.named(name, value) for name, value in asked if value}

    def _stored(self, name: str) -> str | None:
        """A text that is asked for, as rows have it."""
        value = getattr(self, name)
        return record_lines.clean(value, record_lines.MAX_REASON if name == "reason" else record_lines.MAX_COLUMN)

    def conditions(self) -> Iterable[Any]:
        """The filter as conditions on rows, but for what must be read in records."""
        for name in _COLUMNS:
            if value := getattr(self, name):
                yield getattr(Decision, name) == record_lines.clean(value)  # no database takes every text
        if self.outcome:
            yield Decision.outcome == self.outcome
        if self.mode:
            yield col(Decision.mode).is_not(None) if self.mode == "any" else Decision.mode == self.mode
        if self.reason:
            listed = cast(Decision.reasons, String)
            text = json.dumps(self._stored("reason"))
            # As an element begins, and nothing within one, where each quote has a backslash. LIKE would not tell the
            # case of letters on SQLite.
            yield or_(*(func.replace(listed, begin + text, "") != listed for begin in ("[", ", ")))
        if self.since:
            yield col(Decision.time_ns) >= nanoseconds(self.since)
        if self.until:
            yield col(Decision.time_ns) < nanoseconds(self.until)

    def batch_conditions(self) -> Iterable[Any]:
        """What rows of batches fit that may have such decisions, as far as their columns say it."""
        if self.system:
            yield col(Batch.system) == self.system
        if self.sidecar:
            yield col(Batch.sidecar) == self.sidecar
        if self.since:
            yield col(Batch.newest_ns) >= nanoseconds(self.since)
        if self.until:
            yield col(Batch.oldest_ns) < nanoseconds(self.until)

    def asked(self) -> set[str]:
        """The names of what filters."""
        return {one.name for one in fields(self) if getattr(self, one.name)}


@dataclass(frozen=True)
class Place:
    """Where a page begins: after this row, in the order of (time, row), newest first."""

    time_ns: int
    row: int = 2**63 - 1

    @classmethod
    def of(cls, decision: Decision) -> Place:
        """The place of a row, which is not in the page that begins there."""
        return cls(decision.time_ns, decision.id)

    @classmethod
    def read(cls, cursor: str) -> Place:
        """The place that a cursor stands for. Raises `Invalid`."""
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
            time_ns, row = (int(part) for part in text.split("."))
        except (ValueError, binascii.Error) as error:
            raise Invalid("the cursor is malformed; take it from the answer of the page before") from error
        if not (0 <= time_ns < 2**63 and 0 <= row < 2**63):
            raise Invalid("the cursor is malformed; take it from the answer of the page before")
        return cls(time_ns, row)

    def cursor(self) -> str:
        """The place as text that means nothing to others."""
        return base64.urlsafe_b64encode(f"{self.time_ns}.{self.row}".encode()).decode().rstrip("=")

    def after(self) -> Any:
        """The condition of the rows that follow."""
        older = or_(col(Decision.time_ns) < self.time_ns, col(Decision.id) < self.row)
        # First a bound by time alone: by it an index begins there, in the place of reading all that is newer.
        return and_(col(Decision.time_ns) <= self.time_ns, older)


#: The order of pages.
NEWEST_FIRST = (col(Decision.time_ns).desc(), col(Decision.id).desc())


@dataclass(frozen=True)
class Page:
    """Some decisions and where the next older ones begin: None when there are no more."""

    items: list[Decision]
    next: str | None
    #: Batches whose records could not be searched, as they are not what was stored: `placet server fsck` says more.
    unread: list[str] = field(default_factory=list)


def moment(text: str) -> datetime:
    """An RFC 3339 time, UTC where it has no offset; or a span before now, such as 7d, 24h, 30m or 90s."""
    if span := _SPAN.fullmatch(text.strip()):
        return now() - timedelta(seconds=int(span[1]) * UNITS[span[2]])
    try:
        parsed = datetime.fromisoformat(text.strip())
        if parsed.year < _FIRST_YEAR:
            raise ValueError("nothing was recorded then")
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{text[:40]!r} is not a time such as 2026-01-31T12:00:00Z, or 7d") from error


def nanoseconds(at: datetime) -> int:
    """Nanoseconds since the epoch, as far as a column of 64 bits goes: no record is beyond."""
    exact = int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000
    return max(-(2**63), min(exact, 2**63 - 1))


def where(texts: Sequence[str]) -> tuple[Leaf, ...]:
    """Values at paths, each as `input.context.amount=40`. Raises `Invalid`."""
    if len(texts) > MAX_WHERE:
        raise Invalid(f"one question may name {MAX_WHERE} paths")
    try:
        return tuple(record_path.read(text) for text in texts)
    except ValueError as error:
        raise Invalid(str(error)) from error

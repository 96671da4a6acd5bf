"""Orders to erase records: by subject or by decision. `app.control.erasing` carries them out, batch by batch.

What remains of an erased record is its leaf in the signed batch, its place, its time and outcome, and the order: who
gave it, why, and which entries it took. An order is durable before anything is gone, so it is carried out to its end.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.control import holds, systems
from app.control.problems import Invalid, NotFound, TooLarge
from app.control.record_lines import clean
from app.control.store import Batch, Decision, ErasedBatch, Erasure, Hold
from app.control.store.bulk import chunks
from app.control.tokens import Access
from app.core.complaint import many, printable
from app.core.errors import Denied
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: Decisions of one order: those that are named, and those of a subject.
MAX_NAMED = 1000
MAX_DECISIONS = 2_000_000

_MAX_REASON = 1000


@dataclass(frozen=True)
class Wanted:
    """What is to be erased: everything of a subject, or single decisions; perhaps of one system alone."""

    issuer: str | None = None
    subject: str | None = None
    decisions: Sequence[str] = ()
    system: str | None = None

    def __post_init__(self) -> None:
        if (self.issuer is None) != (self.subject is None):
            raise Invalid("a subject is named by its issuer and its id")
        if (self.subject is None) == (not self.decisions):
            raise Invalid("name a subject, or decisions")
        if len(self.decisions) > MAX_NAMED:
            raise TooLarge(f"an order names {MAX_NAMED} decisions at most")


@dataclass(frozen=True)
class Found:
    """The decision rows that an order is about, by batch, and the holds that forbid it."""

    rows: dict[int, list[int]]
    held: list[Hold]
    #: Which of the named decisions are not there, or were erased before.
    unknown: list[str]

    @property
    def decisions(self) -> int:
        """How many there are."""
        return sum(map(len, self.rows.values()))


def find(session: Session, wanted: Wanted) -> Found:
    """What an order would erase now. Raises `NotFound` for a system that is none."""
    if wanted.system is not None:
        systems.find(session, wanted.system)
    rows: dict[int, list[int]] = defaultdict(list)
    ids: set[str] = set()
    for where in _conditions(wanted):
        query = select(Decision.id, Decision.batch, Decision.decision_id).where(
            col(Decision.erased).is_(None), *where, *([Decision.system == wanted.system] if wanted.system else [])
        )
        for identifier, batch, decision_id in session.exec(query.limit(MAX_DECISIONS + 1)):
            rows[batch].append(identifier)
            ids.add(decision_id)
    if sum(map(len, rows.values())) > MAX_DECISIONS:
        raise TooLarge(f"more than {MAX_DECISIONS} decisions; name one system after the other")
    held: dict[int, Hold] = {}
    for batch, decisions in rows.items():
        if (hold := holds.covering(session, session.get_one(Batch, batch), decisions)) is not None:
            held[hold.id or 0] = hold
    unknown = [one for one in wanted.decisions if clean(one) not in ids]
    return Found(dict(rows), [held[key] for key in sorted(held)], unknown)


def _conditions(wanted: Wanted) -> list[list[Any]]:
    if wanted.subject is not None:
        same = [Decision.subject_issuer == clean(wanted.issuer), Decision.subject_id == clean(wanted.subject)]
        return [same]
    return [[col(Decision.decision_id).in_(some)] for some in chunks(clean(one) or "" for one in wanted.decisions)]


def order(session: Session, by: Access, wanted: Wanted, reason: str, copies: Sequence[int] = ()) -> Erasure:
    """Write an order down; `copies`: the breaks whose refused batches hold such records too.

    Raises `Denied` with `hold.active`, and changes nothing, when a hold forbids any of it.
    """
    if not reason.strip() or len(reason) > _MAX_REASON:
        raise Invalid(f"say why in up to {_MAX_REASON} characters: the reason stays with the erasure")
    holds.serialise(session)
    found = find(session, wanted)
    if found.held:
        raise holds.denied(found.held[0])
    if found.unknown:
        more = f" and {many(len(found.unknown) - 1, 'other')}" if len(found.unknown) > 1 else ""
        raise NotFound(f"there is no decision {found.unknown[0]}{more}, or it was erased before")
    if not found.rows and not copies:
        raise NotFound("there is nothing of this subject to erase")
    row = Erasure(
        kind="subject" if wanted.subject is not None else "decisions",
        system=wanted.system,
        reason=reason.strip(),
        decisions=found.decisions,
        copies=sorted(copies),
        asked_by=by.name,
        asked_token=by.id,
    )
    session.add(row)
    session.flush()
    for batch, decisions in sorted(found.rows.items()):
        session.add(ErasedBatch(erasure=row.id or 0, batch=batch, decisions=sorted(decisions)))
    session.flush()
    log.warning(
        "erasure %s of %s decisions in %s batches is ordered by %s: %s",
        row.id, row.decisions, len(found.rows), printable(by.name), printable(row.reason),
    )  # fmt: skip
    return row


def get(session: Session, identifier: int, system: str | None) -> Erasure:
    """An order, as a token of one system may see it. Raises `NotFound`."""
    row = session.get(Erasure, identifier)
    if row is None or system not in (None, row.system):
        raise NotFound(f"there is no erasure {identifier}")
    return row


def listed(session: Session, system: str | None, limit: int = 100) -> list[Erasure]:
    """Orders, newest first; with those of retention."""
    query = select(Erasure) if system is None else select(Erasure).where(Erasure.system == system)
    return list(session.exec(query.order_by(col(Erasure.id).desc()).limit(limit)))


def explained(session: Session, decision: Decision, denied: Denied) -> Denied:
    """The denial of an erased record, with the order that took it."""
    identifier = decision.erased
    if identifier is None:  # retention leaves rows as they are
        whole = (col(ErasedBatch.decisions).is_(None), col(ErasedBatch.erased_at).is_not(None))
        query = select(ErasedBatch.erasure).where(ErasedBatch.batch == decision.batch, *whole)
        identifier = session.exec(query.limit(1)).first()
    row = session.get(Erasure, identifier) if identifier is not None else None
    if denied.reason != Reason.RECORD_ERASED or row is None:
        return denied
    detail = f"erasure {row.id}, ordered by {row.asked_by} on {row.asked_at:%Y-%m-%d}, took the record: {row.reason}"
    return Denied(denied.reason, detail, step=denied.step)


@dataclass(frozen=True)
class Progress:
    """How far an order is: batches in all, those that are done, and the holds because of which others wait."""

    batches: int
    done: int
    held_by: list[int]


def progress(session: Session, identifier: int) -> Progress:
    """How far an order is."""
    where = ErasedBatch.erasure == identifier
    batches, done = session.exec(
        select(func.count(), func.count(col(ErasedBatch.removed_at))).select_from(ErasedBatch).where(where)
    ).one()
    waiting = select(ErasedBatch.held_by).where(
        where, col(ErasedBatch.held_by).is_not(None), col(ErasedBatch.erased_at).is_(None)
    )
    return Progress(batches, done, sorted(one for one in set(session.exec(waiting)) if one is not None))


def sequences(session: Session, identifier: int) -> list[dict[str, Any]]:
    """Which entries an order took, batch by batch; `numbers` None: all of them."""
    query = (
        select(ErasedBatch, Batch)
        .where(
            ErasedBatch.erasure == identifier, ErasedBatch.batch == Batch.id, col(ErasedBatch.erased_at).is_not(None)
        )
        .order_by(col(ErasedBatch.id))
    )
    return [
        {
            "system": batch.system,
            "sidecar": batch.sidecar,
            "instance": batch.instance,
            "file": batch.file,
            "first_entry": batch.first_entry,
            "numbers": row.numbers,
        }
        for row, batch in session.exec(query)
    ]

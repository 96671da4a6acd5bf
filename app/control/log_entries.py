"""What the lineage log must hold: every entry that this control plane has evidence of, for whoever follows the log.

A batch of records or a statement is stored with the Sigstore bundle that proves its place in the log, and with the
checkpoint that its sidecar saw then. So is one that its sidecar signed and that was refused, and what the control plane
signed itself of breaks, their stopping and clearing. Nothing is kept apart for this: the evidence says it.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select

from app.control.evidence_place import Place, place_in
from app.control.plane import Plane
from app.control.problems import Invalid, NotFound
from app.control.store import Batch, LineageBreak, Link, SignedBreak
from app.control.store.columns import now
from app.core.governance import sidecar_id

#: Entries of a page: each takes reading one object. And how many are read at a time, since a store may be far away.
MAX_PAGE = 200
READERS = 16
#: What was refused, of a page, and how many at a time: its evidence stands in a body that may be as large as a batch.
MAX_REFUSED = 16
REFUSED_READERS = 2

#: PostgreSQL numbers rows before it commits them: a page must not go past a row that is not there to be seen yet.
SETTLED = timedelta(seconds=60)

_NUMBER = "(0|[1-9][0-9]{0,17})"
#: Of before what is signed of breaks was listed it ends sooner.
_CURSOR = re.compile(f"b{_NUMBER}l{_NUMBER}k{_NUMBER}(?:s{_NUMBER})?")


@dataclass(frozen=True)
class Cursor:
    """The last batch, statement, refused one and signed break that a page showed, by their rows' numbers."""

    batch: int = 0
    link: int = 0
    refused: int = 0
    signed: int = 0

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """Read what `str` made. Raises `Invalid`."""
        if text is None:
            return cls()
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise Invalid(f"{text[:40]!r} is not where a page of log entries ends")
        return cls(*(int(number) for number in found.groups("0")))

    def __str__(self) -> str:
        return f"b{self.batch}l{self.link}k{self.refused}s{self.signed}"


@dataclass(frozen=True)
class Entry:
    """One entry, by the evidence of what stands behind `name`."""

    name: str
    index: int
    #: None where the evidence is not there or cannot be read any more, which is for `placet server fsck` to tell.
    place: Place | None


@dataclass(frozen=True)
class Page:
    """Some entries, in the order of their rows: batches first, then statements, what was refused, and signed breaks."""

    #: How the identities of the sidecars begin whose entries are all listed.
    identities: str
    entries: list[Entry]
    next: Cursor
    more: bool


def page(plane: Plane, system: str | None, after: Cursor, limit: int = MAX_PAGE) -> Page:
    """The entries that follow `after`, of one system or of all. Raises `Unavailable`."""
    with plane.store.read() as session:
        batches = _rows(session, _batches(system), Batch, Batch.received_at, after.batch, limit)
        links = _rows(session, _links(system), Link, Link.received_at, after.link, limit - len(batches))
        left = min(MAX_REFUSED, limit - len(batches) - len(links))
        breaks = _rows(session, _breaks(system), LineageBreak, LineageBreak.opened_at, after.refused, left)
        said = _signed(session, system, after.signed, limit - len(batches) - len(links) - len(breaks))
    taken = [*map(_of_batch, batches), *map(_of_link, links), *(_of_signed(*one) for one in said)]
    refused = [*map(_of_break, breaks)]
    with ThreadPoolExecutor(READERS) as pool:
        places = list(pool.map(lambda one: place_in(plane.objects, one.key), taken))
    with ThreadPoolExecutor(REFUSED_READERS) as pool:
        places += pool.map(lambda one: place_in(plane.objects, one.key, refused=True), refused)
    named = taken + refused
    entries = [entry for one, place in zip(named, places, strict=True) if (entry := one.at(place)) is not None]
    last_said = [one for one, _ in said]
    reached = Cursor(
        _last(batches, after.batch),
        _last(links, after.link),
        _last(breaks, after.refused),
        _last(last_said, after.signed),
    )
    return Page(identities(plane, system), entries, reached, more=len(named) == limit or len(breaks) == MAX_REFUSED)


def identities(plane: Plane, system: str | None) -> str:
    """How the SPIFFE IDs of a system's sidecars begin, or those of all."""
    whole = sidecar_id(plane.settings.domain, system or "", "")
    return whole if system else whole.removesuffix("/")


def newest_checkpoint(plane: Plane) -> str:
    """The checkpoint of the entry that stands last in the log, of those that were stored lately. Raises `NotFound`."""
    with plane.store.read() as session:
        batch = session.exec(_batches(None).order_by(col(Batch.id).desc()).limit(MAX_PAGE)).all()
        link = session.exec(_links(None).order_by(col(Link.id).desc()).limit(MAX_PAGE)).all()
        said = session.exec(select(SignedBreak).order_by(col(SignedBreak.id).desc()).limit(MAX_PAGE)).all()
    found = [(row.log_index, row.evidence) for row in batch if row.log_index is not None and row.evidence]
    found += [(row.log_index, row.object) for row in [*link, *said]]
    for _, key in sorted(found, reverse=True):
        place = place_in(plane.objects, key)
        if place is not None:
            return place.checkpoint
    raise NotFound("nothing signed is stored yet, so no checkpoint was seen")


def _batches(system: str | None) -> Any:
    query = select(Batch).where(col(Batch.log_index).is_not(None))
    return query if system is None else query.where(Batch.system == system)


def _links(system: str | None) -> Any:
    query = select(Link)
    return query if system is None else query.where(Link.system == system)


def _breaks(system: str | None) -> Any:
    """What a sidecar signed, and was refused and kept. What it did not sign, anybody may have made up."""
    query = select(LineageBreak).where(col(LineageBreak.stops).is_(True), col(LineageBreak.object).is_not(None))
    return query if system is None else query.where(LineageBreak.system == system)


def _rows(session: Session, query: Any, table: Any, stored_at: Any, last: int, limit: int) -> list[Any]:
    if limit <= 0:
        return []
    found = query.where(table.id > last).order_by(table.id).limit(limit)
    if session.get_bind().dialect.name == "postgresql":
        found = found.where(stored_at <= now() - SETTLED)
    return list(session.exec(found))


def _signed(session: Session, system: str | None, last: int, limit: int) -> list[tuple[SignedBreak, LineageBreak]]:
    """What the control plane signed. These rows are numbered in the order of their commits (`break_signing`)."""
    query = select(SignedBreak, LineageBreak).join(LineageBreak).where(col(SignedBreak.id) > last)
    if system is not None:
        query = query.where(LineageBreak.system == system)
    return list(session.exec(query.order_by(col(SignedBreak.id)).limit(max(limit, 0))))


def _last(rows: list[Any], before: int) -> int:
    return rows[-1].id if rows else before


@dataclass(frozen=True)
class _Named:
    """An entry of which the evidence is still to be read from the object `key`."""

    name: str
    #: None of what was refused: no row has it, and the object holds more than the evidence.
    index: int | None
    key: str

    def at(self, place: Place | None) -> Entry | None:
        """The entry; None of what was refused and cannot be read any more, which `placet server fsck` tells."""
        index = place.index if self.index is None and place is not None else self.index
        return None if index is None else Entry(self.name, index, place)


def _of_batch(row: Batch) -> _Named:
    name = f"batch {row.system}/{row.sidecar}/{row.instance}/{row.first_entry}"
    return _Named(name, row.log_index or 0, row.evidence or "")


def _of_link(row: Link) -> _Named:
    name = f"statement {row.system}/{row.sidecar}/{row.instance}/{row.number}"
    return _Named(name, row.log_index, row.object)


def _of_signed(row: SignedBreak, about: LineageBreak) -> _Named:
    return _Named(f"break {about.id} of {about.system}/{about.sidecar}, {row.change}", row.log_index, row.object)


def _of_break(row: LineageBreak) -> _Named:
    return _Named(f"break {row.id} of {row.system}/{row.sidecar}", None, row.object or "")

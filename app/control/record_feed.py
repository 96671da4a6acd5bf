"""The raw records of a filter's decisions, newest first, in bounded pages: what a replay of many asks for.

A page is one line of JSON, `{"next": CURSOR, "items": [{"decision_id", "system", "opa"?, "missing"?}, …]}`, and then
one line for each item: the record as OPA wrote it, or an empty line where it is `missing`, with the reason code or why.
`opa` is the digest of the OPA that a signed batch names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from app.control import search
from app.control.decision_filter import Filter, Place
from app.control.objects import Objects
from app.control.plane import Plane
from app.control.problems import NotFound
from app.control.raw_records import Changed, line_at
from app.control.store import Batch, Decision
from app.core import record_frames
from app.core.reason_codes import Reason

#: Records of one page, and bytes of them; a single longer record is a page of its own.
MAX_RECORDS, MAX_BYTES = 1000, 16 * 1024 * 1024

#: Why there is no record at a position.
_ERASED, _GONE = str(Reason.RECORD_ERASED), "the control plane keeps its record no more"

_Found = dict[int, bytes | str]


@dataclass(frozen=True)
class Feed:
    """A page: its first line, and the records."""

    head: bytes
    lines: list[bytes]

    def body(self) -> bytes:
        """The page as it is sent."""
        return b"\n".join([self.head, *self.lines, b""])


def page(plane: Plane, wanted: Filter, limit: int = MAX_RECORDS, cursor: str | None = None) -> Feed:
    """One page; its cursor is null only where nothing follows. Raises `Changed` where records were changed."""
    try:
        return _page(plane, wanted, limit, cursor, gone=False)
    except NotFound:
        # An erasure removes an object when its rows name another one: they say which, when they are asked again.
        return _page(plane, wanted, limit, cursor, gone=True)


def _page(plane: Plane, wanted: Filter, limit: int, cursor: str | None, *, gone: bool) -> Feed:
    with plane.store.read() as session:
        found = search.search(session, plane.objects, wanted, min(limit, MAX_RECORDS), cursor)
        batches = _batches(session, {item.batch for item in found.items})
    if found.unread:
        raise Changed(f"the stored records {found.unread[0]} were changed; see placet server fsck")
    records = _read(plane.objects, found.items, batches, gone=gone)
    items = found.items[: len(records)]
    following = found.next if len(items) == len(found.items) else Place.of(items[-1]).cursor()
    head = {"next": following, "items": [_item(*one, batches) for one in zip(items, records, strict=True)]}
    lines = [one if isinstance(one, bytes) else b"" for one in records]
    return Feed(json.dumps(head, separators=(",", ":")).encode(), lines)


def _item(decision: Decision, record: bytes | str, batches: dict[int, Batch]) -> dict[str, str]:
    known = {"decision_id": decision.decision_id, "system": decision.system}
    if (opa := batches[decision.batch].opa) is not None:
        known["opa"] = opa
    return known if isinstance(record, bytes) else known | {"missing": record}


def _batches(session: Session, ids: Iterable[int]) -> dict[int, Batch]:
    query = select(Batch).where(col(Batch.id).in_(list(ids)))
    return {row.id: row for row in session.exec(query) if row.id is not None}


def _read(objects: Objects, rows: Sequence[Decision], batches: dict[int, Batch], *, gone: bool) -> list[bytes | str]:
    """The records of as many of the first rows as fit, at least of one: each batch is read once.

    Raises `NotFound` for an object that is not there, unless it may be `gone`.
    """
    wanted: dict[int, list[int]] = {}
    for row in rows:
        wanted.setdefault(row.batch, []).append(row.position)
    found: dict[int, _Found] = {}
    size = 0
    for batch, positions in wanted.items():
        if size >= MAX_BYTES:
            break
        try:
            found[batch] = _at(objects, batches[batch], positions)
        except NotFound:
            if not gone:
                raise
            found[batch] = dict.fromkeys(positions, _GONE)
        size += sum(len(one) for one in found[batch].values())
    records: list[bytes | str] = []
    size = 0
    for row in rows:
        if row.batch not in found:
            break
        record = found[row.batch][row.position]
        size += len(record)
        if records and size > MAX_BYTES:
            break
        records.append(record)
    return records


def _at(objects: Objects, batch: Batch, positions: Sequence[int]) -> _Found:
    """The entries at these positions of a batch; of its frames only those are unpacked in which they are."""
    body = objects.get(batch.object)
    try:
        if batch.object.endswith(record_frames.PLAIN):
            return {position: line_at(body, position) for position in positions}
        head = record_frames.read_head(body)
        found: _Found = {}
        for frame in sorted({position // record_frames.FRAME for position in positions}):
            there = record_frames.read_frame(head, frame, body[head.bounds[frame] : head.bounds[frame + 1]])
            for number, entry in zip(head.numbers(frame), there, strict=True):
                found[number] = _ERASED if entry is None else entry
        return {position: found[position] for position in positions}
    except (record_frames.Damaged, LookupError) as error:
        raise Changed(f"the stored records {batch.object} were changed; see placet server fsck") from error

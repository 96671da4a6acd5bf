"""Records in refused batches that were kept with a break of lineage: they are erased with the records themselves.

Such a body is evidence as it is, so it goes whole or stays. Its break, with the digest of the body, stays.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from threading import Lock

import msgspec
from sqlmodel import col, select

from app.control import holds, record_lines
from app.control.batch_checks import Offer
from app.control.batch_reading import decompress
from app.control.erasure import Wanted
from app.control.plane import Plane
from app.control.problems import Invalid, NotFound, Problem, TooMany
from app.control.record_lines import Line, clean
from app.control.store import LineageBreak
from app.control.tokens import Access
from app.core.errors import Denied

log = logging.getLogger("placet.control")

_PLAIN = re.compile(r"[A-Za-z0-9_.:@-]{1,200}")

#: The systems, None for all, through whose refused batches somebody is looking now.
_looking: set[str | None] = set()
_lock = Lock()


def body(plane: Plane, by: Access, identifier: int) -> bytes:
    """The batch that a break keeps, as it came. Raises `NotFound`, and `Invalid` when the store gives another."""
    with plane.store.read() as session:
        row = session.get(LineageBreak, identifier)
    if row is None or by.system not in (None, row.system):
        raise NotFound(f"there is no break {identifier}")
    if row.object is None:
        raise NotFound(f"break {identifier} keeps no batch: it was taken, or too large to be kept, or erased")
    found = plane.objects.get(row.object)
    if sha256(found).hexdigest() != row.body_sha256:
        raise Invalid(f"the stored batch {row.object} was changed; see placet server fsck")
    return found


def find(plane: Plane, wanted: Wanted) -> list[int]:
    """The breaks whose kept bodies hold records that an order is about.

    Reads all that are kept: also what no sidecar signed may hold such records. So only one at a time looks through
    those of a system, or of all. Raises `TooMany`.
    """
    query = select(LineageBreak).where(col(LineageBreak.object).is_not(None))
    if wanted.system is not None:
        query = query.where(LineageBreak.system == wanted.system)
    with plane.store.read() as session:
        kept = list(session.exec(query.order_by(col(LineageBreak.id))))
    with _alone(wanted.system):
        return [row.id or 0 for row in kept if any(_is_meant(one, wanted) for one in _lines(plane, row, wanted))]


@contextmanager
def _alone(system: str | None) -> Iterator[None]:
    with _lock:
        if system in _looking:
            raise TooMany("another order is looking through the refused batches now; try again")
        _looking.add(system)
    try:
        yield
    finally:
        with _lock:
            _looking.remove(system)


def _lines(plane: Plane, row: LineageBreak, wanted: Wanted) -> Iterator[Line]:
    """The records of a refused body that may be meant; none where it holds none that can be read."""
    try:
        offer = Offer.read(plane.objects.get(row.object or ""))
        raw = decompress(base64.b64decode(offer.records, validate=True))
    except (NotFound, Denied, ValueError, Problem, msgspec.MsgspecError):
        return
    text = _plain(wanted)
    # To parse takes much longer than to look for a name, which stands there as it is unless something is escaped.
    some = (entry for entry in raw.split(b"\n") if text is None or text in entry or b"\\" in entry)
    yield from (line for line in record_lines.read_lines(some) if line is not None)


def _plain(wanted: Wanted) -> bytes | None:
    """What stands in each line that is meant; None where that cannot be said."""
    text = wanted.subject if wanted.subject is not None else wanted.decisions[0]
    if len(wanted.decisions) > 1 or _PLAIN.fullmatch(text) is None or text.startswith("record-"):
        return None  # `record-…` are made from the bytes, see `record_lines.identifier`
    try:
        json.loads(text)  # numbers and the like are taken as text, in another form perhaps
    except ValueError:
        return text.encode()
    return None


def _is_meant(line: Line, wanted: Wanted) -> bool:
    if wanted.subject is not None:
        return (line.subject_issuer, line.subject_id) == (clean(wanted.issuer), clean(wanted.subject))
    return line.decision_id in {clean(one) for one in wanted.decisions}


def remove(plane: Plane, breaks: Sequence[int]) -> bool:
    """Remove the bodies of these breaks; False while a hold of their system is in force, and keeps one."""
    whole = True
    for identifier in breaks:
        with plane.store.read() as session:  # a hold may stand for years: nobody waits for a lock every time we look
            row = session.get(LineageBreak, identifier)
            if row is None or row.object is None:
                continue
            if holds.is_any(session, row.system):
                whole = False
                continue
        with plane.store.write() as session:
            holds.serialise(session)
            row = session.get(LineageBreak, identifier, with_for_update=True)
            if row is None or row.object is None:
                continue
            if holds.is_any(session, row.system):
                whole = False
                continue
            # While the transaction is open: a body that nothing names would stay for ever.
            plane.objects.remove(row.object)
            row.object = None
            session.add(row)
            log.warning("the refused batch of break %s is removed: it held erased records", identifier)
    return whole

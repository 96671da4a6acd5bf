"""An execution's evidence by the rows of a control plane, which say where in the object store it lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, or_, select

from app.control.lineage_objects import MAX_NAMED_BATCHES, MAX_OWN_BATCHES, ObjectEvidence, Wish
from app.control.objects import Objects
from app.control.plane import StatementVerifier
from app.control.sidecar_statement import payload_of
from app.control.store import Batch, Decision, LineageBreak, Link, LinkResource, SignedBreak
from app.control.store.break_statement import counts, lacks
from app.control.store.bulk import chunks
from app.core import link as journal
from app.core.break_statement import CLEARED, OPENED, BreakStatement, ToldBreak, within
from app.core.errors import Denied
from app.core.execution_evidence import MAX_JOINED, Key, Recorded, SignedLink, chosen
from app.core.link import TrustChange
from app.core.link_names import ARTIFACT, PARENT, payload_digest
from app.core.reason_codes import Reason

#: Values of one `IN`.
_AT_ONCE = 400


class RowEvidence(ObjectEvidence):
    """A source (`app.core.execution_evidence`). Statements were verified when they were taken."""

    def __init__(
        self, session: Session, objects: Objects, verify: StatementVerifier, only_system: str | None = None
    ) -> None:
        """`only_system`: whoever asks may see nothing of others."""
        super().__init__(objects, verify)
        self._session = session
        self._own = () if only_system is None else (Link.system == only_system,)

    def executions(self, identifier: str) -> list[Key]:
        """Those of this id."""
        query = select(Link.system, Link.sidecar, Link.instance).where(Link.execution == identifier, *self._own)
        return sorted(Key(*row, identifier) for row in self._session.exec(query.distinct()))

    def of(self, key: Key, limit: int) -> list[SignedLink]:
        """The first links of an execution, in their order."""
        query = select(Link).where(*_journal(key), Link.execution == key.id).order_by(col(Link.number)).limit(limit)
        return [self._read(row) for row in self._session.exec(query)]

    def joined(self, digests: Iterable[str], links: Iterable[str]) -> list[Key]:
        """Executions of which links name an artifact of one of these digests, or one of these links as a parent."""
        found: set[Key] = set()
        for prefix, wanted in ((ARTIFACT, digests), (PARENT, links)):
            for some in chunks((one.removeprefix("sha256:") for one in wanted), _AT_ONCE):
                named = and_(col(LinkResource.sha256).in_(some), col(LinkResource.name).startswith(prefix))
                query = (
                    select(Link.system, Link.sidecar, Link.instance, Link.execution)
                    .join(LinkResource, col(LinkResource.link) == Link.id)
                    .where(named, col(Link.execution).is_not(None), *self._own)
                    .distinct()
                    .order_by(Link.system, Link.sidecar, Link.instance, col(Link.execution))
                    .limit(2 * MAX_JOINED + 2)
                )
                found |= {Key(*row[:3], row[3] or "") for row in self._session.exec(query)}
        return sorted(found)

    def links(self, digests: Iterable[str]) -> list[SignedLink]:
        """The statements of these digests."""
        found = []
        for some in chunks(digests, _AT_ONCE):
            rows = self._session.exec(select(Link).where(col(Link.payload).in_(some), *self._own))
            found += [self._read(row) for row in rows]
        return sorted(found, key=lambda one: one.digest)

    def events(self, key: Key, first: int, last: int | None, limit: int) -> list[SignedLink]:
        """What the sidecar's journal says of itself between two numbers, the oldest first; to its end for None."""
        query = select(Link).where(*_journal(key), col(Link.execution).is_(None), Link.number > first)
        if last is not None:
            query = query.where(Link.number < last)
        return [self._read(row) for row in self._session.exec(query.order_by(col(Link.number)).limit(limit))]

    def breaks(self, key: Key, first: datetime, last: datetime | None, limit: int) -> list[ToldBreak]:
        """Breaks that were opened or borne between two times, and what followed, as the control plane signed them."""
        query = select(SignedBreak).join(LineageBreak).where(*_of_sidecar(key), *_between(first, last))
        self._leave_out_unsigned(key, first, last)
        return within(map(self._told, self._session.exec(query)), key.instance, first, last, limit)

    def _leave_out_unsigned(self, key: Key, first: datetime, last: datetime | None) -> None:
        """Say so where a break counts and is not signed yet: it would look as if there were none."""
        query = select(LineageBreak.id).where(
            *_of_sidecar(key),
            counts(),
            or_(LineageBreak.instance == key.instance, col(LineageBreak.instance).is_(None)),
            *_between(first, last),
            lacks(OPENED),
        )
        if self._session.exec(query.limit(1)).first() is not None:
            self.leave_out("breaks that are not signed yet")

    def decisions(self, key: Key, named: dict[str, str], own: bool, limit: int) -> Sequence[Recorded]:
        """Signed records of the instance: those that links name, and with `own` others that name the execution."""
        wish = Wish(named, key.id if own else None)
        found: list[Recorded] = []
        # First what links name: others may claim to be of the execution, as many as anybody likes.
        first = self.batches(key, Wish(named, None), MAX_NAMED_BATCHES + 1)
        for batch in first:
            if not self.has_room(named=True, own=own):
                break
            found += self.records(batch, wish)
        known, claimed = {batch.id for batch in first}, 0
        for batch in self.batches(key, Wish({}, key.id), MAX_OWN_BATCHES + len(first) + 1) if own else ():
            if batch.id in known:
                continue
            if claimed >= limit or not self.has_room(named=False, own=own):
                break
            some = list(self.records(batch, wish))
            claimed += len(some)
            found += some
        return chosen(found, named, limit)

    def batches(self, key: Key, wish: Wish, limit: int) -> list[Batch]:
        """Signed batches in which the wanted records are, in their order."""
        of_sidecar = (Decision.system == key.system, Decision.sidecar == key.sidecar)
        wanted: list[Any] = [col(Decision.decision_id).in_(some) for some in chunks(wish.named, _AT_ONCE)]
        if wish.execution is not None:
            wanted.append(Decision.execution == wish.execution)
        found: dict[int, Batch] = {}
        for condition in wanted:
            query = (
                select(Batch)
                .where(col(Batch.id).in_(select(Decision.batch).where(*of_sidecar, condition)))
                .where(Batch.instance == key.instance, col(Batch.first_entry).is_not(None))
            )
            rows = self._session.exec(query.order_by(col(Batch.first_entry)).limit(limit))
            found.update((row.first_entry or 0, row) for row in rows)
        return [found[first] for first in sorted(found)]

    def evidence(self, digest: str) -> bytes:
        """The Sigstore bundle of a statement that is stored."""
        row = self._session.exec(select(Link).where(Link.payload == digest, *self._own)).first()
        return b"" if row is None else self._objects.get(row.object)

    def _read(self, row: Link) -> SignedLink:
        """The statement of a row. Raises `Denied` for one that was changed since it was verified."""
        return SignedLink(read_link(self._objects, row), row.payload, row.signed_at, row.log_index)

    def _told(self, row: SignedBreak) -> ToldBreak:
        """The statement of a row. Raises `Denied` for one that was changed since it was signed."""
        says = BreakStatement.read(_payload(self._objects, row))
        return ToldBreak(says, row.payload, row.signed_at, row.log_index)


def read_link(objects: Objects, row: Link) -> journal.Link | TrustChange:
    """The statement of a row. Raises `Denied` for one that was changed since it was verified, and `NotFound`."""
    return journal.Link.read(_payload(objects, row))


def _payload(objects: Objects, row: Link | SignedBreak) -> bytes:
    evidence = objects.get(row.object)
    payload = payload_of(evidence)
    if (sha256(evidence).hexdigest(), payload_digest(payload)) != (row.evidence_sha256, row.payload):
        detail = f"{row.object} was changed in the store; placet server fsck names the place"
        raise Denied(Reason.LINK_INVALID, detail, step="stored evidence")
    return payload


def _between(first: datetime, last: datetime | None) -> tuple[ColumnElement[bool], ...]:
    """Breaks that were opened between two times, or borne then: what is not signed of their clearing does not count."""
    cleared = col(LineageBreak.cleared_at)
    open_still = or_(cleared.is_(None), cleared >= first, lacks(CLEARED))
    borne = and_(col(LineageBreak.stops), col(LineageBreak.stops_at).is_not(None), open_still)
    since = or_(col(LineageBreak.opened_at) >= first, borne)
    if last is None:
        return (since,)
    return since, col(LineageBreak.opened_at) < last + timedelta(seconds=1)  # statements tell whole seconds


def _of_sidecar(key: Key) -> tuple[Any, ...]:
    return LineageBreak.system == key.system, LineageBreak.sidecar == key.sidecar


def _journal(key: Key) -> tuple[Any, ...]:
    return Link.system == key.system, Link.sidecar == key.sidecar, Link.instance == key.instance

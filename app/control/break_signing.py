"""Signs the breaks of sidecars' lineage, and what stops or clears them later, as the control plane: for the log and the
object store.

A break counts from the moment its row is there, and so does its clearing: nobody waits for a signature. What could not
be signed is signed later, and so is what was there before anybody signed breaks. One that cannot be signed keeps none
waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from hashlib import sha256

from sqlalchemy import ColumnElement, true
from sqlmodel import Session, col, or_, select

from app.control import lineage, sidecar_statement
from app.control.plane import Plane, StatementVerifier
from app.control.rounds import Rounds
from app.control.store import LineageBreak, SignedBreak, first_line
from app.control.store.break_statement import counts, lacks, stopped
from app.control.store.columns import now
from app.core.break_statement import CLEARED, OPENED, STOPPED, BreakStatement, ToldBreak
from app.core.errors import Denied, PlacetError
from app.core.governance import control_plane_id, sidecar_id
from app.core.link_names import payload_digest
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

log = logging.getLogger("placet.control")

#: Gives the Sigstore bundle (JSON) of a statement. Raises `PlacetError`.
Sign = Callable[[BreakStatement], bytes]

STEP = "lineage break"

INTERVAL = 2.0
#: Breaks that one round signs: each takes about a second.
_AT_ONCE = 20
#: As many that fail before any was signed end a round: it is not they, but Fulcio or the log.
_OUTAGE = 3
#: Seconds until one that failed is tried again: at first, twice as long each time, and at most.
_FIRST, _LONGEST = 2.0, 300.0


class Failed:
    """Breaks of which something could not be signed, and when they are tried again."""

    def __init__(self) -> None:
        #: By the number of the break: until when it rests, and for how long in all.
        self._rests: dict[int, tuple[float, float]] = {}

    def resting(self) -> list[int]:
        """Those that are not tried now."""
        now = time.monotonic()
        return [broken for broken, (until, _) in self._rests.items() if until > now]

    def rest(self, row: LineageBreak, change: str, error: PlacetError) -> None:
        """One failed once more."""
        broken = row.id or 0
        _, before = self._rests.get(broken, (0.0, _FIRST / 2))
        pause = min(2 * before, _LONGEST)
        self._rests[broken] = time.monotonic() + pause, pause
        named = f"break {broken} of {row.system}/{row.sidecar}"
        log.warning(
            "cannot sign that %s was %s; it is tried again in %g s: %s", named, change, pause, first_line(error)
        )

    def forget(self, row: LineageBreak) -> None:
        """One was signed after all."""
        self._rests.pop(row.id or 0, None)


class BreakSigning:
    """A background thread. What it could not sign, it signs later."""

    def __init__(self, plane: Plane, sign: Sign, interval: float = INTERVAL) -> None:
        failed = Failed()
        self._rounds = Rounds("breaks", interval, lambda: step(plane, sign, failed), "sign what is said of breaks")

    def start(self) -> None:
        """Begin, with what was left unsigned."""
        self._rounds.start(at_once=True)

    def stop(self) -> None:
        """End the thread; returns when it has ended its round."""
        self._rounds.stop()


def step(plane: Plane, sign: Sign, failed: Failed) -> bool:
    """Sign what is yet to be signed, oldest first; whether there is more. What fails is told, and rests."""
    with plane.store.read() as session:
        waiting = [(row, _changes(session, row)) for row in _waiting(session, failed.resting())]
    signed = fruitless = 0
    for row, changes in waiting:
        for change in changes:
            try:
                _sign(plane, sign, row, change)
            except PlacetError as error:
                failed.rest(row, change, error)
                fruitless += 1
                break  # a clearing names the opening
            failed.forget(row)
            signed += 1
        if not signed and fruitless == _OUTAGE:
            return False
    return len(waiting) >= _AT_ONCE


def _sign(plane: Plane, sign: Sign, row: LineageBreak, change: str) -> None:
    with plane.store.read() as session:
        says = statement_of(session, plane.settings.domain, row, change)
    evidence = sign(says)
    _keep(plane, row, _proved(plane, evidence), evidence)


def statement_of(session: Session, domain: str, row: LineageBreak, change: str) -> BreakStatement:
    """What the control plane says of a break's opening, or of what follows once that it was opened is signed."""
    sidecar = sidecar_id(domain, row.system, row.sidecar)
    of = f"sha256:{row.body_sha256}"
    told = (sidecar, row.instance, row.id or 0, change, row.kind, row.detail, row.stops, of)
    stops_at = row.stops_at if row.stops else None
    if change == OPENED:
        return BreakStatement(*told, row.opened_at, stops_at=stops_at)
    opened = session.exec(select(SignedBreak.payload).where(*_of(row, OPENED))).one()
    if change == STOPPED:
        assert row.stops_at is not None
        return BreakStatement(*told, row.stops_at, opened, stops_at=stops_at)
    assert row.cleared_at is not None
    return BreakStatement(*told, row.cleared_at, opened, row.cleared_by, row.note, stops_at)


def proved(domain: str, issuers: Iterable[str], verify: StatementVerifier, evidence: bytes) -> ToldBreak:
    """What the control plane of a domain has signed, which one of these issuers vouched for. Raises `Denied`."""
    refusal = Denied(Reason.LINK_INVALID, "no issuer vouches for the control plane", step=STEP)
    for issuer in issuers:
        signer = SignerIdentity(identity=control_plane_id(domain), issuer=issuer)
        try:
            signed = sidecar_statement.signed_by(signer, verify, evidence, Reason.LINK_INVALID, STEP)
        except Denied as denied:
            refusal = denied
            continue
        says = BreakStatement.read(signed.payload)
        return ToldBreak(says, payload_digest(signed.payload), signed.verified.signed_at, signed.log_index)
    raise refusal


def object_key(system: str, sidecar: str, number: int, change: str) -> str:
    """Where the evidence lies in the object store. Below a sidecar they are in order of the breaks."""
    return f"breaks/{system}/{sidecar}/{number:012d}-{change}.json"


def _waiting(session: Session, resting: list[int]) -> list[LineageBreak]:
    """Breaks of which something is not signed, but for those that rest."""
    lacking = or_(*(due & lacks(change) for change, due in _due().items()))
    query = select(LineageBreak).where(counts(), lacking, col(LineageBreak.id).not_in(resting))
    return list(session.exec(query.order_by(col(LineageBreak.id)).limit(_AT_ONCE)))


def _changes(session: Session, row: LineageBreak) -> list[str]:
    """What is to be signed of a break, in its order."""
    of_row = col(LineageBreak.id) == row.id
    asked = {change: select(LineageBreak.id).where(of_row, due, lacks(change)) for change, due in _due().items()}
    return [change for change, query in asked.items() if session.exec(query).first() is not None]


def _due() -> dict[str, ColumnElement[bool]]:
    """Of a break: what may be said of it by now."""
    return {OPENED: true(), STOPPED: stopped(now()), CLEARED: col(LineageBreak.cleared_at).is_not(None)}


def _of(row: LineageBreak, change: str) -> tuple[ColumnElement[bool], ...]:
    return col(SignedBreak.broken) == row.id, col(SignedBreak.change) == change


def _proved(plane: Plane, evidence: bytes) -> ToldBreak:
    """Whatever is wrong with our own signature is seen before it is kept."""
    if plane.verify_batch is None:
        raise PlacetError("this control plane was given no lineage log")
    return proved(plane.settings.domain, [plane.identity_issuer], plane.verify_batch, evidence)


def _keep(plane: Plane, row: LineageBreak, told: ToldBreak, evidence: bytes) -> None:
    """Store the evidence, then the row that says where it is; nothing where another control plane did so meanwhile."""
    key = object_key(row.system, row.sidecar, told.says.number, told.says.change)
    with plane.store.write() as session:
        lineage.serialise(session, row.system, row.sidecar)
        if session.exec(select(SignedBreak.id).where(*_of(row, told.says.change))).first() is not None:
            return
        plane.objects.put(key, evidence)
        # Of all sidecars, one at a time: whoever follows these rows by their numbers must not go past one to come.
        lineage.serialise(session, "*", "*")
        session.add(
            SignedBreak(
                broken=told.says.number,
                change=told.says.change,
                payload=told.digest,
                signed_at=told.signed_at,
                log_index=told.log_index,
                object=key,
                evidence_sha256=sha256(evidence).hexdigest(),
            )
        )

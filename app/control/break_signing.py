"""Signs the breaks of sidecars' lineage, and what people clear, as the control plane: for the log and the object store.

A break counts from the moment its row is there, and so does its clearing: nobody waits for a signature. What could not
be signed is signed later, and so is what was there before anybody signed breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from app.control import lineage, sidecar_statement
from app.control.plane import Plane, StatementVerifier
from app.control.problems import Unavailable
from app.control.rounds import Rounds
from app.control.store import LineageBreak, SignedBreak
from app.control.store.break_statement import counts, lacks
from app.core.break_statement import CLEARED, OPENED, BreakStatement, ToldBreak
from app.core.errors import Denied, PlacetError
from app.core.governance import control_plane_id, sidecar_id
from app.core.link_names import payload_digest
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

#: Gives the Sigstore bundle (JSON) of a statement. Raises `PlacetError`.
Sign = Callable[[BreakStatement], bytes]

STEP = "lineage break"

INTERVAL = 2.0
#: Breaks that one round signs: each takes about a second.
_AT_ONCE = 20


class BreakSigning:
    """A background thread. What it could not sign, it signs later."""

    def __init__(self, plane: Plane, sign: Sign, interval: float = INTERVAL) -> None:
        self._rounds = Rounds("breaks", interval, lambda: step(plane, sign), "sign what is said of breaks")

    def start(self) -> None:
        """Begin, with what was left unsigned."""
        self._rounds.start(at_once=True)

    def stop(self) -> None:
        """End the thread; returns when it has ended its round."""
        self._rounds.stop()


def step(plane: Plane, sign: Sign) -> bool:
    """Sign what is yet to be signed, oldest first; whether there is more. Raises `Unavailable`."""
    with plane.store.read() as session:
        waiting = [(row, change) for row in _waiting(session) for change in _changes(session, row)]
    for row, change in waiting:
        with plane.store.read() as session:
            says = statement_of(session, plane.settings.domain, row, change)
        try:
            evidence = sign(says)
            told = _proved(plane, evidence)
        except PlacetError as error:
            raise Unavailable(str(error)) from error
        _keep(plane, row, told, evidence)
    return len(waiting) >= _AT_ONCE


def statement_of(session: Session, domain: str, row: LineageBreak, change: str) -> BreakStatement:
    """What the control plane says of a break's opening, or of its clearing once that it was opened is signed."""
    sidecar = sidecar_id(domain, row.system, row.sidecar)
    of = f"sha256:{row.body_sha256}"
    told = (sidecar, row.instance, row.id or 0, change, row.kind, row.detail, row.stops, of)
    if change == OPENED:
        return BreakStatement(*told, row.opened_at)
    opened = session.exec(select(SignedBreak.payload).where(*_of(row, OPENED))).one()
    assert row.cleared_at is not None
    return BreakStatement(*told, row.cleared_at, opened, row.cleared_by, row.note)


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


def _waiting(session: Session) -> list[LineageBreak]:
    """Breaks of which something is not signed."""
    query = select(LineageBreak).where(
        counts(), or_(lacks(OPENED), col(LineageBreak.cleared_at).is_not(None) & lacks(CLEARED))
    )
    return list(session.exec(query.order_by(col(LineageBreak.id)).limit(_AT_ONCE)))


def _changes(session: Session, row: LineageBreak) -> list[str]:
    due = [OPENED, CLEARED] if row.cleared_at is not None else [OPENED]
    return [one for one in due if session.exec(select(SignedBreak.id).where(*_of(row, one))).first() is None]


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

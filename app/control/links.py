"""Take the statements of sidecars' journals (`app.core.link`), one at a time and in their order.

As with batches of records: the sidecar is admitted; the statement is signed by it and logged; it follows the last one
of its instance, and the last one of its execution. One transaction asks once more, and stores the row and, before it
ends, the evidence as an object. What does not fit is kept and told (`app.control.lineage`).
"""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import Any

import msgspec
from sqlmodel import Session, col, select

from app.control import enrolment, lineage, sidecar_statement, states
from app.control.lineage import Refused
from app.control.plane import Plane, StatementVerifier
from app.control.sidecar_statement import Signed
from app.control.store import Approval, Link, LinkResource, Warrant
from app.core import link as journal
from app.core.errors import Denied
from app.core.evidence_form import MAX_EVIDENCE
from app.core.link import TrustChange
from app.core.link_names import END, START, payload_digest
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

log = logging.getLogger("placet.control")

STEP = "lineage statement"

Statement = journal.Link | TrustChange


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    evidence: str


_decode = msgspec.json.Decoder(_Body).decode


def take(plane: Plane, system: str, sidecar: str, body: bytes) -> int:
    """Store a statement durably, and give the number of the next one. A repeat gets the same answer.

    Raises `Denied`, `Problem`.
    """
    signer, verify = sidecar_statement.signer_of(plane, system, sidecar, "what sidecars state")
    sidecar_statement.require_admitted(plane, system, sidecar)
    try:
        signed = signed_by(signer, verify, _evidence_of(body))
    except Denied as denied:
        lineage.refuse(plane, Refused(system, sidecar, None, denied, body, stops=False))
        raise
    says: Statement | None = None
    try:
        says = statement_of(signed)
        with plane.store.read() as session:
            if (stored := _stored(session, system, sidecar, says, signed)) is not None:
                return stored.number + 1
            lineage.require_whole(session, system, sidecar)
            _require_next(session, system, sidecar, says)
        return _store(plane, system, sidecar, says, signed)
    except Denied as denied:
        refused = Refused(system, sidecar, says.instance if says else None, denied, body, stops=True)
        raise lineage.refuse(plane, refused) from None


def signed_by(signer: SignerIdentity, verify: StatementVerifier, evidence: bytes) -> Signed:
    """What `signer` signed. Raises `Denied` with `link.invalid`: nothing then proves who made this."""
    return sidecar_statement.signed_by(signer, verify, evidence, Reason.LINK_INVALID, STEP)


def statement_of(signed: Signed) -> Statement:
    """What was signed, which must be of the one who signed it. Raises `Denied`."""
    says = journal.Link.read(signed.payload)
    if says.sidecar != signed.verified.signer.identity:
        raise Denied(Reason.LINK_INVALID, f"it speaks of {says.sidecar}", step=STEP, field="environment.sidecar")
    return says


def object_key(system: str, sidecar: str, says: Statement, payload: str) -> str:
    """Where the evidence of a statement lies in the object store. Below a sidecar's instance they are in order."""
    digest = payload.removeprefix("sha256:")
    return f"links/{system}/{sidecar}/{says.instance}/{says.number:020d}-{digest}.json"


def approval_key(system: str, warrant: str) -> str:
    """Where the approval of a warrant by which an execution was started lies in the object store."""
    return f"approvals/{system}/{warrant}.json"


def _evidence_of(body: bytes) -> bytes:
    try:
        evidence = _decode(body).evidence.encode()
    except msgspec.ValidationError as error:
        raise _denied(Reason.LINK_MALFORMED, "the body has exactly the text evidence", "body") from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _denied(Reason.LINK_MALFORMED, f"the body: {error}", "body") from error
    if len(evidence) > MAX_EVIDENCE:
        raise _denied(Reason.LINK_MALFORMED, f"the evidence is larger than {MAX_EVIDENCE} bytes", "evidence")
    return evidence


def _instance(system: str, sidecar: str, instance: str) -> tuple[Any, ...]:
    return Link.system == system, Link.sidecar == sidecar, Link.instance == instance


def _stored(session: Session, system: str, sidecar: str, says: Statement, signed: Signed) -> Link | None:
    """The same statement, whatever signature it came with."""
    where = (*_instance(system, sidecar, says.instance), Link.number == says.number)
    return session.exec(select(Link).where(*where, Link.payload == payload_digest(signed.payload))).first()


def _require_next(session: Session, system: str, sidecar: str, says: Statement) -> None:
    """Deny unless the statement follows the last one of its instance, and of its execution."""
    where = _instance(system, sidecar, says.instance)
    last = session.exec(select(Link).where(*where).order_by(col(Link.number).desc()).limit(1)).first()
    expected = last.number + 1 if last else 0
    if says.number > expected:
        detail = f"statements {expected} to {says.number - 1} are missing"
        raise _denied(Reason.LINK_GAP, detail, "environment.number")
    if says.number < expected:
        detail = f"statement {says.number} is stored already, and is another one; the next one is {expected}"
        raise _denied(Reason.LINK_FORK, detail, "environment.number")
    if says.previous != (last.payload if last else None):
        detail = "the statement that it names before it is not the last one here"
        raise _denied(Reason.LINK_FORK, detail, "environment.previous")
    of_sidecar = select(Link.instance).where(Link.system == system, Link.sidecar == sidecar)
    newest = session.exec(of_sidecar.order_by(col(Link.id).desc()).limit(1)).first()
    if last is not None and newest != says.instance:
        # Each history would hold by itself, and nobody would see that there are two.
        raise _denied(Reason.LINK_FORK, f"the instance {newest} of this sidecar has begun since", "instance")
    if isinstance(says, journal.Link) and says.execution is not None:
        _require_next_of_execution(session, where, says)


def _require_next_of_execution(session: Session, where: tuple[Any, ...], says: journal.Link) -> None:
    """An execution begins with its start; each link names the one before it, and nothing follows its end.

    A start that was tried again is a further link.
    """
    known = select(Link).where(*where, Link.execution == says.execution).order_by(col(Link.number).desc()).limit(1)
    last = session.exec(known).first()
    if last is None and (says.kind != START or says.before is not None):
        raise _denied(Reason.LINK_GAP, f"nothing says that {says.execution} was started", "byproducts.execution")
    if last is not None and last.kind == END:
        raise _denied(Reason.LINK_FORK, f"{says.execution} has ended", "byproducts.execution")
    if last is not None and says.before != last.payload:
        raise _denied(Reason.LINK_FORK, f"it does not name the last statement about {says.execution}", "materials")


def _store(plane: Plane, system: str, sidecar: str, says: Statement, signed: Signed) -> int:
    payload = payload_digest(signed.payload)
    key = object_key(system, sidecar, says, payload)
    row = Link(
        system=system,
        sidecar=sidecar,
        instance=says.instance,
        number=says.number,
        payload=payload,
        kind=says.kind,
        execution=says.execution,
        at=says.at,
        signed_at=signed.verified.signed_at,
        log_index=signed.log_index,
        object=key,
        evidence_sha256=sha256(signed.evidence).hexdigest(),
    )
    with plane.store.write() as session:
        lineage.serialise(session, system, sidecar)
        enrolment.require_admitted(session, system, sidecar)
        if (stored := _stored(session, system, sidecar, says, signed)) is not None:  # by another request
            return stored.number + 1
        lineage.require_whole(session, system, sidecar)
        _require_next(session, system, sidecar, says)
        session.add(row)
        session.flush()
        session.add_all(resources(row.id or 0, says))
        if isinstance(says, TrustChange):
            states.named(session, system, [says.new])
        # Now that nobody else is here: an object of what is refused would be in the story that is told without rows,
        # and one of another request, the same under another signature, would not be what the row says.
        plane.objects.put(key, signed.evidence)
        _keep_approvals(plane, session, system, says)
    if says.number == 0:
        log.warning("%s/%s begins the journal of the instance %s", system, sidecar, says.instance)
    return says.number + 1


def resources(link: int, says: Statement) -> list[LinkResource]:
    """The rows of what a statement names: the subjects first, then the materials."""
    named = [(False, one) for one in says.subject] + [(True, one) for one in says.materials]
    return [
        LinkResource(
            link=link, position=position, material=material, name=one.name, sha256=one.digest.removeprefix("sha256:")
        )
        for position, (material, one) in enumerate(named)
    ]


def _keep_approvals(plane: Plane, session: Session, system: str, says: Statement) -> None:
    """Put the approvals of the warrants by which an execution was started beside it: rows may be lost one day."""
    if says.kind != START:
        return
    ids = [one.name.removeprefix("warrant/") for one in says.materials if one.name.startswith("warrant/")]
    own = select(Warrant.id).where(Warrant.system == system, col(Warrant.id).in_(ids))
    for approval in session.exec(select(Approval).where(col(Approval.warrant).in_(own))) if ids else []:
        plane.objects.put(approval_key(system, approval.warrant), approval.evidence.encode())


def _denied(reason: Reason, detail: str, field: str) -> Denied:
    return Denied(reason, detail, step=STEP, field=field)

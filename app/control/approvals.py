"""Approvals: an approver's signed statement over a request, without which a system's warrants are not issued."""

from __future__ import annotations

from sqlmodel import Session

from app.control import governance, warrants
from app.control.plane import Plane
from app.control.problems import Conflict
from app.control.sidecar_statement import payload_of
from app.control.store import Approval, Warrant
from app.control.tokens import Access
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.link_names import payload_digest
from app.core.reason_codes import Reason
from app.core.verification_policy import VerificationPolicy
from app.core.warrant_request import APPROVAL

_STEP = "approval"


def approve(plane: Plane, by: Access, system: str, identifier: str, evidence: str) -> Warrant:
    """Verify an approver's Sigstore bundle (JSON text) over the request, and issue the warrant.

    Raises `NotFound`, `Conflict` when nothing waits, and `Denied` when the statement is not an approver's, is about
    something else, or is the asker's own.
    """
    with plane.store.read() as session:
        row = warrants.find(session, system, identifier)
        if not _waits(session, row, evidence):
            return row
        approvers = governance.of(session, system).approval.approvers
    # Outside of transactions: whoever may read could otherwise hold up everybody who writes.
    verified = plane.verify_statement(
        evidence.encode(), subject=row.request_digest, policy=VerificationPolicy(identities=approvers), step=_STEP
    )
    _require_approval(verified, row)
    with plane.store.write() as session:
        row = warrants.find(session, system, identifier, to_change=True)
        if not _waits(session, row, evidence):
            return row
        if verified.signer not in governance.of(session, system).approval.approvers:
            raise Conflict("the system's approvers were changed at the same time; send the approval again")
        session.add(
            Approval(
                warrant=row.id,
                request_digest=row.request_digest,
                identity=verified.signer.identity,
                issuer=verified.signer.issuer,
                signed_at=verified.signed_at,
                evidence=evidence,
                received_by=by.id,
            )
        )
        approval = payload_digest(payload_of(evidence.encode()))
        warrants.issue(row, plane.settings.domain, approval)
        session.add(row)
        return row


def of(session: Session, row: Warrant) -> Approval | None:
    """Who approved a warrant; None when nobody did."""
    return session.get(Approval, row.id)


def _waits(session: Session, row: Warrant, evidence: str) -> bool:
    """Whether the request waits for an approval; False when it has this very one. Raises `Conflict`."""
    if (found := of(session, row)) is not None and found.evidence == evidence:
        return False
    if (status := warrants.status(row)) != "pending":
        raise Conflict(f"{row.id} does not wait for an approval: it is {status}")
    return True


def _require_approval(verified: VerifiedStatement, row: Warrant) -> None:
    if verified.predicate_type != APPROVAL:
        detail = f"the statement is a {verified.predicate_type}, not an approval"
        raise Denied(Reason.EVIDENCE_PREDICATE, detail, step=_STEP, field="predicateType")
    said = {"system": row.system, "warrant": row.id, "request": row.request}
    if verified.statement["predicate"] != said:
        raise Denied(Reason.EVIDENCE_SUBJECT, "it approves another request than this", step=_STEP, field="predicate")
    asked_by = {name.casefold() for name in (row.subject_id, row.actor_id, *row.obtained["names"]) if name}
    if verified.signer.identity.casefold() in asked_by:
        raise Denied(
            Reason.WARRANT_UNAPPROVED,
            f"{verified.signer.identity} asked for it, or is to have it: somebody else must approve",
            step=_STEP,
            field="signer",
        )

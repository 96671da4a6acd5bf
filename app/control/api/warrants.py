"""`/api/v1/systems/{system}/warrants`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import AfterValidator, StringConstraints
from sqlmodel import Session, col

from app.control import approvals, executions, pages, revocations, warrants
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name, line
from app.control.problems import Forbidden, Invalid
from app.control.store import Approval, Warrant, WarrantRevocation
from app.control.tokens import Access, Scope
from app.control.warrants import Asker
from app.core.governance import audience_of
from app.core.warrant_request import WarrantRequest

router = APIRouter(prefix="/api/v1/systems/{system}/warrants", tags=["warrants"])

Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
#: Characters of a Sigstore bundle.
_MAX_EVIDENCE = 256 * 1024


class NewApproval(Body):
    """An approver's Sigstore bundle over the approval statement, as JSON text."""

    evidence: Annotated[str, StringConstraints(min_length=2, max_length=_MAX_EVIDENCE)]


def show(row: Warrant, used: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A warrant as the API lists it. `used`: by id, how often those of limited use were used."""
    request = row.request
    uses = request.get("uses")
    return {
        "id": row.id,
        "system": row.system,
        "status": warrants.status(row),
        "subject": {"issuer": row.subject_issuer, "id": row.subject_id},
        "actor": {"issuer": row.actor_issuer, "id": row.actor_id} if row.actor_id else None,
        "actions": request["actions"],
        "resources": request["resources"],
        "constraints": request.get("constraints"),
        "uses": uses,
        "uses_left": max(0, uses - (used or {}).get(row.id, 0)) if uses is not None else None,
        "depth": request.get("depth", 0),
        "how": row.how,
        "requested_by": row.requested_by,
        "created_at": row.created_at.isoformat(),
        "issued_at": row.issued_at.isoformat() if row.issued_at else None,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
    }


def _whole(session: Session, home: str, row: Warrant) -> dict[str, Any]:
    approval = approvals.of(session, row)
    revocation = revocations.of(session, row.system, row.id)
    return show(row, executions.counts(session, home, [row.id])) | {
        "request": row.request,
        "request_digest": row.request_digest,
        "needs_approval": row.needs_approval,
        "approvals": [_approval(approval)] if approval else [],
        "revocation": _revocation(revocation) if revocation else None,
        "obtained": row.obtained,
        "claims": row.claims,
        "token": None,
    }


def _approval(row: Approval) -> dict[str, Any]:
    return {"identity": row.identity, "issuer": row.issuer, "at": row.signed_at.isoformat()}


def _revocation(row: WarrantRevocation) -> dict[str, Any]:
    return {
        "id": row.jti,
        "status": "revoked",
        "reason": row.reason,
        "revoked_at": row.revoked_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
    }


@router.post("", status_code=201)
def ask(
    plane: PlaneOf,
    system: Name,
    body: WarrantRequest,
    response: Response,
    access: Annotated[Access, by(Scope.WARRANT_ISSUE)],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128, pattern=r"^[!-~]+$")] = None,
) -> dict[str, Any]:
    """Issue a warrant, or keep the request for approval (202). The same again with its Idempotency-Key: 200.

    A token that is bound to a system issues for that one alone: other domains take what this control plane signs.
    """
    if access.system is not None and body.audience not in {None, audience_of(plane.settings.domain, system)}:
        raise Forbidden(f"this token is bound to the system {access.system}; it issues no warrants for {body.audience}")
    asker = Asker("api", access.id, frozenset({access.name}), {"token_name": access.name})
    handed = warrants.obtain(plane, system, body, asker, idempotency_key)
    if not handed.new:
        response.status_code = 200
    elif handed.token is None:
        response.status_code = 202
    response.headers["Cache-Control"] = "no-store"
    row = handed.row
    return {
        "id": row.id,
        "status": warrants.status(row),
        "token": handed.token,
        "request_digest": row.request_digest,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
    }


@router.get("")
def list_warrants(
    plane: PlaneOf,
    system: Name,
    _: Annotated[Access, by(Scope.WARRANT_READ)],
    status: str | None = None,
    subject: Annotated[str | None, Query(max_length=4200)] = None,
    limit: Annotated[int, Query(ge=1, le=pages.MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> dict[str, Any]:
    """Warrants, newest first, by `status` and by `subject` (ISSUER#ID). `next` is the cursor of the page after."""
    conditions: list[Any] = [Warrant.system == system, *(warrants.has_status(status) if status else [])]
    if subject:
        issuer, sign, identifier = subject.partition("#")
        if not sign or "\0" in subject:
            raise Invalid("a subject is ISSUER#ID")
        conditions += [Warrant.subject_issuer == issuer, Warrant.subject_id == identifier]
    with plane.store.read() as session:
        found = pages.page(session, Warrant, conditions, col(Warrant.created_at), col(Warrant.id), limit, cursor)
        used = executions.counts(session, plane.settings.domain, [row.id for row in found.items])
    return {"items": [show(row, used) for row in found.items], "next": found.next}


@router.get("/{warrant}")
def get_warrant(
    plane: PlaneOf, system: Name, warrant: Id, response: Response, access: Annotated[Access, by(Scope.WARRANT_READ)]
) -> dict[str, Any]:
    """One warrant with its request. Its token, signed anew, is for tokens that may issue warrants."""
    with plane.store.read() as session:
        row = warrants.find(session, system, warrant)
        whole = _whole(session, plane.settings.domain, row)
    response.headers["Cache-Control"] = "no-store"
    if whole["status"] == "issued" and access.may(Scope.WARRANT_ISSUE):
        with plane.store.write() as session:
            key = warrants.signing_key(session, row)
        whole["token"] = warrants.sign(plane.keyring, key, row)
    return whole


@router.post("/{warrant}/approvals")
def approve(
    plane: PlaneOf, system: Name, warrant: Id, body: NewApproval, access: Annotated[Access, by(Scope.WARRANT_READ)]
) -> dict[str, Any]:
    """Approve a request by a signed statement, which is what counts: the API token only brings it here."""
    row = approvals.approve(plane, access, system, warrant, body.evidence)
    with plane.store.read() as session:
        return _whole(session, plane.settings.domain, row)


@router.delete("/{warrant}")
def revoke(
    plane: PlaneOf,
    system: Name,
    warrant: Id,
    access: Annotated[Access, by(Scope.WARRANT_REVOKE)],
    reason: Annotated[str, Query(max_length=1000), AfterValidator(line)] = "",
    expires_at: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
) -> dict[str, Any]:
    """Revoke a warrant or a request; it is published when this answers.

    One that was delegated, or issued elsewhere, needs its `exp` as `expires_at`.
    """
    with plane.publishing() as session:
        return _revocation(revocations.revoke(session, access, system, warrant, reason, expires_at)[0])

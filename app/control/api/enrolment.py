"""`/api/v1/join`, and a sidecar's invitation, eviction and readmission."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AfterValidator, Field, StringConstraints

from app.control import enrolment
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name, line
from app.control.enrolment import Joined
from app.control.problems import Forbidden
from app.control.rates import Rate
from app.control.store import Eviction, JoinToken
from app.control.tokens import Access, Scope

router = APIRouter(tags=["enrolment"])

_SIDECAR = "/api/v1/systems/{system}/sidecars/{sidecar}"

#: Each address: anyone may ask. A machine that starts some dozens of sidecars at once stays below.
ADDRESSES = Rate(5, 50)


class Invitation(Body):
    """How long the join token lasts."""

    expires_in_seconds: Annotated[int, Field(ge=1, le=enrolment.MAX_LIFETIME)] = enrolment.LIFETIME


class Join(Body):
    """A join token, and the sidecar that it is to be for."""

    join_token: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    system: Name
    sidecar: Name


class NewEviction(Body):
    """Why a sidecar is evicted."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(line)]


def show_invitation(row: JoinToken) -> dict[str, Any]:
    """An invitation as the API shows it, without its secret."""
    return {
        "id": row.id,
        "system": row.system,
        "sidecar": row.sidecar,
        "status": enrolment.status(row),
        "created_at": row.created_at.isoformat(),
        "created_by": row.created_by,
        "expires_at": row.expires_at.isoformat(),
        "used_at": row.used_at.isoformat() if row.used_at else None,
        "used_from": row.used_from,
        "api_token": row.api_token,
        "refusals": row.refusals,
        "refused_at": row.refused_at.isoformat() if row.refused_at else None,
        "refused_from": row.refused_from,
    }


def show_eviction(row: Eviction) -> dict[str, Any]:
    """An eviction, in force or ended."""
    return {
        "system": row.system,
        "sidecar": row.sidecar,
        "reason": row.reason,
        "evicted_at": row.evicted_at.isoformat(),
        "evicted_by": row.evicted_by_name,
        "readmitted_at": row.readmitted_at.isoformat() if row.readmitted_at else None,
        "readmitted_by": row.readmitted_by_name,
    }


@router.post(enrolment.JOIN, status_code=201)
def join(request: Request, plane: PlaneOf, body: Join) -> dict[str, Any]:
    """Exchange a join token, once, for the sidecar's API token. Open to everyone: the join token says who asks."""
    address = request.client.host if request.client else ""
    ADDRESSES.require(address, f"attempts to join from {address}")
    with plane.store.read() as session:
        known = enrolment.is_invitation(session, body.join_token)
    if known:
        with plane.store.write() as session:
            joined = enrolment.join(session, body.join_token, body.system, body.sidecar, address)
    else:
        joined = enrolment.unknown(address)
    return show_joined(joined)


def show_joined(joined: Joined) -> dict[str, Any]:
    """The sidecar's API token. Raises `Forbidden`, after the commit: what was tried is kept."""
    if joined.token is None:
        raise Forbidden(joined.refused, reason=str(joined.reason))
    return {
        "token": joined.secret,
        "id": joined.token.id,
        "system": joined.token.system,
        "sidecar": joined.token.sidecar,
        "scopes": joined.token.scopes,
    }


@router.post(_SIDECAR + "/invitations", status_code=201)
def invite(
    plane: PlaneOf, system: Name, sidecar: Name, body: Invitation, access: Annotated[Access, by(Scope.TOKEN_WRITE)]
) -> dict[str, Any]:
    """Invite a sidecar. The join token is in this answer and nowhere else."""
    with plane.store.write() as session:
        row, secret = enrolment.invite(session, access, system, sidecar, body.expires_in_seconds)
    return show_invitation(row) | {"join_token": secret}


@router.get("/api/v1/systems/{system}/invitations")
def list_invitations(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.TOKEN_WRITE)]) -> list[dict[str, Any]]:
    """The newest invitations of a system, and what became of them: used from where, refused to whom."""
    with plane.store.read() as session:
        return [show_invitation(row) for row in enrolment.invitations(session, system)]


@router.post(_SIDECAR + "/eviction")
def evict(
    plane: PlaneOf,
    system: Name,
    sidecar: Name,
    body: NewEviction,
    access: Annotated[Access, by(Scope.QUARANTINE_WRITE)],
) -> dict[str, Any]:
    """Evict a sidecar: no token of it counts when this answers. One that is evicted already stays as it is.

    `known` is false of a name that means nothing yet: it is evicted all the same, before anybody joins by it.
    """
    with plane.store.write() as session:
        row, new = enrolment.evict(session, access, system, sidecar, body.reason)
        known = enrolment.is_known(session, system, sidecar)
    return show_eviction(row) | {"new": new, "known": known}


@router.delete(_SIDECAR + "/eviction")
def readmit(
    plane: PlaneOf, system: Name, sidecar: Name, access: Annotated[Access, by(Scope.QUARANTINE_WRITE)]
) -> dict[str, Any]:
    """End an eviction. The sidecar's old tokens are revoked for good: invite it anew."""
    with plane.store.write() as session:
        return show_eviction(enrolment.readmit(session, access, system, sidecar))

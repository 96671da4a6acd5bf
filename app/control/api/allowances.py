"""`/api/v1/enrol`, and which workloads may: allowances, and the enrolments that came of them."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import StringConstraints

from app.control import allowances, enrolment, systems, workloads
from app.control.api.access import PlaneOf, by
from app.control.api.enrolment import ADDRESSES, show_joined
from app.control.api.forms import Body, Name, Text
from app.control.identity_tokens import MAX_TOKEN
from app.control.problems import Forbidden
from app.control.rates import Rate
from app.control.store import Allowance, Enrolment
from app.control.tokens import Access, Scope
from app.control.workloads import Presented
from app.core.errors import Denied
from app.core.warrants import Principal

router = APIRouter(tags=["enrolment"])
log = logging.getLogger("placet.control")

_ALLOWANCES = "/api/v1/systems/{system}/allowances"

#: A sidecar's name, or how it begins, with one trailing `*`: not every name at once.
NamePattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9*]|\*)?$")]
Number = Annotated[int, Path(ge=1, lt=2**31)]

#: Each workload: each time it writes.
_WORKLOADS = Rate(2, 50)


class NewAllowance(Body):
    """Which workload may be which sidecar."""

    sidecar: NamePattern
    issuer: Text
    subject: Text


class Enrol(Body):
    """An identity token, and the sidecar that it is to be for."""

    identity_token: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOKEN)]
    system: Name
    sidecar: Name


def show(row: Allowance) -> dict[str, Any]:
    """An allowance, in force or ended."""
    return {
        "id": row.id,
        "system": row.system,
        "sidecar": row.sidecar,
        "issuer": row.issuer,
        "subject": row.subject,
        "status": allowances.status(row),
        "not_before": row.not_before.isoformat() if row.not_before else None,
        "allowed_at": row.created_at.isoformat(),
        "allowed_by": row.created_by_name,
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        "ended_by": row.ended_by_name,
        "evicted": row.evicted,
        "refusals": row.refusals,
        "refused_at": row.refused_at.isoformat() if row.refused_at else None,
        "refused_from": row.refused_from,
    }


def show_enrolment(row: Enrolment, allowance: Allowance) -> dict[str, Any]:
    """An enrolment, with who it was and who had allowed it."""
    return {
        "system": row.system,
        "sidecar": row.sidecar,
        "issuer": allowance.issuer,
        "subject": allowance.subject,
        "allowance": row.allowance,
        "allowed_by": allowance.created_by_name,
        "enrolled_at": row.enrolled_at.isoformat(),
        "enrolled_from": row.enrolled_from,
        "identity_token": {"sha256": row.token_sha256, "issued_at": row.token_issued_at.isoformat()},
        "api_token": row.api_token,
    }


@router.post(workloads.ENROL, status_code=201)
def enrol(request: Request, plane: PlaneOf, body: Enrol) -> dict[str, Any]:
    """Exchange a workload's identity token for the sidecar's API token. Open to everyone: the token says who asks."""
    address = request.client.host if request.client else ""
    ADDRESSES.require(address, f"attempts to enrol from {address}")
    presented = Presented(body.identity_token, body.system, body.sidecar, address)
    try:
        with plane.store.read() as session:
            who = workloads.verify(session, plane.settings.domain, presented)
            known = workloads.is_known(session, who, body.system)
    except Denied as denied:
        log.warning("refused to enrol somebody as %s of %s from %s: %s", body.sidecar, body.system, address, denied)
        raise Forbidden(denied.detail, reason=str(denied.reason)) from denied
    _WORKLOADS.require(str(who.who), f"attempts to enrol by {who.who}")
    if known:
        with plane.store.write() as session:
            joined = workloads.enrol(session, who, presented)
    else:
        joined = workloads.unknown(who, presented)
    return show_joined(joined)


@router.post(_ALLOWANCES, status_code=201)
def allow(
    plane: PlaneOf, system: Name, body: NewAllowance, access: Annotated[Access, by(Scope.TOKEN_WRITE)]
) -> dict[str, Any]:
    """Let a workload enrol as a sidecar. One that may already stays as it is."""
    who = Principal(issuer=body.issuer, id=body.subject)
    with plane.store.write() as session:
        row, new = allowances.allow(session, access, plane.settings.domain, system, body.sidecar, who)
        enrolment.require_admitted(session, system, body.sidecar)  # now that no eviction is being made
    return show(row) | {"new": new}


@router.delete(_ALLOWANCES + "/{allowance}")
def disallow(
    plane: PlaneOf, system: Name, allowance: Number, access: Annotated[Access, by(Scope.TOKEN_WRITE)]
) -> dict[str, Any]:
    """Let a workload enrol no more. Sidecars that have enrolled go on: evict those that must not."""
    with plane.store.write() as session:
        return show(allowances.end(session, access, system, allowance))


@router.get(_ALLOWANCES)
def list_allowances(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.TOKEN_WRITE)]) -> list[dict[str, Any]]:
    """The newest allowances of a system, and what became of them."""
    with plane.store.read() as session:
        systems.find(session, system)
        return [show(row) for row in allowances.listed(session, system)]


@router.get("/api/v1/systems/{system}/enrolments")
def list_enrolments(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.TOKEN_WRITE)]) -> list[dict[str, Any]]:
    """The newest enrolments of a system: who, from where, and allowed by whom."""
    with plane.store.read() as session:
        systems.find(session, system)
        return [show_enrolment(row, allowance) for row, allowance in allowances.enrolments(session, system)]

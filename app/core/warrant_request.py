"""What somebody asks the control plane for: a warrant that is not signed yet, and an approver's statement over it.

The command line sends a `WarrantRequest`, the control plane keeps it, and approvers sign its digest. All three agree
on the bytes because they are made here.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from app.core import strict_json
from app.core.governance import Pattern
from app.core.statements import PLACET, statement
from app.core.targets import Line
from app.core.warrant_scope import Constraints
from app.core.warrants import MAX_DEPTH, Actor, Confirmation, Part, Principal, SubjectId, Time, Uses, WarrantClaims

#: Predicate type of an approval.
APPROVAL = f"{PLACET}/warrant-approval/v1"

#: Seconds that a warrant may last at most: 90 days.
MAX_LIFETIME = 90 * 86400


class WarrantRequest(Part):
    """Who shall be allowed to do what, and for how long."""

    subject: Principal
    #: Who uses it on the subject's behalf, when that is somebody else.
    actor: Principal | None = None
    actions: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    resources: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    constraints: Constraints | None = None
    #: Seconds from its issue, which may wait for an approval.
    lifetime_seconds: Annotated[int, Field(ge=1, le=MAX_LIFETIME)]
    not_before: Time | None = None
    uses: Uses | None = None
    depth: Annotated[int, Field(ge=0, le=MAX_DEPTH)] | None = None
    cnf: Confirmation | None = None
    #: Default: the system's own audience.
    audience: Line | None = None
    #: For approvers and records; it does not stand in the warrant.
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None

    def document(self) -> dict[str, Any]:
        """The request as JSON, without members that are absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def digest(self, system: str, jti: str) -> str:
        """`sha256:…` over the request under its id, in its system: what an approver signs."""
        whole = {"system": system, "id": jti, "request": self.document()}
        return "sha256:" + hashlib.sha256(strict_json.canonical(whole)).hexdigest()

    def claims(self, *, issuer: str, jti: str, audience: str, now: int, approval: str | None = None) -> WarrantClaims:
        """The warrant's claims when it is issued at `now` (seconds). `audience` is the system's, unless it names one;
        `approval`: the digest of the statement by which it was approved.

        Raises `pydantic.ValidationError` when `issuer`, `jti` or `audience` is not of the expected form.
        """
        return WarrantClaims(
            iss=issuer,
            sub=self.subject.id,
            sub_id=SubjectId(iss=self.subject.issuer, sub=self.subject.id),
            act=Actor(iss=self.actor.issuer, sub=self.actor.id) if self.actor else None,
            aud=self.audience or audience,
            iat=now,
            nbf=self.not_before,
            exp=now + self.lifetime_seconds,
            jti=jti,
            actions=self.actions,
            resources=self.resources,
            constraints=self.constraints or None,
            uses=self.uses,
            depth=self.depth,
            cnf=self.cnf,
            approval=approval,
        )


def approval_statement(system: str, jti: str, request: WarrantRequest) -> bytes:
    """The in-toto statement that an approver signs: its subject is the digest of the request."""
    subject = {"name": jti, "digest": {"sha256": request.digest(system, jti).removeprefix("sha256:")}}
    return statement([subject], APPROVAL, {"system": system, "warrant": jti, "request": request.document()})

"""Delegating a warrant: signing a further, narrower one with the key that the last one names. It needs no server."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from app.core.complaint import complaint
from app.core.errors import Denied, UsageError
from app.core.holder_keys import HolderKey, Jwk, thumbprint
from app.core.reason_codes import Reason
from app.core.warrant_chain import verify_links, widenings
from app.core.warrant_scope import Constraint
from app.core.warrants import (
    MAX_CHAIN,
    TYPE,
    Actor,
    Confirmation,
    Principal,
    SubjectId,
    WarrantClaims,
    bounded,
    refusal,
)


@dataclass(frozen=True)
class Delegation:
    """To whom a warrant is delegated, and how it is narrowed. What is None stays as it is."""

    subject: Principal
    actor: Principal | None = None
    actions: Sequence[str] | None = None
    resources: Sequence[str] | None = None
    #: They replace those of the same member; the others are repeated.
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    audience: str | None = None
    lifetime_seconds: int | None = None
    #: Seconds since the epoch.
    not_before: int | None = None
    uses: int | None = None
    #: How often the new holder may delegate further; it needs `holder_key`.
    depth: int = 0
    #: The new holder's public key.
    holder_key: Jwk | None = None


def delegate(chain: Sequence[str], key: HolderKey, changes: Delegation, *, now: int) -> str:
    """Sign the next warrant of `chain` (root first) with the holder's `key`. `now` is in seconds.

    Raises `UsageError` when the chain cannot be delegated with this key, and `Denied` when the result would be wider;
    both say which member is at fault.
    """
    warrants = [warrant.claims for warrant in verify_links(chain, None)]
    parent = warrants[-1]
    _require_key(parent, key)
    if parent.exp <= now:
        raise Denied(Reason.WARRANT_EXPIRED, f"warrant {parent.jti} has expired", step="delegate", field="exp")
    if len(chain) >= MAX_CHAIN:
        raise UsageError(f"a chain has at most {MAX_CHAIN} warrants; this one is full")
    child = _child(parent, changes, now)
    for reason, member, detail in widenings(parent, child):
        raise refusal(reason, detail, step="delegate", field=member)
    _require_uses(warrants, child)
    return bounded(key.sign(child.document(), TYPE))


def _child(parent: WarrantClaims, changes: Delegation, now: int) -> WarrantClaims:
    subject, actor = changes.subject, changes.actor
    constraints = {**(parent.constraints or {}), **changes.constraints}
    try:
        return WarrantClaims(
            iss=parent.holder.id,
            sub=subject.id,
            sub_id=SubjectId(iss=subject.issuer, sub=subject.id),
            act=Actor(iss=actor.issuer, sub=actor.id) if actor else None,
            aud=changes.audience or parent.aud,
            iat=now,
            nbf=parent.nbf if changes.not_before is None else changes.not_before,
            exp=parent.exp if changes.lifetime_seconds is None else now + changes.lifetime_seconds,
            jti=secrets.token_hex(16),
            actions=list(changes.actions or parent.actions),
            resources=list(changes.resources or parent.resources),
            constraints=constraints or None,
            uses=changes.uses,
            depth=changes.depth or None,
            cnf=Confirmation(jwk=changes.holder_key) if changes.holder_key else None,
        )
    except ValidationError as error:
        raise UsageError(complaint(error)) from error


def _require_key(parent: WarrantClaims, key: HolderKey) -> None:
    if parent.cnf is None:
        raise UsageError(f"warrant {parent.jti} names no key (cnf), so it cannot be delegated; issue one with a key")
    expected, given = thumbprint(parent.cnf.jwk), thumbprint(key.jwk)
    if expected != given:
        raise UsageError(f"warrant {parent.jti} names the key {expected}; the key given is {given}")


def _require_uses(warrants: Sequence[WarrantClaims], child: WarrantClaims) -> None:
    """More uses than the chain has would be promised, but never had."""
    least = min((claims.uses for claims in warrants if claims.uses is not None), default=None)
    if child.uses is not None and least is not None and child.uses > least:
        detail = f"uses is wider: {child.uses} is more than {least}, which the chain allows"
        raise Denied(Reason.WARRANT_WIDENED, detail, step="delegate", field="uses")

"""Token exchange (RFC 8693): a warrant for a subject's token and, when somebody acts for it, the actor's.

Whoever exchanges has no API token: the identity tokens say who they are, and an exchange rule of the system's
governance says what such a subject and actor may have. What comes out is a warrant like any other, with the same
approval, revocation and records.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlmodel import Session, col, select

from app.control import governance, identity_tokens, standing, systems, warrants
from app.control.governance_document import ExchangeRule
from app.control.identity_tokens import Identity
from app.control.plane import Plane
from app.control.problems import Forbidden
from app.control.store import Warrant
from app.control.warrants import Asker, Handed
from app.core import strict_json
from app.core.errors import Denied
from app.core.governance import Pattern, audience_of, control_plane_id
from app.core.reason_codes import Reason
from app.core.warrant_request import WarrantRequest
from app.core.warrant_scope import Constraint, Constraints, beyond, covers, loosened
from app.core.warrants import Confirmation, Part, Principal

#: The one type of RFC 9396 authorization details that is understood.
DETAILS_TYPE = "placet_warrant"

#: Seconds, when neither the request nor the rule says fewer.
DEFAULT_LIFETIME = 3600

#: Earlier requests that are looked through for one that waits or was approved.
_LOOK_BACK = 50
#: Requests of one subject and actor that may wait at a time: approvers must find those of others.
_MAX_WAITING = 20


class Details(Part):
    """What is asked for (RFC 9396). A member that is left out is as wide as the rule allows."""

    type: Literal["placet_warrant"] = "placet_warrant"
    actions: Annotated[list[Pattern], Field(min_length=1, max_length=32)] | None = None
    resources: Annotated[list[Pattern], Field(min_length=1, max_length=32)] | None = None
    constraints: Constraints = Field(default_factory=dict)
    lifetime_seconds: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    uses: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    depth: Annotated[int, Field(ge=0, le=8)] | None = None
    cnf: Confirmation | None = None


@dataclass(frozen=True)
class Presented:
    """An exchange as it was asked for."""

    system: str
    subject_token: str
    #: Empty: nobody acts for the subject, but whom its own token names.
    actor_token: str
    details: Details = field(default_factory=Details)


def exchange(plane: Plane, presented: Presented, admit: Callable[[str], None]) -> Handed:
    """Verify the tokens, find a rule, and obtain the warrant. Without a token in it, it waits for an approval.

    `admit` is asked, with an id of whoever exchanges, before anything is kept; it raises what it likes. Raises
    `Denied` with the reason why a token is not accepted, and `Forbidden` with one why nobody may have this.
    """
    home = plane.settings.domain
    with plane.store.read() as session:
        systems.find(session, presented.system)
        document = governance.of(session, presented.system)
        subject, actor = _identities(session, home, presented, document.max_identity_age_seconds)
        standing.require(session, home, [subject.who, *([actor] if actor else [])])
        rule = _rule(document.exchange, subject.who, actor, presented.details)
        wanted = _request(rule, subject.who, actor, presented.details)
        request = warrants.addressed(wanted, home, presented.system)
        asker = _asker(presented, subject, actor)
        admit(asker.id)
        key = _waiting(session, presented.system, asker, request) if document.approval.required else None
    return warrants.obtain(plane, presented.system, request, asker, key)


def system_of(home: str, audience: str) -> str | None:
    """The system whose audience this is; None when it is not one of this control plane."""
    prefix = audience_of(home, "")
    name = audience.removeprefix(prefix)
    return name if audience.startswith(prefix) and name and "/" not in name else None


def _identities(
    session: Session, home: str, presented: Presented, max_age: int | None
) -> tuple[Identity, Principal | None]:
    """The subject and who acts for it: whoever presents an actor token, else the actor in the subject's own token."""
    own = control_plane_id(home)

    def verified(token: str, what: str) -> Identity:
        return identity_tokens.verify(session, home, token, also_for=own, max_age=max_age, what=what)

    subject = verified(presented.subject_token, "subject_token")
    if len(subject.actors) > 1:
        detail = "the subject_token has a chain of actors; a warrant names one"
        raise Denied(Reason.IDENTITY_ACTORS, detail, step="subject_token")
    if not presented.actor_token:
        return subject, next(iter(subject.actors), None)
    actor = verified(presented.actor_token, "actor_token")
    if actor.actors or subject.actors not in ((), (actor.who,)):
        raise Denied(Reason.IDENTITY_ACTORS, "a warrant names one actor; the tokens name several", step="actor_token")
    may_act = subject.claims.get("may_act")
    if may_act is not None and not _is_named(actor, may_act):
        raise Denied(Reason.IDENTITY_ACTORS, "the subject's token lets another one act (may_act)", step="actor_token")
    return subject, actor.who


def _is_named(actor: Identity, may_act: Any) -> bool:
    """Whether a `may_act` claim (RFC 8693, section 4.4) names the actor."""
    named = {"sub", "iss"} & set(may_act) if isinstance(may_act, dict) else set()
    said = {"iss": actor.who.issuer, "sub": actor.who.id}
    return "sub" in named and all(may_act[name] == said[name] for name in named)


def _rule(rules: Sequence[ExchangeRule], subject: Principal, actor: Principal | None, wanted: Details) -> ExchangeRule:
    """The first rule for this subject and actor that covers what is wanted."""
    for rule in rules:
        if _is_for(rule, subject, actor) and _covers(rule, wanted):
            return rule
    acting = f" with {actor.id} acting for it" if actor else ""
    raise Forbidden(
        f"no exchange rule gives {subject.id}{acting} what is asked for", reason=str(Reason.WARRANT_NOT_GRANTED)
    )


def _is_for(rule: ExchangeRule, subject: Principal, actor: Principal | None) -> bool:
    if rule.issuer != subject.issuer or not covers([rule.subject], subject.id):
        return False
    if rule.actor is None or actor is None:
        return rule.actor is None and actor is None
    return rule.actor.issuer == actor.issuer and covers([rule.actor.subject], actor.id)


def _covers(rule: ExchangeRule, wanted: Details) -> bool:
    """Whether everything that is asked for lies within the rule."""
    bounds = _constraints(rule)
    return (
        beyond(wanted.actions or [], rule.actions) is None
        and beyond(wanted.resources or [], rule.resources) is None
        and loosened({**bounds, **wanted.constraints}, bounds) is None
        and (wanted.lifetime_seconds or 0) <= rule.max_lifetime_seconds
        and (rule.uses is None or (wanted.uses or 0) <= rule.uses)
        and (wanted.depth or 0) <= rule.depth
    )


def _request(rule: ExchangeRule, subject: Principal, actor: Principal | None, wanted: Details) -> WarrantRequest:
    """What is wanted, and the rule's bound wherever nothing was said."""
    return WarrantRequest(
        subject=subject,
        actor=actor,
        actions=wanted.actions or rule.actions,
        resources=wanted.resources or rule.resources,
        constraints={**_constraints(rule), **wanted.constraints} or None,
        lifetime_seconds=wanted.lifetime_seconds or min(rule.max_lifetime_seconds, DEFAULT_LIFETIME),
        uses=wanted.uses or rule.uses,
        depth=wanted.depth or None,
        cnf=wanted.cnf,
    )


def _constraints(rule: ExchangeRule) -> dict[str, Constraint]:
    return {member: Constraint.model_validate(bound) for member, bound in rule.constraints.items()}


def _asker(presented: Presented, subject: Identity, actor: Principal | None) -> Asker:
    """Whoever exchanged: filed under a digest of their names, with digests of the tokens they presented."""
    names = {subject.who.id, *([actor.id] if actor else [])}
    email = subject.claims.get("email")
    if isinstance(email, str) and email.isprintable():
        names.add(email[:2048])
    who = [str(subject.who), str(actor) if actor else None]
    obtained: dict[str, Any] = {"subject_token": _described(presented.subject_token, subject.claims)}
    if presented.actor_token:
        obtained["actor_token"] = {"sha256": sha256(presented.actor_token.encode()).hexdigest()}
    return Asker("exchange", sha256(strict_json.canonical(who)).hexdigest(), frozenset(names), obtained)


def _described(token: str, claims: Mapping[str, Any]) -> dict[str, Any]:
    """Enough to find a token in its issuer's records, and nothing that could be used."""
    described: dict[str, Any] = {"sha256": sha256(token.encode()).hexdigest()}
    jti = claims.get("jti")
    if isinstance(jti, str) and jti.isprintable():
        described["jti"] = jti[:256]
    return described


def _waiting(session: Session, system: str, asker: Asker, request: WarrantRequest) -> str:
    """The key of the same request made before, which waits or was approved and lasts; else one of its own.

    Raises `Forbidden` when too many wait.
    """
    query = select(Warrant).where(Warrant.system == system, Warrant.requested_by == asker.id)
    rows = session.exec(query.order_by(col(Warrant.created_at).desc()).limit(_LOOK_BACK)).all()
    for row in rows:
        if row.idempotency_key and row.request == request.document() and warrants.status(row) in {"pending", "issued"}:
            return row.idempotency_key
    if sum(warrants.status(row) == "pending" for row in rows) >= _MAX_WAITING:
        raise Forbidden(f"{_MAX_WAITING} requests wait for an approval already", reason=str(Reason.WARRANT_UNAPPROVED))
    return f"exchange {secrets.token_urlsafe(16)}"

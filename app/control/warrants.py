"""Warrants: asked for, approved where a system requires it, issued once, handed out as often as the asker repeats.

No token is kept: a warrant is signed anew from its claims whenever it is handed out, so what can be stolen from the
database authorizes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from app.control import governance, keyring, standing, systems
from app.control.keyring import Keyring
from app.control.plane import Plane
from app.control.problems import Conflict, Forbidden, Invalid, NotFound
from app.control.store import SigningKey, Warrant
from app.control.store.columns import now
from app.core import strict_json
from app.core.complaint import complaint
from app.core.governance import audience_of, control_plane_id
from app.core.reason_codes import Reason
from app.core.warrant_request import WarrantRequest
from app.core.warrants import MAX_TOKEN, TYPE

#: A request that nobody approved by then is over.
PENDING_FOR = timedelta(days=1)

#: Characters of header, signature and dots of a warrant, at most.
_FRAME = 256

STATUSES = ("pending", "issued", "revoked", "expired")


@dataclass(frozen=True)
class Asker:
    """Who asks: an API token's holder (`api`), or whoever exchanges identity tokens (`exchange`)."""

    how: str
    #: What repeats are compared by.
    id: str
    #: Names under which they are known: none of them may approve their own request.
    names: frozenset[str] = frozenset()
    #: For people who look at it later; no token.
    obtained: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Handed:
    """A warrant as it is handed out: its token, unless it waits or is over, and whether it was asked for just now."""

    row: Warrant
    token: str | None
    new: bool


def obtain(plane: Plane, system: str, request: WarrantRequest, asker: Asker, key: str | None = None) -> Handed:
    """Ask, and sign what was issued. Raises what `ask` does, and `Unavailable` when the key cannot sign now."""
    for attempt in (1, 2):
        try:
            with plane.store.write() as session:
                row, new = ask(session, plane.settings.domain, system, request, asker, key)
                signs = signing_key(session, row) if status(row) == "issued" else None
            break
        except IntegrityError:
            if key is None or attempt == 2:
                raise  # the same request came twice at once: the other one was first, so this one finds it now
    return Handed(row, sign(plane.keyring, signs, row) if signs else None, new)


def ask(
    session: Session, home: str, system: str, request: WarrantRequest, asker: Asker, key: str | None = None
) -> tuple[Warrant, bool]:
    """A new warrant, or the one that the same asker asked for under the same idempotency `key`, and whether it is new.

    It is issued at once unless the system requires an approval. Raises `Invalid`, `Forbidden` with a reason,
    `NotFound`, and `Conflict` when the key stands for something else.
    """
    systems.find(session, system)
    governance.require_text(request.document())
    request = addressed(request, home, system)
    if key is not None and (found := _asked_before(session, system, asker, key)) is not None:
        if found.request != request.document():
            raise Conflict("this Idempotency-Key was used for another request; choose another one")
        return found, False
    identifier = secrets.token_hex(16)  # a hyphen in front would make it an option of commands
    _require_usable(session, home, system, request, identifier)
    needs_approval = governance.of(session, system).approval.required
    row = Warrant(
        id=identifier,
        system=system,
        request=request.document(),
        request_digest=request.digest(system, identifier),
        subject_issuer=request.subject.issuer,
        subject_id=request.subject.id,
        actor_issuer=request.actor.issuer if request.actor else None,
        actor_id=request.actor.id if request.actor else None,
        how=asker.how,
        requested_by=asker.id,
        obtained={**asker.obtained, "names": sorted(asker.names)},
        idempotency_key=key,
        needs_approval=needs_approval,
    )
    if not needs_approval:
        issue(row, home)
    session.add(row)
    session.flush()
    return row, True


def addressed(request: WarrantRequest, home: str, system: str) -> WarrantRequest:
    """The request with the audience that it will have. Approvers sign it, so it names the domain: an approval that was
    given to another control plane, for a system of the same name, is none here."""
    return request if request.audience else request.model_copy(update={"audience": audience_of(home, system)})


def issue(row: Warrant, home: str, approval: str | None = None) -> None:
    """Fix the claims, as of now. From here on the warrant can be signed. `approval`: the digest of its statement."""
    at = int(now().timestamp())
    audience = audience_of(home, row.system)
    claims = request_of(row).claims(
        issuer=control_plane_id(home), jti=row.id, audience=audience, now=at, approval=approval
    )
    row.claims = claims.document()
    row.issued_at = datetime.fromtimestamp(at, UTC)
    row.expires_at = datetime.fromtimestamp(claims.exp, UTC)


def signing_key(session: Session, row: Warrant) -> SigningKey:
    """The key that signs an issued warrant now, in a transaction that writes. Raises `Forbidden` with a reason."""
    match status(row):
        case "issued":
            assert row.claims is not None
            return keyring.reserve(session, "warrant", row.claims["exp"])
        case "pending":
            raise Forbidden(f"{row.id} waits for an approval", reason=str(Reason.WARRANT_UNAPPROVED))
        case "revoked":
            raise Forbidden(f"{row.id} was revoked", reason=str(Reason.WARRANT_REVOKED))
        case _:
            raise Forbidden(f"{row.id} has expired", reason=str(Reason.WARRANT_EXPIRED))


def sign(keys: Keyring, key: SigningKey, row: Warrant) -> str:
    """The warrant itself; outside of transactions, since a key may lie far away."""
    assert row.claims is not None
    return keys.jwt(key, row.claims, TYPE)


def status(row: Warrant) -> str:
    """`pending`, `issued`, `revoked` or `expired`."""
    if row.revoked_at is not None:
        return "revoked"
    until = row.expires_at or row.created_at + PENDING_FOR
    if until <= now():
        return "expired"
    return "issued" if row.claims is not None else "pending"


def has_status(wanted: str) -> Iterable[ColumnElement[bool]]:
    """The conditions under which `status` gives `wanted`."""
    at = now()
    unrevoked, unissued = col(Warrant.revoked_at).is_(None), col(Warrant.issued_at).is_(None)
    late = col(Warrant.created_at) <= at - PENDING_FOR
    match wanted:
        case "revoked":
            return [col(Warrant.revoked_at).is_not(None)]
        case "pending":
            return [unrevoked, unissued, ~late]
        case "issued":
            return [unrevoked, ~unissued, col(Warrant.expires_at) > at]
        case "expired":
            return [unrevoked, (unissued & late) | (~unissued & (col(Warrant.expires_at) <= at))]
        case _:
            raise Invalid(f"the status must be one of {', '.join(STATUSES)}")


def find(session: Session, system: str, identifier: str, *, to_change: bool = False) -> Warrant:
    """The warrant of that id in a system. Raises `NotFound`."""
    row = session.get(Warrant, identifier, with_for_update=to_change)
    if row is None or row.system != system:
        raise NotFound(f"there is no warrant {identifier} in {system}")
    return row


def request_of(row: Warrant) -> WarrantRequest:
    """What was asked for."""
    return WarrantRequest.model_validate(row.request)


def _asked_before(session: Session, system: str, asker: Asker, key: str) -> Warrant | None:
    return session.exec(
        select(Warrant).where(
            Warrant.system == system, Warrant.requested_by == asker.id, Warrant.idempotency_key == key
        )
    ).first()


def _require_usable(session: Session, home: str, system: str, request: WarrantRequest, identifier: str) -> None:
    """Fail unless some sidecar would take the warrant: what nobody takes is better refused now."""
    principals = [request.subject, *([request.actor] if request.actor else [])]
    audience = request.audience or audience_of(home, system)
    if audience == audience_of(home, system):
        standing.require(session, home, principals)
    elif audience.startswith(audience_of(home, "")):
        raise Forbidden(f"{audience} is another system of this control plane; ask for its warrants there")
    for pattern in request.resources:
        if "/" not in pattern and not pattern.endswith("*"):
            raise Invalid(f"the resource {pattern!r} must be TYPE/ID, or a prefix with one trailing *")
    at = int(now().timestamp())
    if request.not_before is not None and request.not_before >= at + request.lifetime_seconds:
        raise Invalid("it would expire before it is valid: not_before lies beyond the lifetime")
    try:
        claims = request.claims(issuer=control_plane_id(home), jti=identifier, audience=audience, now=at)
    except ValidationError as error:
        raise Invalid(complaint(error)) from error
    length = len(strict_json.canonical(claims.document())) * 4 // 3 + _FRAME
    if length > MAX_TOKEN:
        raise Invalid(f"the warrant would be about {length} characters long; at most {MAX_TOKEN} are accepted")

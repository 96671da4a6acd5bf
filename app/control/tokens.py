"""API tokens: `placet_ID_SECRET`, with scopes, hashed at rest, perhaps bound to one system, or one sidecar of it."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from sqlmodel import Session, col, select

from app.control.problems import Conflict, Forbidden, Invalid, NotFound
from app.control.store import ApiToken, System, sealing
from app.control.store.columns import now

log = logging.getLogger("placet.control")

_PREFIX = "placet"

#: Rows of tokens that had the seals with which they were written: what says the same was written so.
_OURS: set[tuple[bytes, str]] = set()
_REMEMBERED = 4096
_NOBODY = "0" * 64


class Scope(StrEnum):
    """What a token may do. `admin` is all of them."""

    ADMIN = "admin"
    SYSTEM_READ = "system:read"
    SYSTEM_WRITE = "system:write"
    RELEASE_WRITE = "release:write"
    CHANNEL_WRITE = "channel:write"
    QUARANTINE_WRITE = "quarantine:write"
    ISSUER_WRITE = "issuer:write"
    TOKEN_WRITE = "token:write"  # noqa: S105 - the name of a scope
    DECISION_READ = "decision:read"
    RECORD_WRITE = "record:write"
    GOVERNANCE_WRITE = "governance:write"
    WARRANT_READ = "warrant:read"
    WARRANT_ISSUE = "warrant:issue"
    WARRANT_REVOKE = "warrant:revoke"
    EXECUTION_WRITE = "execution:write"
    ENVIRONMENT_WRITE = "environment:write"
    METRICS_READ = "metrics:read"


#: What a sidecar needs, and all that a token which is bound to one may have.
SIDECAR_SCOPES = (Scope.RECORD_WRITE, Scope.EXECUTION_WRITE, Scope.ENVIRONMENT_WRITE)


@dataclass(frozen=True)
class Access:
    """Who is asking, by their token."""

    id: str
    name: str
    scopes: frozenset[Scope]
    system: str | None
    #: The one sidecar of `system` that it acts for; None: not bound to one.
    sidecar: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the token has `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: Scope, system: str | None = None, sidecar: str | None = None) -> None:
        """Fail unless the token has `scope` and, when it is bound to a system or a sidecar, acts for that one."""
        if not self.may(scope):
            raise Forbidden(f"this token lacks the scope {scope}")
        if self.system is not None and self.system != system:
            raise Forbidden(f"this token is bound to the system {self.system}")
        if self.sidecar is not None and self.sidecar != sidecar:
            raise Forbidden(f"this token is bound to the sidecar {self.sidecar} of {self.system}")


def parts(presented: str, prefix: str) -> tuple[str, str]:
    """The id and the secret of a text `PREFIX_ID_SECRET`; the id is empty for what cannot be one.

    A database fails at some texts, such as one with a NUL in it.
    """
    found, _, rest = presented.partition("_")
    identifier, _, secret = rest.partition("_")
    return (identifier if found == prefix and identifier.isascii() and identifier.isalnum() else ""), secret


def is_secret(secret: str, expected: str | None) -> bool:
    """Whether `secret` is the one with this hash. Takes as long where there is none."""
    return hmac.compare_digest(expected or _NOBODY, hashed(secret))


def hashed(secret: str) -> str:
    """How secrets are kept."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def authenticate(session: Session, presented: str) -> Access | None:
    """Whose token this is; None when it is malformed, unknown, wrong or revoked."""
    identifier, secret = parts(presented, _PREFIX)
    token = session.get(ApiToken, identifier) if identifier else None
    right = is_secret(secret, token.secret_sha256 if token else None)
    return _access(token) if token and right and _is_ours(session, token) else None


def recall(session: Session, identifier: str) -> Access | None:
    """The access of a token that was authenticated before; None once it is revoked."""
    token = session.get(ApiToken, identifier)
    return _access(token) if token and _is_ours(session, token) else None


def _is_ours(session: Session, token: ApiToken) -> bool:
    """Whether the control plane wrote this row so: who can write to the database gives himself no token."""
    row = (sealing.seals_of(session).own_name(), token.model_dump_json())
    if row in _OURS:
        return True
    if not sealing.are_as_written(session, token):
        log.error(
            "the API token %s is not as the control plane wrote it, and is refused: see placet server fsck", token.id
        )
        return False
    if len(_OURS) >= _REMEMBERED:
        _OURS.clear()
    _OURS.add(row)
    return True


def create(
    session: Session,
    by: Access | None,
    name: str,
    scopes: Sequence[Scope],
    system: str | None = None,
    sidecar: str | None = None,
) -> tuple[ApiToken, str]:
    """A new token and its secret, which exists nowhere else. `by` None is the set-up of the server itself."""
    if not scopes:
        raise Invalid("a token needs at least one scope")
    if by is not None:
        require_givable(by, scopes, system)
    if sidecar is not None:
        if system is None:
            raise Invalid("a token of one sidecar must name its system too")
        if beyond := [str(scope) for scope in scopes if scope not in SIDECAR_SCOPES]:
            raise Invalid(f"a token of one sidecar has {', '.join(SIDECAR_SCOPES)} at most, not {', '.join(beyond)}")
    if system is not None and session.get(System, system) is None:
        raise NotFound(f"there is no system {system}")
    return issue(session, name, scopes, system, sidecar, created_by=by.id if by else None)


def require_givable(by: Access, scopes: Sequence[Scope], system: str | None) -> None:
    """Raise `Forbidden` unless `by` has all of these scopes and, when it is bound to a system, gives them for that."""
    if lacking := [str(scope) for scope in scopes if not by.may(scope)]:
        raise Forbidden(f"a token cannot give what it does not have: {', '.join(lacking)}")
    if by.system is not None and by.system != system:
        raise Forbidden(f"this token is bound to the system {by.system}; so must be the one that it creates")


def issue(
    session: Session,
    name: str,
    scopes: Sequence[Scope],
    system: str | None,
    sidecar: str | None,
    *,
    created_by: str | None,
) -> tuple[ApiToken, str]:
    """A new token for whoever was found to deserve it, and its secret."""
    secret = secrets.token_urlsafe(32)
    token = ApiToken(
        id=secrets.token_hex(6),
        name=name,
        secret_sha256=hashed(secret),
        scopes=sorted({str(scope) for scope in scopes}),
        system=system,
        sidecar=sidecar,
        created_by=created_by,
    )
    session.add(token)
    session.flush()
    return token, f"{_PREFIX}_{token.id}_{secret}"


def revoke(session: Session, by: Access, identifier: str) -> ApiToken:
    """Revoke a token from now on. One cannot revoke what has more power than oneself, nor the last administrator."""
    token = session.get(ApiToken, identifier)
    access = _access(token) if token else None
    if token is None or access is None:
        raise NotFound(f"there is no token {identifier}")
    if any(not by.may(scope) for scope in access.scopes) or (by.system is not None and by.system != access.system):
        raise Forbidden("a token cannot revoke one that may do more than itself")
    if Scope.ADMIN in access.scopes and access.system is None and _administrators(session) == [token.id]:
        raise Conflict("this is the last administrator's token; create another one first")
    token.revoked_at = now()
    session.add(token)
    return token


def listed(session: Session, by: Access) -> list[ApiToken]:
    """The tokens that are in force; a bound token sees those of its system."""
    query = select(ApiToken).where(col(ApiToken.revoked_at).is_(None)).order_by(col(ApiToken.created_at))
    if by.system is not None:
        query = query.where(ApiToken.system == by.system)
    return list(session.exec(query))


def _administrators(session: Session) -> list[str]:
    query = select(ApiToken).where(col(ApiToken.revoked_at).is_(None), col(ApiToken.system).is_(None))
    return [token.id for token in session.exec(query) if Scope.ADMIN in token.scopes]


def _access(token: ApiToken) -> Access | None:
    if token.revoked_at is not None:
        return None
    known = {str(scope) for scope in Scope}
    scopes = frozenset(Scope(scope) for scope in token.scopes if scope in known)
    return Access(token.id, token.name, scopes, token.system, token.sidecar)

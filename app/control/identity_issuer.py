"""The control plane as an OpenID Connect issuer for its own sidecars and itself, so that Fulcio gives certificates.

A sidecar's identity is its SPIFFE ID; nobody else gets a token here, but the control plane itself, which signs what it
says of breaks. Whoever checks one reads two public documents
(OpenID Connect Discovery 1.0, RFC 7517). The keys are those of the keyring's purpose `identity`, and of nothing else.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from sqlmodel import Session

from app.control import enrolment, systems
from app.control.keyring import Keyring
from app.control.plane import Plane
from app.control.problems import Forbidden, NotFound, Unavailable
from app.control.tokens import Access, Scope
from app.core import loopback
from app.core.errors import UsageError
from app.core.governance import control_plane_id, sidecar_id

#: The audience of tokens that Fulcio takes.
AUDIENCE = "sigstore"
#: Seconds that a token is valid: Fulcio sees it once, within the same second or so.
LIFETIME = 300

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/oauth/identity-keys"


@dataclass(frozen=True)
class Issued:
    """A token and when it expires."""

    token: str
    expires_at: datetime


def issue(plane: Plane, by: Access, system: str, sidecar: str) -> Issued:
    """An identity token for a sidecar, whose own token `by` must be: one that is bound to this very sidecar.

    Raises `Forbidden` for any other token, with the reason `sidecar.evicted` once the sidecar is, and `Unavailable`
    when no issuer is named or no key signs.
    """
    by.require(Scope.RECORD_WRITE, system, sidecar)
    if (by.system, by.sidecar) != (system, sidecar):
        # A token of the whole system could else sign as any of its sidecars.
        raise Forbidden(
            f"an identity is given to the sidecar alone: this token is not bound to {sidecar} of {system} "
            "(placet sidecar invite, or placet token create --sidecar)"
        )
    with plane.store.write() as session:
        systems.find(session, system)
        enrolment.require_admitted(session, system, sidecar)
        return _signed(plane, session, sidecar_id(plane.settings.domain, system, sidecar))


def own(plane: Plane) -> str:
    """An identity token of the control plane's own, by which it signs what it says of its sidecars.

    Raises `Unavailable` when no issuer is named or no key signs.
    """
    with plane.store.write() as session:
        return _signed(plane, session, control_plane_id(plane.settings.domain)).token


def _signed(plane: Plane, session: Session, subject: str) -> Issued:
    issued_at = int(time.time())
    claims = {
        "iss": _named(plane),
        "sub": subject,
        "aud": AUDIENCE,
        "iat": issued_at,
        "exp": issued_at + LIFETIME,
        "jti": secrets.token_urlsafe(16),
    }
    token = plane.keyring.sign(session, "identity", claims, "JWT")
    return Issued(token, datetime.fromtimestamp(issued_at + LIFETIME, UTC))


def discovery(plane: Plane) -> dict[str, Any]:
    """What stands at `DISCOVERY`. Raises `NotFound` when no issuer is named."""
    issuer = _named(plane, NotFound)
    return {
        "issuer": issuer,
        "jwks_uri": issuer + KEYS,
        # Clients require these two. Nobody logs in here: a sidecar asks the API for its token.
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        # Fulcio takes no token of an algorithm that is not named here.
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["iss", "sub", "aud", "iat", "exp", "jti"],
    }


def keys(session: Session) -> dict[str, Any]:
    """The public keys as a JWK set: the next one before it signs, and an old one while what it signed is valid."""
    return {"keys": list(Keyring.published(session, "identity").values())}


def issuer_url(text: str) -> str:
    """Check a URL under which the control plane is to be the issuer. Raises `UsageError`.

    Tokens and certificates name it letter by letter, so one that could be written in two ways is refused.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"--identity-issuer {text!r} is no URL") from error
    if parts.scheme not in {"https", "http"} or not host or text != text.strip():
        raise UsageError(f"--identity-issuer {text!r}: give an address such as https://placet.example.org")
    if parts.scheme == "http" and host not in loopback.NAMES:
        raise UsageError("--identity-issuer must be https: over plain http anyone on the way could give its keys")
    if parts.username is not None or "?" in text or "#" in text or text.endswith("/"):
        raise UsageError(f"--identity-issuer {text!r}: without user, query or fragment, and without a slash at the end")
    return text


def _named(plane: Plane, missing: type[NotFound | Unavailable] = Unavailable) -> str:
    if not plane.identity_issuer:
        raise missing("this control plane names no issuer of identities: placet server run --identity-issuer URL")
    return plane.identity_issuer

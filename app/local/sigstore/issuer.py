"""An OpenID Connect issuer for development: it vouches for whatever identity the owner of its key names.

It serves the two documents by which others check its tokens (OpenID Connect Discovery 1.0, RFC 7517). Tokens are
minted from the key file, never over HTTP: who may read the key may be anybody, and nobody else may.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.core import strict_json
from app.core.errors import PlacetError, UsageError
from app.core.serving import ThreadedServer
from app.local.sigstore.keys import Keys

#: The audience of tokens that Fulcio takes.
SIGSTORE_AUDIENCE = "sigstore"

#: Seconds that a token is valid unless told otherwise: as long as a certificate that Fulcio makes.
DEFAULT_TTL = 600
MAX_TTL = 86_400

_ALGORITHM = "ES256"
_EMAIL = re.compile(r"[^@\s/:]+@[^@\s/:]+")
#: Claims that the issuer alone sets.
_OWN_CLAIMS = frozenset({"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "email", "email_verified"})


@dataclass(frozen=True)
class Issuer:
    """The issuer at `url`, which signs with the key in `keys`. Needs no running server to mint tokens."""

    url: str
    keys: Keys

    def token(
        self, identity: str, audience: str = SIGSTORE_AUDIENCE, ttl: float = DEFAULT_TTL, **claims: object
    ) -> str:
        """A signed identity token (JWT, ES256) for `identity`, valid for `ttl` seconds from now.

        An identity of the form `name@host` also becomes a verified `email` claim; Fulcio takes no other, so
        the audience `sigstore` needs it. Raises `UsageError` for anything that makes no sense.
        """
        email = _EMAIL.fullmatch(identity) is not None
        if not identity or identity != identity.strip():
            raise UsageError(f"{identity!r} is no identity: give a name, such as dev@example.org")
        if audience == SIGSTORE_AUDIENCE and not email:
            raise UsageError(
                f"the local Fulcio signs for e-mail identities only: give one such as dev@example.org, or, for "
                f"the workload {identity!r}, another audience than {SIGSTORE_AUDIENCE!r}"
            )
        if not audience:
            raise UsageError("the audience is empty: name the service that will check the token")
        if not 1 <= ttl <= MAX_TTL:
            raise UsageError(f"a token lives 1 to {MAX_TTL} seconds, not {ttl:g}")
        if taken := sorted(_OWN_CLAIMS & claims.keys()):
            raise UsageError(f"the issuer sets the claim {taken[0]!r} itself")
        now = int(time.time())
        content: dict[str, Any] = {
            **claims,
            "iss": self.url,
            "sub": identity,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + int(ttl),
            "jti": secrets.token_urlsafe(16),
        }
        if email:
            content |= {"email": identity, "email_verified": True}
        key = self._key()
        return jwt.encode(content, key, algorithm=_ALGORITHM, headers={"kid": _jwk(key)["kid"]})

    def jwks(self) -> dict[str, Any]:
        """The public key as a JWK set (RFC 7517)."""
        return {"keys": [_jwk(self._key())]}

    def discovery(self) -> dict[str, Any]:
        """What stands at `/.well-known/openid-configuration`; Fulcio takes no ES256 that is not named there."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            # Clients require the member. Nobody logs in here: tokens come from `placet sigstore token`.
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_ALGORITHM],
            "claims_supported": ["iss", "sub", "aud", "iat", "nbf", "exp", "email", "email_verified"],
        }

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.keys.issuer_key.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PlacetError(f"{self.keys.issuer_key} holds a key of another kind than ECDSA P-256")
        return key


class IssuerServer:
    """Serves an issuer's public documents from a thread of this process, on an already bound socket."""

    def __init__(self, issuer: Issuer, listener: socket.socket) -> None:
        documents = {"/.well-known/openid-configuration": issuer.discovery(), "/jwks": issuer.jwks()}
        routes = [Route(path, _answer_with(document)) for path, document in documents.items()]
        self._server = ThreadedServer(Starlette(routes=routes), listener, "oidc-issuer")

    def start(self) -> None:
        """Begin to answer; the caller asks the URL whether it does."""
        self._server.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.stop()


def _answer_with(document: dict[str, Any]) -> Any:
    async def answer(_: Request) -> JSONResponse:
        return JSONResponse(document)

    return answer


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public part as a JWK whose id is its RFC 7638 thumbprint."""
    numbers = key.public_key().public_numbers()
    x, y = (_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    required = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    thumbprint = hashlib.sha256(strict_json.canonical(required)).digest()
    return {**required, "kid": _base64url(thumbprint), "alg": _ALGORITHM, "use": "sig"}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

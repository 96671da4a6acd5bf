"""A local Sigstore that also trusts an issuer of SPIFFE identities, and who signs what with it."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.core.serving import ThreadedServer
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity
from app.local.sigstore import LocalSigstore

DOMAIN = "example.org"
SIDECAR = f"spiffe://{DOMAIN}/sidecar/payments/a"
RELEASER = "dev@example.org"


class SpiffeIssuer:
    """An issuer of workload identities, served on loopback."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        discovery = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        keys = {"keys": [{**jwk, "kid": "k", "alg": "ES256", "use": "sig"}]}
        documents = {"/.well-known/openid-configuration": discovery, "/jwks": keys}
        routes = [Route(path, self._answer(document)) for path, document in documents.items()]
        self._server = ThreadedServer(Starlette(routes=routes), listener, "spiffe-issuer")

    @staticmethod
    def _answer(document: dict[str, Any]) -> Any:
        async def answer(_: Any) -> JSONResponse:
            return JSONResponse(document)

        return answer

    def __enter__(self) -> SpiffeIssuer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def token(self, identity: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "sub": identity, "aud": "sigstore", "iat": now, "exp": now + 300}
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": "k"})


class Stand:
    """A running Sigstore with a SPIFFE issuer, and who signs what. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._running = ExitStack()
        self._directory = directory

    def __enter__(self) -> Stand:
        with ExitStack() as starting:
            self.issuer = starting.enter_context(SpiffeIssuer())
            self.sigstore = starting.enter_context(
                LocalSigstore(self._directory, spiffe_issuers={self.issuer.url: DOMAIN})
            )
            self.trust_config = self.sigstore.trust_config
            self.trust = TrustConfig.from_file(self.trust_config)
            self.sidecar = SignerIdentity(identity=SIDECAR, issuer=self.issuer.url)
            self.releaser = SignerIdentity(identity=RELEASER, issuer=self.sigstore.issuer_url)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @cache  # noqa: B019 - lives as long as the stand
    def session(self, identity: str) -> SigningSession:
        spiffe = identity.startswith("spiffe:")
        return SigningSession(self.trust, self.issuer.token(identity) if spiffe else self.sigstore.token(identity))

    def sign(self, wanted: dict[str, tuple[str, bytes]]) -> dict[str, bytes]:
        """Sign statements by name, each (identity, statement), at once: each waits about a second for the log."""
        for identity in {identity for identity, _ in wanted.values()}:
            self.session(identity)
        with ThreadPoolExecutor(min(32, len(wanted))) as pool:
            signed = pool.map(lambda one: self.session(one[0]).sign(one[1]), wanted.values())
            return dict(zip(wanted, signed, strict=True))

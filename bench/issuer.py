"""Who a test stand trusts: an issuer of identities, warrants or execution tokens, and the trust state that says so."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from app.sidecar.trust_keys import usual_headers

ISSUER = "https://issuer.example"
AUDIENCE = "payments"
DOMAIN = "example.org"
#: What warrants and execution tokens for the stand's system name as their audience.
SYSTEM = f"spiffe://{DOMAIN}/system/payments"
SIDECAR = f"spiffe://{DOMAIN}/sidecar/payments/stand"
CONTROL_PLANE = f"spiffe://{DOMAIN}/control-plane"
NOBODY: dict[str, Any] = {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}


def digest(raw: bytes) -> str:
    """`sha256:` and the hexadecimal digest."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


class Issuer:
    """An issuer of workload identities with one Ed25519 key."""

    def __init__(self, name: str = ISSUER, kid: str = "k1") -> None:
        self.name, self.kid = name, kid
        self.key = Ed25519PrivateKey.generate()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims with `changes`; a value of None leaves the claim out."""
        now = int(time.time())
        claims = {
            "iss": self.name,
            "sub": "spiffe://example.org/api",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 3600,
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A signed token."""
        return jwt.encode(self.claims(**changes), self.key, "EdDSA", headers={"kid": self.kid, **(headers or {})})

    def sign(self, header: Any, payload: Any, *, blank: str = "") -> str:
        """Sign anything as JSON, also what no library would write: `blank` comes before each brace and after it."""
        said = (json.dumps(part).replace("{", f"{blank}{{{blank}") for part in (header, payload))
        head, body = (_base64url(text.encode()) for text in said)
        return f"{head}.{body}." + _base64url(self.key.sign(f"{head}.{body}".encode()))

    def warrant(self, holder: str, *, issuer: str = ISSUER, **changes: Any) -> str:
        """A root warrant for a subject of `issuer`; a value of None leaves the claim out."""
        now = int(time.time())
        claims = {
            "iss": self.name,
            "sub": holder,
            "sub_id": {"format": "iss_sub", "iss": issuer, "sub": holder},
            "aud": SYSTEM,
            "iat": now,
            "exp": now + 3600,
            "jti": secrets.token_urlsafe(12),
            "actions": ["refund"],
            "resources": ["payment/*"],
            "constraints": {"amount": {"at_most": 100}},
        } | changes
        payload = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(payload, self.key, "EdDSA", headers={"kid": self.kid, "typ": "warrant+jwt"})

    def execution(self, execution: str, claims: Mapping[str, Any], *, seconds: int = 3500) -> str:
        """The token of an execution: what `start` gave, signed as the agent does."""
        now = int(time.time())
        issued = {"iss": SIDECAR, "aud": SYSTEM, "iat": now, "exp": now + seconds, "exe": execution}
        return jwt.encode({**claims, **issued}, self.key, "EdDSA", headers={"kid": self.kid, "typ": "execution+jwt"})

    def keys(self) -> dict[str, Any]:
        """Its public key, as trust state holds keys."""
        jwk = OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True) | {"kid": self.kid}
        return {self.kid: {"alg": "EdDSA", "jwks": json.dumps({"keys": [jwk]})}}

    def trusted(self, *audiences: str, names: str = "spiffe://example.org/", domain: str = DOMAIN) -> dict[str, Any]:
        """The issuer as trust state holds it."""
        return {
            "kind": "oidc",
            "domain": domain,
            "names": names,
            "audiences": list(audiences or [AUDIENCE]),
            "keys": self.keys(),
        }


def execution_claims(subject: str) -> dict[str, Any]:
    """What a start without warrants says of a subject of the home domain, for `Issuer.execution`."""
    return {
        "sub": subject,
        "sub_iss": ISSUER,
        "domain": DOMAIN,
        "actors": [],
        "claims": {},
        "principals": [[ISSUER, subject]],
        "domains": [DOMAIN],
        "warrants": [],
        "warrant_issuer": None,
        "actions": ["*"],
        "resources": ["*"],
        "constraints": {},
    }


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def trust_state(
    *issuers: Issuer,
    seconds: float = 600,
    quarantined: Any = None,
    sidecar: Issuer | None = None,
    control_plane: Issuer | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Trust state with a lease of `seconds` from now; `changes` replace members of `trust`."""
    now = time.time_ns()
    trusted = {issuer.name: issuer.trusted() for issuer in issuers}
    warrant_issuers = {control_plane.name: {"domain": DOMAIN, "keys": control_plane.keys()}} if control_plane else {}
    trust = {
        "system": "payments",
        "domain": DOMAIN,
        "audience": SYSTEM,
        "issuers": trusted,
        "headers": usual_headers(trusted),
        "x509": {},
        "links": {},
        "grants": {},
        "max_identity_age_seconds": None,
        "quarantine": NOBODY | ({} if quarantined is None else {"subjects": quarantined}),
        "warrant": {"required": False, "issuers": warrant_issuers, "revoked": {}},
        "execution": {
            "issuer": SIDECAR,
            "keys": sidecar.keys() if sidecar else {},
            "headers": {sidecar.execution("", {}).split(".")[0]: sidecar.kid} if sidecar else {},
        },
        "environment": {"required": {}, "attesters": {}, "results": [], "revoked": {}},
        "segments": None,
        "workflows": {},
        "modes": {"shadow": [], "break_glass": []},
    } | changes
    return {
        "lease": {"issued_at_ns": now, "valid_until_ns": now + int(seconds * 1e9)},
        "trust": trust,
        "digest": digest(json.dumps(trust).encode()),
    }


def request(token: Any, **changes: Any) -> dict[str, Any]:
    """A decision's input; a value of None leaves the member out."""
    members = {
        "identity": {"token": token},
        "action": {"name": "refund"},
        "resource": {"type": "payment", "id": "p-1"},
        "context": {"amount": 40, "currency": "EUR"},
    } | changes
    return {name: value for name, value in members.items() if value is not None}

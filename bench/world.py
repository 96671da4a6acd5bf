"""A small world for tests and benchmarks of decisions: issuers, holders, keys, and the trust state that knows them.

Every key comes from its name, so that two runs ask the same questions. Times are whole seconds since 1970.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from app.core.holder_keys import request_digest
from app.sidecar.trust_keys import usual_headers

DOMAIN, PARTNER = "example.org", "partner.example"
AUDIENCE = "spiffe://example.org/system/payments"
SIDECAR = "spiffe://example.org/sidecar/payments/one"
OIDC, AGENTS = "https://issuer.example", "https://agents.partner.example"
KUBERNETES, SPIFFE = "https://kubernetes.default.svc", "spiffe://example.org"
WARRANTS, ATTESTER = "spiffe://example.org/control-plane", "spiffe://example.org/verifier"
SUPPORT = "spiffe://example.org/support"

Claims = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """A private key that its name settles: Ed25519, or P-256 for `ES256`."""

    name: str
    alg: str = "EdDSA"

    @cached_property
    def private(self) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
        """The key itself."""
        seed = hashlib.sha256(f"placet bench {self.name}".encode()).digest()
        if self.alg == "EdDSA":
            return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        return ec.derive_private_key(int.from_bytes(seed[:31]), ec.SECP256R1())

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The public key, with no more than it needs."""
        public = self.private.public_key()
        if isinstance(public, ed25519.Ed25519PublicKey):
            written = OKPAlgorithm.to_jwk(public, as_dict=True)
        else:
            written = ECAlgorithm.to_jwk(public, as_dict=True)
        return {name: written[name] for name in ("kty", "crv", "x", "y") if name in written}

    @property
    def trusted(self) -> dict[str, Any]:
        """The key as trust state holds it."""
        return {"alg": self.alg, "jwks": json.dumps({"keys": [{**self.jwk, "kid": self.name}]})}

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A JWT."""
        return jwt.encode(dict(claims), self.private, self.alg, headers={"kid": self.name, **header})

    def sign_raw(self, header: bytes | str, payload: bytes | str) -> str:
        """Anything at all, signed as a JWT would be."""
        parts = [base64url(part.encode() if isinstance(part, str) else part) for part in (header, payload)]
        signature = jwt.get_algorithm_by_name(self.alg).sign(".".join(parts).encode(), self.private)
        return ".".join([*parts, base64url(signature)])


@dataclass
class World:
    """Who there is at the time `now`, and what they sign."""

    now: int
    keys: dict[str, Key] = field(default_factory=lambda: {
        OIDC: Key("k1"),
        AGENTS: Key("agents-1", "ES256"),
        KUBERNETES: Key("k8s-1", "ES256"),
        SPIFFE: Key("svid-1", "ES256"),
        WARRANTS: Key("w1"),
        ATTESTER: Key("a1"),
        SIDECAR: Key("e1"),
    })  # fmt: skip

    def identity(self, sub: str = SUPPORT, issuer: str = OIDC, **changes: Any) -> str:
        """An identity token; a claim of None is left out."""
        claims = {"iss": issuer, "sub": sub, "aud": AUDIENCE, "iat": self.now - 10, "exp": self.now + 3600}
        return self.keys[issuer].sign(given(claims | changes))

    def claims(self, sub: str = SUPPORT, issuer: str = OIDC, **changes: Any) -> Claims:
        """A warrant's claims."""
        return given({
            "iss": WARRANTS,
            "sub": sub,
            "sub_id": {"format": "iss_sub", "iss": issuer, "sub": sub},
            "aud": AUDIENCE,
            "iat": self.now - 10,
            "exp": self.now + 1800,
            "jti": "w-1",
            "actions": ["refund", "read*"],
            "resources": ["payment/*"],
            "constraints": {"amount": {"at_most": 500}, "currency": {"in": ["EUR", "USD"]}},
        } | changes)  # fmt: skip

    def warrant(self, **changes: Any) -> str:
        """A root warrant."""
        return self.keys[WARRANTS].sign(self.claims(**changes), typ="warrant+jwt")

    def chain(self, hops: int, holders: Sequence[Key], *, ids: str = "w", **changes: Any) -> list[str]:
        """A root for somebody, delegated `hops` times; the last, with `changes`, is for the support service.

        Each `jti` begins with `ids`. With a key more than hops, the support service has one, too.
        """
        names = [*(f"spiffe://example.org/agent/{n}" for n in range(hops)), SUPPORT]
        chain = []
        for depth, name in enumerate(names):
            last = depth == hops
            claims = self.claims(
                sub=name, jti=f"{ids}-{depth}", depth=hops - depth or None, **(changes if last else {})
            )
            claims |= {"exp": claims["exp"] - depth}
            if depth < len(holders):
                claims["cnf"] = {"jwk": holders[depth].jwk}
            if depth == 0:
                chain.append(self.keys[WARRANTS].sign(claims, typ="warrant+jwt"))
            else:
                chain.append(hop(claims | {"iss": names[depth - 1]}, holders[depth - 1]))
        return chain

    def proof(self, key: Key, asked: Mapping[str, Any], **changes: Any) -> str:
        """A proof of possession for a request."""
        resource = asked["resource"]
        claims = {
            "iat": self.now,
            "jti": "p-1",
            "req": request_digest(asked["action"]["name"], resource["type"], resource["id"]),
        }
        return hop(given(claims | changes), key, typ="proof+jwt")

    def execution(self, **changes: Any) -> str:
        """An execution token of the sidecar."""
        claims = {
            "iss": SIDECAR,
            "aud": AUDIENCE,
            "iat": self.now - 5,
            "exp": self.now + 300,
            "exe": "run-1",
            "sub": SUPPORT,
            "sub_iss": OIDC,
            "domain": DOMAIN,
            "actors": [],
            "claims": {"iss": OIDC, "sub": SUPPORT},
            "principals": [[OIDC, SUPPORT]],
            "domains": [DOMAIN],
            "warrants": ["w-1"],
            "warrant_issuer": WARRANTS,
            "actions": ["refund", "read*"],
            "resources": ["payment/*"],
            "constraints": {"amount": {"at_most": 500}},
        }
        return self.keys[SIDECAR].sign(given(claims | changes), typ="execution+jwt")

    def attestation(self, kind: str = "region", sub: str = SIDECAR, **changes: Any) -> str:
        """An attestation result about the sidecar."""
        claims = {
            "iss": ATTESTER,
            "sub": sub,
            "sub_id": {"format": "iss_sub", "iss": OIDC, "sub": sub},
            "aud": AUDIENCE,
            "iat": self.now - 30,
            "exp": self.now + 600,
            "jti": "r-1",
            "eat_profile": "https://placet.dev/environment/v1",
            "submods": {kind: {"ear.status": "affirming", "region": "eu-1"}},
        }
        return self.keys[ATTESTER].sign(given(claims | changes), typ="ear+jwt")

    def issuers(self) -> dict[str, Any]:
        """The issuers of identities as trust state holds them."""
        kinds = {
            OIDC: ("oidc", DOMAIN, "spiffe://example.org/"),
            AGENTS: ("oidc", PARTNER, ""),
            KUBERNETES: ("kubernetes", DOMAIN, "system:serviceaccount:"),
            SPIFFE: ("spiffe", DOMAIN, "spiffe://example.org/"),
        }
        return {
            issuer: {
                "kind": kind,
                "domain": domain,
                "names": names,
                "audiences": [AUDIENCE],
                "keys": {self.keys[issuer].name: self.keys[issuer].trusted},
            }
            for issuer, (kind, domain, names) in kinds.items()
        }

    def trust(self, **changes: Any) -> dict[str, Any]:
        """The trust section, with members replaced."""
        issuers = self.issuers()
        execution = self.keys[SIDECAR]
        header = execution.sign({}, typ="execution+jwt").split(".")[0]
        return {
            "system": "payments",
            "domain": DOMAIN,
            "audience": AUDIENCE,
            "issuers": issuers,
            "headers": usual_headers(issuers),
            "x509": {},
            "links": {PARTNER: True},
            "grants": {},
            "max_identity_age_seconds": None,
            "quarantine": {"subjects": {}, "executions": {}, "domains": {}, "segments": {}},
            "warrant": {"required": False, "issuers": {WARRANTS: self.signer(WARRANTS)}, "revoked": {}},
            "execution": {
                "issuer": SIDECAR,
                "keys": {execution.name: execution.trusted},
                "headers": {header: execution.name},
            },
            "environment": {
                "required": {},
                "attesters": {ATTESTER: self.signer(ATTESTER)},
                "results": [],
                "revoked": {},
            },
            "segments": None,
            "workflows": {},
            "modes": {"shadow": [], "break_glass": []},
        } | changes

    def signer(self, name: str, domain: str = DOMAIN) -> dict[str, Any]:
        """An issuer of warrants or of results as trust state holds it."""
        return {"domain": domain, "keys": {self.keys[name].name: self.keys[name].trusted}}

    def state(self, *, lease_seconds: float = 600, **changes: Any) -> dict[str, Any]:
        """The whole trust state, with members of `trust` replaced."""
        issued, trust = self.now * 10**9, self.trust(**changes)
        return {
            "lease": {"issued_at_ns": issued, "valid_until_ns": issued + int(lease_seconds * 10**9)},
            "trust": trust,
            "digest": "sha256:" + hashlib.sha256(json.dumps(trust, sort_keys=True).encode()).hexdigest(),
        }


def request(**changes: Any) -> dict[str, Any]:
    """A request of the payments example that its policy allows the support service; None leaves a member out."""
    return given({
        "action": {"name": "refund"},
        "resource": {"type": "payment", "id": "p-1"},
        "context": {"amount": 40, "currency": "EUR"},
    } | changes)  # fmt: skip


def hop(claims: Mapping[str, Any], key: Key, typ: str = "warrant+jwt") -> str:
    """What a holder signs: its header has no `kid`."""
    return key.sign_raw(json.dumps({"alg": key.alg, "typ": typ}), json.dumps(claims))


def given(members: dict[str, Any]) -> dict[str, Any]:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def base64url(raw: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

"""Published documents for tests: small, valid, and changed by keyword."""

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.core.governance import SystemGovernance, audience_of
from app.core.targets import PublishedState, QuarantinedSubject, TrustedIssuer, TrustedSigner

DOMAIN, SYSTEM = "example.org", "payments"
AUDIENCE = audience_of(DOMAIN, SYSTEM)

KEY = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
ED25519 = jwt.algorithms.OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True)


def issuer(name="https://issuer.example.org", keys=None, audiences=("payments",), **more):
    return TrustedIssuer(issuer=name, audiences=list(audiences), keys=keys or {"k1": KEY}, **more)


def signer(name="spiffe://example.org/control-plane", keys=None, domain=DOMAIN):
    return TrustedSigner(issuer=name, domain=domain, keys=keys or {"w1": ED25519})


def subject(name, by="https://issuer.example.org", reason="lost its key"):
    return QuarantinedSubject(issuer=by, subject=name, reason=reason, since="2026-01-01T00:00:00Z")


def state(*issuers, quarantine=(), **more):
    return PublishedState(**{"domain": DOMAIN, **more}, issuers=list(issuers), quarantine=list(quarantine))


def governance(**more):
    return SystemGovernance(**{"system": SYSTEM, "audience": AUDIENCE, **more})

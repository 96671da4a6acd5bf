"""Proof of possession for a warrant with `cnf`: a signature over the request by the warrant's key (extra `proof`)."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections.abc import Mapping
from typing import Any

from placet_sdk import codes
from placet_sdk.errors import ConfigurationError, Doubt

#: A private key, Ed25519 or P-256: PEM without password, or an object of the cryptography package.
ProofKey = Any


def prove(key: ProofKey, action: Mapping[str, Any], resource: Mapping[str, Any]) -> str:
    """A JWT that says: whoever holds `key` asks for this action on this resource, now.

    Raises Doubt for a request without names, ConfigurationError for a key that cannot sign.
    """
    names = [action.get("name"), resource.get("type"), resource.get("id")]
    try:
        parts = [base64.urlsafe_b64encode(name.encode()).rstrip(b"=") for name in names if isinstance(name, str)]
    except UnicodeEncodeError as error:
        raise Doubt(codes.REQUEST_MALFORMED, "a name holds half of a surrogate pair") from error
    if len(parts) != len(names):
        raise Doubt(codes.REQUEST_MALFORMED, "action.name, resource.type and resource.id must be strings")
    claims = {"iat": int(time.time()), "jti": uuid.uuid4().hex, "req": hashlib.sha256(b".".join(parts)).hexdigest()}
    return _sign(key, claims)


def _sign(key: ProofKey, claims: dict[str, Any]) -> str:
    try:
        import jwt
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ConfigurationError("proof_key needs the extra: pip install 'placet-sdk[proof]'") from error
    if isinstance(key, str | bytes):
        try:
            key = load_pem_private_key(key.encode() if isinstance(key, str) else key, password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError("proof_key is no private key in PEM without password") from error
    if isinstance(key, Ed25519PrivateKey):
        algorithm = "EdDSA"
    elif isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        algorithm = "ES256"
    else:
        raise ConfigurationError("proof_key must be an Ed25519 or P-256 private key")
    return jwt.encode(claims, key, algorithm, headers={"typ": "proof+jwt"})

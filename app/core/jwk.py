"""Public keys of identity issuers, vetted before OPA sees them (RFC 7517, RFC 7518, RFC 8037).

OPA ignores a JWK's `alg` and `use`, accepts symmetric keys, private keys and RSA keys of any length, and one key
that it does not know spoils the set. So only what passes here may enter the trust state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.core import strict_json

#: Bits of the smallest RSA key, and of the largest: verifying with more is slow enough to matter.
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192

_CURVES = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}
_RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,2048}")
_PUBLIC_MEMBERS = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e")}
_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class KeyRefused(ValueError):
    """The key may not be trusted; the text says why in one line."""


@dataclass(frozen=True)
class VettedKey:
    """A public key and the one algorithm with which it may be used."""

    kid: str
    alg: str
    jwk: Mapping[str, str]

    def jwks_text(self) -> str:
        """A key set of this key alone, as the JSON text that OPA's `io.jwt.decode_verify` takes."""
        return json.dumps({"keys": [dict(self.jwk)]}, separators=(",", ":"), sort_keys=True)


def vet(kid: str, jwk: Mapping[str, Any]) -> VettedKey:
    """Check one JWK and reduce it to its public members. Raises `KeyRefused`."""
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        raise KeyRefused("every key needs a kid of at most 256 characters")
    if private := sorted(_PRIVATE_MEMBERS & set(jwk)):
        raise KeyRefused(f"key {kid!r} has the private member {private[0]!r}; give public keys only")
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in _PUBLIC_MEMBERS:
        raise KeyRefused(f"key {kid!r} is of type {kty!r}; EC, OKP and RSA are accepted")
    if jwk.get("use", "sig") != "sig":
        raise KeyRefused(f"key {kid!r} is not for signatures")
    alg = _algorithm(kid, jwk)
    public = {"kty": kty, "kid": kid, "alg": alg, "use": "sig"}
    for member in _PUBLIC_MEMBERS[kty]:
        value = jwk.get(member)
        # Python's decoder skips what is not base64url; OPA's does not.
        if not isinstance(value, str) or not (member == "crv" or _BASE64URL.fullmatch(value)):
            raise KeyRefused(f"key {kid!r} has no {member!r} in base64url")
        public[member] = value
    try:
        key = jwt.PyJWK(public).key
    except (jwt.PyJWTError, ValueError) as error:
        raise KeyRefused(f"key {kid!r} is not valid: {error}") from error
    if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise KeyRefused(f"key {kid!r} has {key.key_size} bits; RSA keys have {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    return VettedKey(kid, alg, public)


def vet_set(raw: bytes) -> dict[str, VettedKey]:
    """Check a JWKS document whole: one bad key refuses it. Raises `KeyRefused`."""
    try:
        keys = strict_json.load_object(raw).get("keys")
    except strict_json.StrictJSONError as error:
        raise KeyRefused(str(error)) from error
    if not isinstance(keys, list) or not keys:
        raise KeyRefused("a JWKS has a non-empty list 'keys'")
    vetted: dict[str, VettedKey] = {}
    for jwk in keys:
        if not isinstance(jwk, dict):
            raise KeyRefused("a key is not an object")
        key = vet(jwk.get("kid", ""), jwk)
        if key.kid in vetted:
            raise KeyRefused(f"two keys have the kid {key.kid!r}")
        vetted[key.kid] = key
    return vetted


def _algorithm(kid: str, jwk: Mapping[str, Any]) -> str:
    if jwk["kty"] == "RSA":
        alg = jwk.get("alg", "RS256")
        if not isinstance(alg, str) or alg not in _RSA_ALGORITHMS:
            raise KeyRefused(f"key {kid!r} has the algorithm {alg!r}, which no RSA key has")
        return alg
    expected = _CURVES.get(str(jwk.get("crv")))
    if expected is None:
        raise KeyRefused(f"key {kid!r} is on the curve {jwk.get('crv')!r}; {', '.join(_CURVES)} are accepted")
    if jwk.get("alg", expected) != expected:
        raise KeyRefused(f"key {kid!r} has the algorithm {jwk['alg']!r}; its curve means {expected}")
    return expected

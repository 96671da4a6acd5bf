"""Vet the public keys of an identity issuer before they reach a sidecar's trust state.

OPA's `io.jwt.decode_verify` takes what it is given: an `oct` key makes HS256 valid, weak RSA and private keys
pass, and one key that it cannot read makes the whole call undefined. So only keys that are known to be good go
in, with the members that matter and an `alg` that fits (RFC 7517, RFC 7518, RFC 8037).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from app.control.problems import Invalid

MAX_KEYS = 64
_RSA_BITS = range(2048, 8193)
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_KID = re.compile(r"[\x21-\x7e]{1,256}")

#: (kty, crv) -> (the members that make up the key, the algorithms that fit, the one to assume first).
_KINDS: dict[tuple[str, str | None], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("OKP", "Ed25519"): (("crv", "x"), ("EdDSA",)),
    ("EC", "P-256"): (("crv", "x", "y"), ("ES256",)),
    ("EC", "P-384"): (("crv", "x", "y"), ("ES384",)),
    ("RSA", None): (("n", "e"), ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
}


def vet(jwks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The keys by key id, each reduced to what it needs. Raises `Invalid` for a set that is not wholly usable."""
    keys = jwks.get("keys")
    if not isinstance(keys, Sequence) or isinstance(keys, str) or not 1 <= len(keys) <= MAX_KEYS:
        raise Invalid(f"a JWKS needs a member keys with 1 to {MAX_KEYS} keys")
    vetted: dict[str, dict[str, Any]] = {}
    for number, key in enumerate(keys):
        reduced = _vet_key(key, f"keys[{number}]")
        if reduced["kid"] in vetted:
            raise Invalid(f"keys[{number}]: the kid {reduced['kid']} stands twice")
        vetted[reduced["kid"]] = reduced
    return vetted


def _vet_key(key: Any, at: str) -> dict[str, Any]:
    if not isinstance(key, dict):
        raise Invalid(f"{at} is not an object")
    if private := sorted(_PRIVATE & set(key)):
        raise Invalid(f"{at} holds private or symmetric key material ({private[0]}); give the public key alone")
    kid = key.get("kid")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise Invalid(f"{at} needs a kid of 1 to 256 printable ASCII characters")
    if key.get("use", "sig") != "sig" or "verify" not in key.get("key_ops", ["verify"]):
        raise Invalid(f"{at} is not for verifying signatures (use, key_ops)")
    members, algorithms = _kind(key, at)
    algorithm = key.get("alg", algorithms[0])
    if algorithm not in algorithms:
        raise Invalid(f"{at} has alg {algorithm!r}, but its kind of key needs {' or '.join(algorithms)}")
    reduced = {"kty": key["kty"], "kid": kid, "alg": algorithm, "use": "sig", **{name: key.get(name) for name in members}}
    _check_material(reduced, at)
    return reduced


def _kind(key: Mapping[str, Any], at: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kty, curve = key.get("kty"), key.get("crv")
    kind = (kty, None if kty == "RSA" else curve)
    try:
        return _KINDS[kind]  # type: ignore[index]
    except (KeyError, TypeError):
        raise Invalid(f"{at} is of kind {kty!r} {curve!r}; use Ed25519, EC P-256 or P-384, or RSA from 2048 bits") from None


def _check_material(key: dict[str, Any], at: str) -> None:
    """Load the key with the library: it checks lengths and that a point lies on its curve."""
    try:
        loaded = PyJWK.from_dict(key).key
    except (PyJWTError, ValueError, TypeError, KeyError) as error:
        raise Invalid(f"{at} is not a well-formed {key['kty']} public key") from error
    if isinstance(loaded, RSAPublicKey):
        exponent = loaded.public_numbers().e
        if loaded.key_size not in _RSA_BITS:
            raise Invalid(f"{at} is RSA of {loaded.key_size} bits; use 2048 to 8192")
        if exponent < 65537 or exponent % 2 == 0:
            raise Invalid(f"{at} has the RSA exponent {exponent}; use 65537")
    elif not isinstance(loaded, EllipticCurvePublicKey | Ed25519PublicKey):
        raise Invalid(f"{at} is not a public key")

"""Keys of those who hold warrants: Ed25519 or P-256, public as JWK (RFC 7517, RFC 8037), private as PEM.

With its private key a holder delegates a warrant, and proves for each request that it is the holder.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from app.core import strict_json
from app.core.errors import UsageError
from app.core.jwk import KeyRefused, vet

#: `typ` of the header of a proof of possession.
PROOF_TYPE = "proof+jwt"

#: Bytes of a key file.
MAX_KEY_FILE = 16 * 1024

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
Jwk = dict[str, str]

_MEMBERS = {"OKP": ("kty", "crv", "x"), "EC": ("kty", "crv", "x", "y")}
_CURVES = {"Ed25519": "EdDSA", "P-256": "ES256"}


@dataclass(frozen=True)
class HolderKey:
    """A private key and the algorithm that it signs with."""

    private: PrivateKey
    alg: str
    jwk: Jwk

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        """A JWT over `claims`, its header exactly `alg` and `typ`."""
        payload = strict_json.canonical(dict(claims))
        headers = {"typ": typ}
        return jwt.api_jws.PyJWS().encode(payload, self.private, algorithm=self.alg, headers=headers)


def generate(alg: str = "EdDSA") -> HolderKey:
    """A new key: `EdDSA` (Ed25519) or `ES256` (P-256)."""
    if alg not in _CURVES.values():
        raise UsageError(f"{alg!r} is no algorithm of warrants; EdDSA and ES256 are")
    private = ed25519.Ed25519PrivateKey.generate() if alg == "EdDSA" else ec.generate_private_key(ec.SECP256R1())
    return _holder(private)


def load_private(pem: bytes, passphrase: bytes | None = None) -> HolderKey:
    """The private key of a PEM document, encrypted or not. Raises `UsageError`."""
    try:
        private = serialization.load_pem_private_key(pem, passphrase)
    except TypeError as error:
        if passphrase is None:
            raise UsageError("the key is encrypted; give its passphrase in PLACET_KEY_PASSPHRASE or a file") from error
        raise UsageError("the key is not encrypted, but a passphrase was given") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        wrong = "its passphrase is wrong, or it is" if passphrase else "it is"
        raise UsageError(f"the key cannot be read: {wrong} not a private key in PEM") from error
    if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise UsageError("the key is of another kind than a warrant's: Ed25519 and P-256 are")
    return _holder(private)


def store_private(key: HolderKey, passphrase: bytes | None = None) -> bytes:
    """The key as PEM (PKCS #8), encrypted when there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def load_public(raw: bytes) -> Jwk:
    """The public key of a file that holds a PEM public key or a JWK. Raises `UsageError`."""
    if raw.lstrip().startswith(b"{"):
        try:
            given = strict_json.load_object(raw)
            if {"d", "k"} & set(given):
                raise UsageError("the JWK holds a private key; give the public one alone")
            return public_jwk({name: given[name] for name in ("kty", "crv", "x", "y") if name in given})
        except (strict_json.StrictJSONError, KeyRefused) as error:
            raise UsageError(f"the JWK cannot be used: {error}") from error
    if b"PRIVATE KEY-----" in raw:
        raise UsageError("this file holds a private key; give the public one (`openssl pkey -pubout` writes it)")
    try:
        public = serialization.load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("the key is neither a public key in PEM nor a JWK") from error
    if not isinstance(public, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise UsageError("the key is of another kind than a warrant's: Ed25519 and P-256 are")
    return _jwk_of(public)


def public_jwk(jwk: Mapping[str, Any]) -> Jwk:
    """Check the public key that a warrant names: exactly `kty`, `crv`, `x` and, on P-256, `y`. Raises `KeyRefused`."""
    expected = _MEMBERS.get(jwk["kty"]) if isinstance(jwk.get("kty"), str) else None
    if expected is None or jwk.get("crv") not in list(_CURVES):
        raise KeyRefused("a holder's key is of kind OKP on Ed25519, or EC on P-256")
    if set(jwk) != set(expected):
        raise KeyRefused(f"a holder's key of kind {jwk['kty']} has exactly the members {', '.join(expected)}")
    vet("cnf", jwk)
    return {name: str(jwk[name]) for name in expected}


def algorithm_of(jwk: Mapping[str, str]) -> str:
    """The one algorithm with which a holder's key may be used."""
    return _CURVES[jwk["crv"]]


def thumbprint(jwk: Mapping[str, str]) -> str:
    """The SHA-256 thumbprint of a holder's key (RFC 7638), base64url."""
    required = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    return _base64url(hashlib.sha256(strict_json.canonical(required)).digest())


def request_digest(action: str, resource_type: str, resource_id: str) -> str:
    """What a proof is over, its claim `req`: the SHA-256 of the names, encoded so that none can pass for another."""
    parts = [_base64url(part.encode()) for part in (action, resource_type, resource_id)]
    return hashlib.sha256(".".join(parts).encode()).hexdigest()


def proof(
    key: HolderKey, action: str, resource_type: str, resource_id: str, *, nonce: str, now: float | None = None
) -> str:
    """A proof of possession for one request. `nonce` (its `jti`) is new each time; it is good for 60 seconds."""
    issued = int(time.time() if now is None else now)
    claims = {"iat": issued, "jti": nonce, "req": request_digest(action, resource_type, resource_id)}
    return key.sign(claims, PROOF_TYPE)


def _holder(private: PrivateKey) -> HolderKey:
    jwk = _jwk_of(private.public_key())
    return HolderKey(private, algorithm_of(jwk), jwk)


def _jwk_of(public: PublicKey) -> Jwk:
    if isinstance(public, ed25519.Ed25519PublicKey):
        written = OKPAlgorithm.to_jwk(public, as_dict=True)
    else:
        if not isinstance(public.curve, ec.SECP256R1):
            raise UsageError(f"the key is on the curve {public.curve.name}; Ed25519 and P-256 are accepted")
        written = ECAlgorithm.to_jwk(public, as_dict=True)
    return public_jwk({name: written[name] for name in _MEMBERS[written["kty"]]})


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

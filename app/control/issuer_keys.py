"""The keys of an issuer as somebody gave them: a JWK set (RFC 7517) or a SPIFFE bundle, vetted and split.

A SPIFFE bundle is a JWK set whose keys say what they are for: `jwt-svid` signs JWT-SVIDs, and `x509-svid` carries a
root of X.509-SVIDs in `x5c` (SPIFFE Trust Domain and Bundle, section 4.2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from app.control.problems import Invalid
from app.core import jwk, strict_json, x509_roots

#: As many as one published issuer may have (`app.core.targets.TrustedIssuer`).
MAX_KEYS = 64
MAX_ROOTS = 8
#: Bytes of one root certificate in DER.
_MAX_CERTIFICATE = 16 * 1024

#: What of a key a thumbprint covers (RFC 7638, section 3.2; RFC 8037, section 2).
_REQUIRED = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}


@dataclass(frozen=True)
class IssuerKeys:
    """JWT keys by key id, and X.509 roots in PEM."""

    keys: dict[str, dict[str, Any]]
    x509_roots: list[str]


def vet(jwks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The keys of a set by key id, reduced to what they need: one that may not be trusted refuses the set."""
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_KEYS:
        raise Invalid(f"a JWK set has a list keys of 1 to {MAX_KEYS} keys")
    vetted: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(listed):
        try:
            key = jwk.vet(one["kid"], one)
        except jwk.KeyRefused as refused:
            raise Invalid(f"keys[{number}]: {refused}") from refused
        except (KeyError, TypeError) as error:
            raise Invalid(f"keys[{number}]: not a JWK with a kid") from error
        if not (key.kid.isascii() and key.kid.isprintable()):
            raise Invalid(f"keys[{number}]: the kid must be printable ASCII")
        if key.kid in vetted:
            raise Invalid(f"keys[{number}]: the kid {key.kid} stands twice")
        vetted[key.kid] = dict(key.jwk)
    return vetted


def is_bundle(document: Mapping[str, Any]) -> bool:
    """Whether a key set is a SPIFFE bundle: some key has one of its uses."""
    listed = document.get("keys")
    return isinstance(listed, list) and any(
        isinstance(one, Mapping) and one.get("use") in ("jwt-svid", "x509-svid") for one in listed
    )


def split_bundle(bundle: Mapping[str, Any]) -> IssuerKeys:
    """The JWT keys and the X.509 roots of a SPIFFE bundle. A key without a use, or with another one, refuses it."""
    listed = bundle.get("keys")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_KEYS + MAX_ROOTS:
        raise Invalid("a SPIFFE bundle has a non-empty list keys")
    signing, roots = [], []
    for number, one in enumerate(listed):
        use = one.get("use") if isinstance(one, dict) else None
        if use == "jwt-svid":
            signing.append({name: value for name, value in one.items() if name != "use"})
        elif use == "x509-svid":
            roots.append(_root(one, number))
        else:
            raise Invalid(f"keys[{number}]: its use is neither jwt-svid nor x509-svid")
    keys = vet({"keys": signing}) if signing else {}
    return IssuerKeys(keys, checked_roots(roots))


def read_roots(pem: str) -> list[str]:
    """The root certificates of a PEM file, one text each."""
    return checked_roots(_certificates(pem))


def read_authorities(pem: str) -> None:
    """Fail unless the text is certificates in PEM, for TLS to judge."""
    _certificates(pem)


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise Invalid("that is not certificates in PEM") from error


def checked_roots(certificates: list[x509.Certificate]) -> list[str]:
    """CA certificates as PEM, vetted as sidecars do it: one that they refuse would stop them all."""
    try:
        found = [x509_roots.vet(certificate.public_bytes(Encoding.PEM).decode()) for certificate in certificates]
    except x509_roots.RootRefused as refused:
        raise Invalid(str(refused)) from refused
    roots = list(dict.fromkeys(found))
    if len(roots) > MAX_ROOTS:
        raise Invalid(f"an issuer has at most {MAX_ROOTS} X.509 roots")
    return roots


def thumbprint(key: Mapping[str, Any]) -> str:
    """The JWK thumbprint of a vetted key: base64url of the SHA-256 of its required members (RFC 7638)."""
    members = {name: key[name] for name in _REQUIRED[key["kty"]]}
    return base64.urlsafe_b64encode(hashlib.sha256(strict_json.canonical(members)).digest()).rstrip(b"=").decode()


def root_thumbprint(pem: str) -> str:
    """The base64url SHA-256 of a root certificate in DER, as `x5t#S256` has it (RFC 7517, section 4.9)."""
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def _root(key: Mapping[str, Any], number: int) -> x509.Certificate:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise Invalid(f"keys[{number}]: a key for X.509-SVIDs has exactly one certificate in x5c")
    try:
        der = base64.b64decode(chain[0], validate=True)
        if len(der) > _MAX_CERTIFICATE:
            raise Invalid(f"keys[{number}]: the certificate is too large")
        return x509.load_der_x509_certificate(der)
    except (ValueError, binascii.Error) as error:
        raise Invalid(f"keys[{number}]: x5c is not a certificate") from error

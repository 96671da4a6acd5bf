"""Roots of X.509-SVIDs, vetted before OPA sees them: certificate authorities of a trust domain, one PEM each.

OPA takes whatever certificate it is given as a root, a leaf too. So only what passes here may enter the trust state.
Expiry is not looked at: OPA compares it with its one clock reading, and a root that ran out must not spoil the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from app.core.jwk import MAX_RSA_BITS, MIN_RSA_BITS

#: Characters of one root.
MAX_ROOT = 8192

_ONE = re.compile(r"\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*")
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_WEAK = (hashes.MD5, hashes.SHA1)


class RootRefused(ValueError):
    """The certificate may not be a root; the text says why in one line."""


def vet(pem: str) -> str:
    """Check one root (RFC 5280, 4.2.1.9 and 4.2.1.3) and write it anew as PEM. Raises `RootRefused`."""
    if len(pem) > MAX_ROOT or not _ONE.fullmatch(pem):
        raise RootRefused(f"a root is one certificate in PEM of at most {MAX_ROOT} characters, and nothing else")
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        key = certificate.public_key()
        hash_algorithm = certificate.signature_hash_algorithm
    except x509.ExtensionNotFound as error:
        raise RootRefused("the root is no certificate authority: it has no basic constraints") from error
    except Exception as error:
        raise RootRefused(f"the root does not parse: {' '.join(str(error).split())[:200]}") from error
    if not constraints.ca:
        raise RootRefused("the root is no certificate authority")
    if not _may_sign_certificates(extensions):
        raise RootRefused("the root's key usage does not let it sign certificates")
    if isinstance(hash_algorithm, _WEAK):
        raise RootRefused(f"the root is signed with {hash_algorithm.name}, which is weak")
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise RootRefused(f"the root's key has {key.key_size} bits; RSA has {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise RootRefused(f"the root's key is on the curve {key.curve.name}, which is not accepted")
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        raise RootRefused("the root's key is of a kind that is not accepted: use ECDSA, Ed25519 or RSA")
    return certificate.public_bytes(Encoding.PEM).decode()


def issued(root: str, chain: Sequence[str]) -> bool:
    """Whether a root, as `vet` wrote it, issued a chain's leaf, which is the first in PEM, or an authority above it.

    Whoever presents a chain may put anything beside it: what did not issue the leaf says nothing of its root.
    """
    authority = x509.load_pem_x509_certificate(root.encode())
    leaf, *others = (x509.load_pem_x509_certificate(one.encode()) for one in chain)
    now = datetime.now(UTC)
    others = [
        one for one in others if _is_authority(one) and one.not_valid_before_utc <= now <= one.not_valid_after_utc
    ]
    path = [leaf]
    for one in path:  # which grows meanwhile
        path += [other for other in others if other not in path and _is_issued_by(one, other)]
    return any(_is_issued_by(one, authority) for one in path)


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
        is_ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound):
        return False
    return is_ca and _may_sign_certificates(extensions)


def _may_sign_certificates(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True

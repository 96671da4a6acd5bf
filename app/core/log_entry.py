"""Entries of a Rekor v2 log: what was signed, and by whom.

Anybody who reaches a log may enter what they like, a certificate of their own making included. So nobody counts as a
signer whose certificate a trusted authority did not issue, or whose signature does not hold.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    Certificate,
    ExtensionNotFound,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    load_der_x509_certificate,
)

from app.core import strict_json
from app.core.trust import TrustConfig


@dataclass(frozen=True)
class LogEntry:
    """An entry whose signature holds, by a certificate of a trusted authority."""

    #: SHA-256 of what was signed (of a DSSE envelope: its pre-authentication encoding), hexadecimal.
    digest: str
    #: The URI that the certificate names, such as a sidecar's SPIFFE ID.
    identity: str


class EntryReader:
    """Reads entries by one trust config. Certificates are looked at once: a sidecar signs for minutes with each."""

    def __init__(self, trust: TrustConfig) -> None:
        self.trust = trust
        self._signer = lru_cache(maxsize=1024)(self._signer_of)

    def read(self, body: bytes) -> LogEntry | None:
        """What was signed with a certificate that names a URI; None for everything else that a log may hold."""
        try:
            document = strict_json.load_object(body)
            if (document["kind"], document["apiVersion"]) != ("hashedrekord", "0.0.2"):
                return None
            record = document["spec"]["hashedRekordV002"]
            digest = _bytes(record["data"]["digest"])
            signature = _bytes(record["signature"]["content"])
            certificate = _bytes(record["signature"]["verifier"]["x509Certificate"]["rawBytes"])
            if record["data"]["algorithm"] != "SHA2_256":
                return None
        except (strict_json.StrictJSONError, LookupError, TypeError, ValueError):
            return None
        key, identity = self._signer(certificate)
        if key is None or identity is None:
            return None
        try:
            key.verify(signature, digest, ec.ECDSA(Prehashed(SHA256())))
        except (InvalidSignature, ValueError):
            return None
        return LogEntry(digest.hex(), identity)

    def _signer_of(self, raw: bytes) -> tuple[ec.EllipticCurvePublicKey | None, str | None]:
        try:
            certificate = load_der_x509_certificate(raw)
            key = certificate.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey) or not self.trust.authorities_of(certificate):
                return None, None
            return key, _uri(certificate)
        except Exception:  # noqa: BLE001 - a certificate is anybody's bytes, and its parts are parsed when they are read
            return None, None


def _uri(certificate: Certificate) -> str | None:
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return None
    found = names.get_values_for_type(UniformResourceIdentifier)
    return found[0] if len(found) == 1 else None


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)

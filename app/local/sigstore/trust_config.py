"""The ClientTrustConfig of the local stack: what clients trust, and where they sign.

Shapes from sigstore/protobuf-specs (`sigstore_trustroot.proto`). sigstore-python and cosign read them; cosign
alone checks that a log's `baseUrl` and `logId` agree with its checkpoints, see `_note_key_id`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from app.local.sigstore.keys import Keys, PublicKey, public_key

#: The checkpoint origin of the local Rekor must be the host of its URL, without the port.
REKOR_ORIGIN = "127.0.0.1"

_OPERATOR = "Placet local Sigstore, for development only"


def trust_config(keys: Keys, *, issuer: str, fulcio: str, ct_log: str, tsa: str, rekor: str) -> bytes:
    """The document as JSON, for a stack whose services are at these URLs."""
    since = {"start": keys.valid_from.strftime("%Y-%m-%dT%H:%M:%SZ")}
    rekor_key, ct_log_key = public_key(keys.rekor_key), public_key(keys.ct_log_key)
    assert isinstance(rekor_key, ed25519.Ed25519PublicKey)
    assert urlsplit(rekor).hostname == REKOR_ORIGIN
    trusted_root = {
        # Version 0.2 exists; sigstore-python refuses it.
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [_log(rekor, rekor_key, "PKIX_ED25519", _note_key_id(REKOR_ORIGIN, rekor_key), since)],
        "certificateAuthorities": [_authority(fulcio, keys.ca_certificate.read_bytes(), since)],
        "ctlogs": [
            _log(ct_log, ct_log_key, "PKIX_ECDSA_P256_SHA_256", hashlib.sha256(_der(ct_log_key)).digest(), since)
        ],
        "timestampAuthorities": [_authority(tsa, keys.tsa_chain.read_bytes(), since)],
    }
    signing_config = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [_service(fulcio, 1, since)],
        "oidcUrls": [_service(issuer, 1, since)],
        "rekorTlogUrls": [_service(rekor, 2, since)],
        "tsaUrls": [_service(f"{tsa}/api/v1/timestamp", 1, since)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    }
    document = {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": trusted_root,
        "signingConfig": signing_config,
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _log(url: str, key: PublicKey, details: str, key_id: bytes, since: dict[str, str]) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": _base64(_der(key)), "keyDetails": details, "validFor": since},
        "logId": {"keyId": _base64(key_id)},
    }


def _authority(url: str, chain: bytes, since: dict[str, str]) -> dict[str, Any]:
    certificates = x509.load_pem_x509_certificates(chain)
    root = certificates[-1].subject
    organization, name = (
        root.get_attributes_for_oid(oid)[0].value for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    )
    return {
        "subject": {"organization": organization, "commonName": name},
        "uri": url,
        "certChain": {
            "certificates": [
                {"rawBytes": _base64(certificate.public_bytes(serialization.Encoding.DER))}
                for certificate in certificates
            ]
        },
        "validFor": since,
    }


def _service(url: str, version: int, since: dict[str, str]) -> dict[str, Any]:
    return {"url": url, "majorApiVersion": version, "validFor": since, "operator": _OPERATOR}


def _note_key_id(origin: str, key: ed25519.Ed25519PublicKey) -> bytes:
    """The whole hash of which a signed note's key id is the start (C2SP signed-note; 0x01 is Ed25519)."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest()


def _der(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()

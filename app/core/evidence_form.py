"""The form of a Sigstore bundle (v0.3, with a DSSE envelope): exact members, one of each, canonical base64.

Libraries skip unknown members, take the first of several, and decode base64 leniently, each in its own way. A
bundle that passes here reads the same everywhere. Source: the Sigstore bundle format,
https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from app.core import strict_json
from app.core.errors import Denied
from app.core.reason_codes import Reason

#: Bytes of one Sigstore bundle.
MAX_EVIDENCE = 1024 * 1024

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def deny(reason: Reason, detail: str, step: str, field: str | None = None) -> Denied:
    """A denial of one piece of evidence."""
    return Denied(reason, detail, step=step, field=field)


def checked_form(raw: bytes, step: str) -> dict[str, Any]:
    """Parse a Sigstore bundle and check every member that a verifier reads. Raises `Denied`."""
    if len(raw) > MAX_EVIDENCE:
        raise deny(Reason.EVIDENCE_MALFORMED, f"larger than {MAX_EVIDENCE} bytes", step, "bundle")
    try:
        document = strict_json.load_object(raw)
    except strict_json.StrictJSONError as error:
        raise deny(Reason.EVIDENCE_MALFORMED, str(error), step, "bundle") from error
    members(document, "bundle", {"mediaType", "verificationMaterial", "dsseEnvelope"}, set(), step)
    if document["mediaType"] != MEDIA_TYPE:
        raise deny(Reason.EVIDENCE_MALFORMED, f"the media type must be {MEDIA_TYPE}", step, "mediaType")

    material = members(
        document["verificationMaterial"],
        "verificationMaterial",
        {"certificate", "tlogEntries"},
        {"timestampVerificationData"},
        step,
    )
    certificate = members(material["certificate"], "certificate", {"rawBytes"}, set(), step)
    checked_base64(certificate["rawBytes"], "certificate.rawBytes", step)

    entry = members(
        _only(material["tlogEntries"], "tlogEntries", step),
        "tlogEntry",
        {"logIndex", "logId", "kindVersion", "inclusionProof", "canonicalizedBody"},
        {"integratedTime", "inclusionPromise"},
        step,
    )
    _number(entry["logIndex"], "logIndex", step)
    _number(entry.get("integratedTime", "0"), "integratedTime", step)
    checked_base64(members(entry["logId"], "logId", {"keyId"}, set(), step)["keyId"], "logId.keyId", step)
    members(entry["kindVersion"], "kindVersion", {"kind", "version"}, set(), step)
    checked_base64(entry["canonicalizedBody"], "canonicalizedBody", step)
    proof_members = {"rootHash", "treeSize", "checkpoint"}
    # A log of one entry has an empty path and index 0; protobuf's JSON then leaves both members out.
    proof = members(entry["inclusionProof"], "inclusionProof", proof_members, {"logIndex", "hashes"}, step)
    checked_base64(proof["rootHash"], "inclusionProof.rootHash", step)
    _number(proof["treeSize"], "inclusionProof.treeSize", step)
    _number(proof.get("logIndex", "0"), "inclusionProof.logIndex", step)
    for hash_ in _list(proof.get("hashes", []), "inclusionProof.hashes", step):
        checked_base64(hash_, "inclusionProof.hashes", step)
    members(proof["checkpoint"], "checkpoint", {"envelope"}, set(), step)
    if "inclusionPromise" in entry:
        promise = members(entry["inclusionPromise"], "inclusionPromise", {"signedEntryTimestamp"}, set(), step)
        checked_base64(promise["signedEntryTimestamp"], "inclusionPromise.signedEntryTimestamp", step)
    if "timestampVerificationData" in material:
        timestamps = members(
            material["timestampVerificationData"],
            "timestampVerificationData",
            set(),
            {"rfc3161Timestamps"},
            step,
        )
        for timestamp in _list(timestamps.get("rfc3161Timestamps", []), "rfc3161Timestamps", step):
            signed = members(timestamp, "rfc3161Timestamp", {"signedTimestamp"}, set(), step)
            checked_base64(signed["signedTimestamp"], "signedTimestamp", step)

    envelope = members(document["dsseEnvelope"], "dsseEnvelope", {"payload", "payloadType", "signatures"}, set(), step)
    checked_base64(envelope["payload"], "payload", step)
    signature = members(_only(envelope["signatures"], "signatures", step), "signature", {"sig"}, {"keyid"}, step)
    checked_base64(signature["sig"], "signature.sig", step)
    if signature.get("keyid", "") != "":
        raise deny(Reason.EVIDENCE_MALFORMED, "a certificate's signature has no key id", step, "signature.keyid")
    return document


def members(value: Any, at: str, required: set[str], optional: set[str], step: str) -> dict[str, Any]:
    """`value` as an object that has all required members and none that is unknown."""
    if not isinstance(value, dict):
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at} is not an object", step, at)
    if missing := sorted(required - set(value)):
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at}.{missing[0]} is missing", step, f"{at}.{missing[0]}")
    if unknown := sorted(set(value) - required - optional):
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at}.{unknown[0]} is unknown", step, f"{at}.{unknown[0]}")
    return value


def _list(value: Any, at: str, step: str) -> list[Any]:
    if not isinstance(value, list):
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at} is not a list", step, at)
    return value


def _only(value: Any, at: str, step: str) -> Any:
    entries = _list(value, at, step)
    if len(entries) != 1:
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at} must hold exactly one entry", step, at)
    return entries[0]


def _number(value: Any, at: str, step: str) -> None:
    """64-bit integers are decimal strings in protobuf's JSON; only the one spelling that it writes is taken."""
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at} is not a number in a string", step, at)


def checked_base64(value: Any, at: str, step: str) -> bytes:
    """Decode base64 of the one canonical spelling: lenient decoders skip junk that others reject."""
    try:
        decoded = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at} is not base64", step, at) from error
    if base64.b64encode(decoded).decode() != value:
        raise deny(Reason.EVIDENCE_MALFORMED, f"{at} is not canonical base64", step, at)
    return decoded

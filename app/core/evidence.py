"""One piece of evidence: a Sigstore bundle that carries a signed in-toto statement, verified strictly.

sigstore-python does the cryptography. What it lets pass is refused here as well: each check that is ours says
so. Steps are numbered as in docs/verification.md.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.x509 import Certificate, PrecertificateSignedCertificateTimestamps
from sigstore.errors import VerificationError
from sigstore.models import Bundle
from sigstore.verify import policy as sigstore_policy

from app.core import statements, strict_json
from app.core.certificate_name import certified, only_name, shown
from app.core.errors import Denied
from app.core.evidence_form import checked_base64, checked_form, deny, members
from app.core.evidence_place import judged
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig, Window
from app.core.verification_policy import ListedSigner, SignerIdentity, VerificationPolicy

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"\u2014 (?P<name>\S+) (?P<base64>\S+)")


@dataclass(frozen=True)
class VerifiedStatement:
    """A statement whose signer, time and place in the log are proved."""

    predicate_type: str
    statement: dict[str, Any]
    signer: SignerIdentity
    #: When the timestamp authority saw the signature, UTC.
    signed_at: datetime
    #: The Sigstore bundle as it was given.
    raw: bytes
    #: The entry of the policy that allowed the signer, where it is a pattern.
    listed: ListedSigner | None = None

    @property
    def payload(self) -> bytes:
        """The bytes that were signed: the statement as its signer wrote it."""
        return base64.b64decode(strict_json.load_object(self.raw)["dsseEnvelope"]["payload"])

    def require(self, predicate_type: str, step: str) -> None:
        """Deny unless this is the statement of that type which the signature in question must carry."""
        if self.predicate_type != predicate_type:
            detail = f"the signature carries {self.predicate_type}, not {predicate_type}"
            raise Denied(Reason.EVIDENCE_PREDICATE, detail, step=step, field="predicateType")


class _AllowedSigners:
    """A sigstore-python policy: the certificate is of one of the listed identities. Remembers whose, and which entry.

    Names come before patterns: whoever is listed by name is that entry, and no other.
    """

    def __init__(self, policy: VerificationPolicy) -> None:
        self._identities = sorted(policy.identities, key=lambda one: not isinstance(one, SignerIdentity))
        self.matched: SignerIdentity | None = None
        self.listed: ListedSigner | None = None
        self.refused = False

    def verify(self, cert: Certificate) -> None:
        for allowed in self._identities:
            name = allowed.identity if isinstance(allowed, SignerIdentity) else only_name(cert)
            if name is None or not allowed.covers(name):
                continue
            try:
                sigstore_policy.Identity(identity=name, issuer=allowed.issuer).verify(cert)
            except VerificationError:
                continue
            self.matched, self.listed = SignerIdentity(identity=name, issuer=allowed.issuer), allowed
            return
        self.refused = True
        raise VerificationError("the certificate's identity is not one that may sign")


def verify_evidence(
    raw: bytes, *, subject: str, policy: VerificationPolicy, trust: TrustConfig, step: str
) -> VerifiedStatement:
    """Verify one Sigstore bundle about the artifact with digest `subject`. Raises `Denied`."""
    policy.require_somebody()

    # (1) The form: JSON of one reading that has the members it must have, and no others.
    document = checked_form(raw, step)

    # (2) sigstore-python: certificate chain, SCT, timestamp, log inclusion, checkpoint, signature, log entry;
    #     and the identity is one of the policy's.
    signers = _AllowedSigners(policy)
    bundle = None
    try:
        bundle = Bundle.from_json(raw)
        payload_type, payload = trust.verifier.verify_dsse(bundle, signers)
    except Exception as error:
        if signers.refused and bundle is not None:
            allowed = ", ".join(map(str, policy.identities))
            raise Denied(
                Reason.EVIDENCE_IDENTITY,
                f"the {step} is signed by {shown(bundle.signing_certificate)}; allowed: {allowed}",
                step=step,
                field="certificate.identity",
            ) from error
        raise Denied(Reason.EVIDENCE_INVALID, _said(error, bundle), step=step, field=judged(error)) from error
    if signers.matched is None:
        detail = "the signer was not compared with the policy"
        raise Denied(Reason.EVIDENCE_IDENTITY, detail, step=step, field="certificate.identity")

    # (3) What sigstore-python lets pass.
    signed_at = _strict_log_entry(document, bundle, trust, step)
    _strict_validity(bundle, trust, signed_at, step)

    # (4) The statement: the payload is one of in-toto about this artifact.
    statement = _checked_statement(payload_type, payload, subject, step)
    return VerifiedStatement(statement["predicateType"], statement, signers.matched, signed_at, raw, signers.listed)


def claimed_signer(raw: bytes, step: str) -> SignerIdentity:
    """Whom the certificate in a Sigstore bundle names. Nothing is verified. Raises `Denied`."""
    checked_form(raw, step)
    try:
        return certified(Bundle.from_json(raw).signing_certificate)
    except Exception as error:  # some of sigstore-python's errors have no common class
        detail = f"the certificate: {_first_line(error)}"
        raise Denied(Reason.EVIDENCE_INVALID, detail, step=step, field="certificate") from error


def _said(error: BaseException, bundle: Bundle | None) -> str:
    """What sigstore-python says. It passes over a timestamp of another signature, and then says that there is none."""
    said = _first_line(error)
    if bundle is None or "verified time" not in said:
        return said
    timed = bundle.verification_material.timestamp_verification_data
    digests = {hashlib.new(name, bundle.signature).digest() for name in ("sha256", "sha384", "sha512")}
    stamped = [one.tst_info.message_imprint.message for one in (timed.rfc3161_timestamps if timed else [])]
    return said if digests.intersection(stamped) or not stamped else "the timestamp is not of this signature"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def _strict_log_entry(document: dict[str, Any], bundle: Bundle, trust: TrustConfig, step: str) -> datetime:
    """Ours: one time source, and an entry, a proof and a checkpoint that agree with each other."""
    material = document["verificationMaterial"]
    entry = material["tlogEntries"][0]
    proof = entry["inclusionProof"]
    kind = (entry["kindVersion"]["kind"], entry["kindVersion"]["version"])
    promised = entry.get("inclusionPromise") is not None
    integrated = str(entry.get("integratedTime", "0")) != "0"
    data = bundle.verification_material.timestamp_verification_data
    timestamps = data.rfc3161_timestamps if data else []

    if kind == ("hashedrekord", "0.0.2"):  # Rekor v2: the timestamp authority alone says when
        if promised or integrated:
            detail = "a Rekor v2 entry has no promise and no time of its own"
            raise deny(Reason.EVIDENCE_INVALID, detail, step, "integratedTime")
        if len(timestamps) != 1:
            raise deny(Reason.EVIDENCE_INVALID, "there must be exactly one timestamp", step, "rfc3161Timestamps")
        if str(entry["logIndex"]) != str(proof.get("logIndex", "0")):
            raise deny(Reason.EVIDENCE_INVALID, "logIndex is not the proof's", step, "logIndex")
    elif kind == ("dsse", "0.0.1"):  # Rekor v1: a time of its own counts only under its promise
        if promised != integrated or len(timestamps) > 1:
            raise deny(Reason.EVIDENCE_INVALID, "the times of the entry do not fit together", step, "integratedTime")
    else:
        raise deny(Reason.EVIDENCE_INVALID, f"an entry of kind {kind[0]}/{kind[1]}", step, "kindVersion")
    for timestamp in timestamps:  # CMS does not sign its versions (RFC 5652, sections 5.1 and 5.3)
        signed = timestamp.signed_data
        if signed.version != 3 or any(info.version != 1 for info in signed.signer_infos):
            raise deny(Reason.EVIDENCE_INVALID, "a timestamp of another version", step, "rfc3161Timestamps")

    log = trust.log(base64.b64decode(entry["logId"]["keyId"]))
    if log is None:
        raise deny(Reason.EVIDENCE_INVALID, "the log is not one of the trusted root's", step, "logId.keyId")
    _strict_checkpoint(proof, log.host, step)
    signed_at: datetime = (
        timestamps[0].tst_info.gen_time if timestamps else datetime.fromtimestamp(int(entry["integratedTime"]), tz=UTC)
    )
    _within(log.valid, signed_at, "the log's key", step, "logId.keyId")
    return signed_at


def _strict_checkpoint(proof: dict[str, Any], host: str, step: str) -> None:
    """Ours: origin, size and root of the signed checkpoint are those of the log and of the proof.

    Its form is a signed note, https://github.com/C2SP/C2SP/blob/main/signed-note.md; witnesses may sign it too.
    """
    text, _, signatures = proof["checkpoint"]["envelope"].partition("\n\n")
    lines = text.split("\n")
    if len(lines) < 3:
        raise deny(Reason.EVIDENCE_INVALID, "the checkpoint is cut short", step, "checkpoint")
    origin, size, root = lines[:3]
    if not host or not (origin == host or origin.startswith(f"{host} - ")):
        raise deny(
            Reason.EVIDENCE_INVALID,
            f"the checkpoint is of another log: {origin!r}",
            step,
            "checkpoint.origin",
        )
    if host not in _signers(signatures, step):  # as Rekor v1 signs, too, whose origin goes on with its tree's number
        raise deny(Reason.EVIDENCE_INVALID, "the checkpoint is not signed in the log's name", step, "checkpoint.origin")
    if size != str(proof["treeSize"]):
        raise deny(Reason.EVIDENCE_INVALID, "treeSize is not the checkpoint's", step, "inclusionProof.treeSize")
    if root != proof["rootHash"]:
        raise deny(Reason.EVIDENCE_INVALID, "rootHash is not the checkpoint's", step, "inclusionProof.rootHash")


def _signers(signatures: str, step: str) -> list[str]:
    """Who signed a note, by the lines after its text."""
    names = []
    for line in signatures.removesuffix("\n").split("\n"):
        signature = _SIGNATURE.fullmatch(line)
        if signature is None:
            raise deny(Reason.EVIDENCE_INVALID, "the checkpoint holds more than signatures", step, "checkpoint")
        checked_base64(signature["base64"], "checkpoint", step)
        names.append(signature["name"])
    return names


def _strict_validity(bundle: Bundle, trust: TrustConfig, signed_at: datetime, step: str) -> None:
    """Ours: the CA and the CT log were still trusted when the signature was made."""
    certificate = bundle.signing_certificate
    if not any(window.covers(signed_at) for window in trust.authorities_of(certificate)):
        detail = "the certificate authority was not trusted at that time"
        raise deny(Reason.EVIDENCE_INVALID, detail, step, "certificate.chain")
    stamps = certificate.extensions.get_extension_for_class(PrecertificateSignedCertificateTimestamps)
    for stamp in stamps.value:
        window = trust.ct_log(stamp.log_id)
        if window is None:
            raise deny(Reason.EVIDENCE_INVALID, "the CT log is not one of the trusted root's", step, "certificate.sct")
        _within(window, signed_at, "the CT log's key", step, "certificate.sct")


def _within(window: Window, at: datetime, what: str, step: str, field: str) -> None:
    if not window.covers(at):
        raise deny(Reason.EVIDENCE_INVALID, f"{what} was not trusted at that time", step, field)


def _checked_statement(payload_type: str, payload: bytes, subject: str, step: str) -> dict[str, Any]:
    """Ours: sigstore-python compares neither the payload's type nor its subject."""
    if payload_type != statements.PAYLOAD_TYPE:
        raise deny(Reason.EVIDENCE_PREDICATE, f"the payload is a {payload_type!r}", step, "payloadType")
    try:
        statement = strict_json.load_object(payload)
    except strict_json.StrictJSONError as error:
        raise deny(Reason.EVIDENCE_MALFORMED, f"the statement: {error}", step, "payload") from error
    members(statement, "statement", {"_type", "subject", "predicateType", "predicate"}, set(), step)
    if statement["_type"] != statements.STATEMENT:
        detail = f"a {statement['_type']!r}, not a Statement v1; cosign signs one with `attest-blob --statement`"
        raise deny(Reason.EVIDENCE_PREDICATE, detail, step, "_type")
    if not isinstance(statement["predicateType"], str) or not isinstance(statement["predicate"], dict):
        raise deny(Reason.EVIDENCE_MALFORMED, "the predicate is not of the expected form", step, "predicate")
    subjects = statement["subject"]
    if not isinstance(subjects, list) or not subjects:
        raise deny(Reason.EVIDENCE_MALFORMED, "the statement names no subject", step, "subject")
    digests = []
    for one in subjects:
        digests_of = one.get("digest") if isinstance(one, dict) else None
        digest = digests_of.get("sha256") if isinstance(digests_of, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise deny(Reason.EVIDENCE_MALFORMED, "a subject has no SHA-256", step, "subject")
        digests.append(digest)
    if subject.removeprefix("sha256:") not in digests:
        raise deny(Reason.EVIDENCE_SUBJECT, f"about {digests[0][:12]}…, not about this artifact", step, "subject")
    return statement

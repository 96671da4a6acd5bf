"""Statements that sidecars sign, about batches of records or what is in their journals: who must have, and who did."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from app.control import enrolment, systems
from app.control.plane import Plane, StatementVerifier
from app.control.problems import Conflict
from app.core import strict_json
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.governance import sidecar_id
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity, VerificationPolicy


@dataclass(frozen=True)
class Signed:
    """A statement of which the signature, the time and the place in the log are proved."""

    evidence: bytes
    payload: bytes
    verified: VerifiedStatement
    log_index: int


def signer_of(plane: Plane, system: str, sidecar: str, what: str) -> tuple[SignerIdentity, StatementVerifier]:
    """Who must have signed what a sidecar sends, and what verifies it. `what` it is, for the message.

    Raises `Conflict` where this control plane cannot know.
    """
    if plane.verify_batch is None:
        raise Conflict(f"this control plane was given no lineage log, so it cannot check {what}")
    if not plane.identity_issuer:
        raise Conflict("this control plane issues no identities (--identity-issuer), so it knows no sidecar's")
    identity = sidecar_id(plane.settings.domain, system, sidecar)
    return SignerIdentity(identity=identity, issuer=plane.identity_issuer), plane.verify_batch


def require_admitted(plane: Plane, system: str, sidecar: str) -> None:
    """Raise `Problem` for an unknown system or an evicted sidecar."""
    with plane.store.read() as session:
        systems.find(session, system)
        enrolment.require_admitted(session, system, sidecar)


def signed_by(signer: SignerIdentity, verify: StatementVerifier, evidence: bytes, invalid: Reason, step: str) -> Signed:
    """What `signer` signed. Raises `Denied` with the reason `invalid`: nothing then proves who made this."""
    payload = payload_of(evidence)
    policy = VerificationPolicy(identities=[signer])
    try:
        verified = verify(evidence, subject=_claimed_subject(payload), policy=policy, step=step)
    except Denied as denied:
        raise Denied(invalid, f"{denied.reason}: {denied.detail}", step=denied.step, field=denied.field) from denied
    entry = strict_json.load_object(evidence)["verificationMaterial"]["tlogEntries"][0]
    return Signed(evidence, payload, verified, int(entry["logIndex"]))


def payload_of(evidence: bytes) -> bytes:
    """The statement in a Sigstore bundle; empty when there is none. Nothing is proved of it."""
    try:
        return base64.b64decode(strict_json.load_object(evidence)["dsseEnvelope"]["payload"], validate=True)
    except (ValueError, LookupError, TypeError):
        return b""


def _claimed_subject(payload: bytes) -> str:
    """What the statement says first that it is about; whether that is so is seen when the signature holds."""
    try:
        return f"sha256:{strict_json.load_object(payload)['subject'][0]['digest']['sha256']}"
    except (ValueError, LookupError, TypeError):
        return "sha256:"

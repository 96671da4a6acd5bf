"""The verifier of a proof file: this record, in this batch, by this sidecar, under this release, in this log.

Its steps are numbered as in docs/proof.md. Every failure raises `Denied` with a reason and the step; nothing but a
returned `Proven` means that anything is proved. It needs no server and no network.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime

from app.core import evidence_form, merkle, strict_json
from app.core.batch import BatchStatement
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement, verify_evidence
from app.core.proof_form import Proof
from app.core.proof_release import NOTHING, Demands, ProvenRelease, verified_release
from app.core.reason_codes import Reason
from app.core.record_entry import Entry, read_entry
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

_BATCH = "decision batch"


@dataclass(frozen=True)
class LogEntry:
    """Where a statement stands in a transparency log that had `size` entries."""

    origin: str
    index: int
    size: int


@dataclass(frozen=True)
class Proven:
    """What a proof proves."""

    batch: BatchStatement
    #: The number of the entry over the whole life of the sidecar's instance.
    sequence: int
    #: The entry itself; None if it was erased. That something stood in its place is proved all the same.
    record: bytes | None
    #: What the entry says; None if it was erased or is no decision record.
    decision: Entry | None
    #: The identity that signed the batch.
    sidecar: SignerIdentity
    log: LogEntry
    #: The timestamp authority saw the batch's signature then: the entry is not newer.
    not_after: datetime
    #: None when the entry names no policy, or was erased.
    release: ProvenRelease | None


def verify(
    proof: Proof,
    *,
    sidecars: VerificationPolicy,
    releases: VerificationPolicy,
    lineage: TrustConfig,
    trust: TrustConfig,
    demands: Demands = NOTHING,
) -> Proven:
    """Verify a proof whose form is known to be right. Raises `Denied`.

    `sidecars` may sign batches, which `lineage` vouches for; `releases` may sign policies, which `trust` vouches for
    and of which `demands` must be proved, too.
    """
    # (2) The leaf commits to this record. An erased one has left its leaf alone.
    _check_leaf(proof)

    # (3) A sidecar of the policy signed the batch, the log took it, and it speaks of that sidecar.
    verified, batch = _verified_batch(proof.batch, sidecars, lineage)

    # (4) The leaf stands at this position of the tree of that size and root.
    _check_position(proof, batch)

    # (5) The batch counts and names what the record says.
    decision = None if proof.record is None else read_entry(proof.record)
    if proof.record is not None:
        _check_named(decision, batch)

    # (6) The release is that of the policy that the record names, those who may sign it did, and say what is demanded.
    release = verified_release(proof, decision.policy if decision else None, releases, trust, demands)
    return Proven(
        batch=batch,
        sequence=batch.first_entry + proof.index,
        record=proof.record,
        decision=decision,
        sidecar=verified.signer,
        log=log_entry(proof.batch),
        not_after=verified.signed_at,
        release=release,
    )


def _check_leaf(proof: Proof) -> None:
    if proof.record is None or proof.salt is None:
        return
    try:
        leaf = merkle.leaf_hash(proof.salt, proof.record)
    except ValueError as error:
        raise Denied(Reason.PROOF_LEAF, str(error), step="leaf", field="salt") from error
    if leaf != proof.leaf:
        raise Denied(Reason.PROOF_LEAF, "salt and record have another hash", step="leaf", field="leaf")


def _verified_batch(
    raw: bytes, sidecars: VerificationPolicy, lineage: TrustConfig
) -> tuple[VerifiedStatement, BatchStatement]:
    payload = payload_of(raw, _BATCH)
    root = _claimed_root(payload)
    verified = verify_evidence(raw, subject=f"sha256:{root}", policy=sidecars, trust=lineage, step=_BATCH)
    batch = BatchStatement.read(payload)
    if batch.sidecar != verified.signer.identity:
        raise Denied(
            Reason.PROOF_BATCH,
            f"{verified.signer.identity} signed a batch of {batch.sidecar}",
            step=_BATCH,
            field="sidecar",
        )
    return verified, batch


def claimed_batch(proof: Proof) -> BatchStatement:
    """What the batch says, to be shown: nothing of it is verified. Raises `Denied` when it says nothing."""
    return BatchStatement.read(payload_of(proof.batch, _BATCH))


def payload_of(raw: bytes, step: str) -> bytes:
    """The statement in a Sigstore bundle, of which the form is right. Nothing is verified. Raises `Denied`."""
    document = evidence_form.checked_form(raw, step)
    return base64.b64decode(document["dsseEnvelope"]["payload"])


def _claimed_root(payload: bytes) -> str:
    """The root that a statement names, of which nothing is proved yet; empty when it names none."""
    try:
        predicate = strict_json.load_object(payload).get("predicate")
    except strict_json.StrictJSONError:
        return ""
    return str(predicate.get("root", "")) if isinstance(predicate, dict) else ""


def _check_position(proof: Proof, batch: BatchStatement) -> None:
    if proof.index >= batch.entries:
        raise Denied(
            Reason.PROOF_BATCH, f"position {proof.index} of {batch.entries} entries", step="path", field="index"
        )
    try:
        root = merkle.root_from_path(proof.leaf, proof.index, batch.entries, proof.path)
    except ValueError as error:
        raise Denied(Reason.PROOF_PATH, str(error), step="path", field="path") from error
    if root.hex() != batch.root:
        raise Denied(Reason.PROOF_PATH, "it leads to another root than the batch's", step="path", field="path")


def _check_named(decision: Entry | None, batch: BatchStatement) -> None:
    if decision is None:
        counted = batch.others
    else:
        counted = batch.allows if decision.allow else batch.denials
        if decision.allow and decision.policy is None:  # else whoever demands a signed release would get none
            raise Denied(Reason.PROOF_POLICY, "it allows, and names no policy that did", step="record")
        if decision.policy is not None and decision.policy not in batch.policies:
            raise Denied(Reason.PROOF_POLICY, f"the batch does not name {decision.policy}", step="record")
        for digest, named in ((decision.library, batch.libraries), (decision.state, batch.states)):
            if digest is not None and digest not in named:
                raise Denied(Reason.PROOF_BATCH, f"the batch does not name {digest}", step="record")
    if counted < 1:
        raise Denied(Reason.PROOF_BATCH, "the batch counts no such record", step="record")


def log_entry(raw: bytes) -> LogEntry:
    """Where it stands. Of a bundle that has been verified, in which all of this agrees with the signed checkpoint."""
    entry = strict_json.load_object(raw)["verificationMaterial"]["tlogEntries"][0]
    proof = entry["inclusionProof"]
    origin = proof["checkpoint"]["envelope"].split("\n", 1)[0]
    return LogEntry(origin, int(entry["logIndex"]), int(proof["treeSize"]))

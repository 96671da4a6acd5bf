"""Proof files of stored decisions (docs/proof.md): made of what lies in the object store, given out only if it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.control import decisions, raw_records, releases
from app.control.decisions import Whole
from app.control.plane import Plane
from app.control.publication import object_key, release_file
from app.control.raw_records import Changed
from app.control.store import Batch, Release
from app.core import merkle
from app.core.errors import Denied
from app.core.proof_form import Proof, ReleaseEvidence
from app.core.reason_codes import Reason
from app.core.record_entry import read_entry
from app.core.targets import SIGNATURE_FILE

_STEP = "proof"


def export(plane: Plane, decision_id: str, only_system: str | None = None) -> bytes:
    """The proof file of a decision; of one whose record was erased, that something was there.

    Raises `Denied` with `proof.missing`, or when what is stored does not fit.
    """
    try:
        with plane.store.read() as session:
            decision, batch, number = decisions.place(session, plane.objects, decision_id, only_system)
        raw = _record(plane, batch, decision.position)
    except Changed as changed:
        raise Denied(Reason.PROOF_LEAF, str(changed), step=_STEP) from changed
    [proof] = of(plane, batch, {number: raw})
    return proof.write()


def of(plane: Plane, batch: Batch, entries: Mapping[int, bytes | None]) -> Iterator[Proof]:
    """The proofs of entries of a batch, by their numbers; of what was left of an erased one, for None.

    What they have in common is read once.
    """
    if batch.evidence is None or batch.salts is None or batch.leaves is None:
        raise _missing("the record came without a signed batch")
    leaves = merkle.hashes(plane.objects.get(batch.leaves))
    if len(leaves) != batch.entries or merkle.root(leaves).hex() != batch.root:
        raise Denied(Reason.PROOF_PATH, "the stored leaf hashes are not those of the batch", step=_STEP)
    evidence = plane.objects.get(batch.evidence)
    known: dict[str, ReleaseEvidence] = {}
    for index, raw in entries.items():
        salt = policy = None
        if raw is not None:
            salt = plane.objects.part(batch.salts, merkle.SALT * index, merkle.SALT)
            if len(salt) != merkle.SALT or merkle.leaf_hash(salt, raw) != leaves[index]:
                raise Denied(Reason.PROOF_LEAF, "the stored record or its salt was changed", step=_STEP)
            entry = read_entry(raw)
            policy = entry.policy if entry else None
        if policy is not None and policy not in known:
            known[policy] = _release(plane, policy)
        yield Proof(
            record=raw,
            salt=salt,
            leaf=leaves[index],
            index=index,
            path=tuple(merkle.path(leaves, index)),
            batch=evidence,
            release=None if policy is None else known[policy],
        )


def _record(plane: Plane, batch: Batch, position: int) -> bytes | None:
    """The raw record; None of an erased one."""
    try:
        return raw_records.read(plane.objects, batch, position)
    except Denied as denied:
        if denied.reason != Reason.RECORD_ERASED:
            raise
        return None


def sequence(whole: Whole) -> int | None:
    """The number of the record over the life of the sidecar's instance; None when it came unsigned."""
    first = whole.batch.first_entry
    return None if first is None else first + whole.number


def is_signed(batch: Batch) -> bool:
    """Whether records of the batch can be proved."""
    return batch.evidence is not None


def _release(plane: Plane, policy: str) -> ReleaseEvidence:
    """Everything that is signed about a policy that a record names."""
    with plane.store.read() as session:
        release = session.get(Release, policy)
        attestations = [row.raw for row in releases.evidence_of(session, policy)]
    if release is None:
        raise _missing(f"the record names the policy {policy}, which is no release here")
    file = release_file(release.digest, SIGNATURE_FILE, release.signature_sha256, release.signature_length)
    return ReleaseEvidence(release.digest, (plane.objects.get(object_key(file)), *attestations))


def _missing(detail: str) -> Denied:
    return Denied(Reason.PROOF_MISSING, detail, step=_STEP)

"""Proof files of executions (docs/proof.md): their links, and proofs of the decisions that these name."""

from __future__ import annotations

from app.control import execution_lineage, proofs, raw_records
from app.control.execution_lineage import Wanted
from app.control.lineage_objects import Wish
from app.control.lineage_rows import RowEvidence
from app.control.plane import Plane
from app.control.problems import Conflict
from app.control.store import Batch
from app.core import merkle
from app.core.errors import Denied
from app.core.execution_evidence import Key
from app.core.execution_proof_form import MAX_DECISIONS, MAX_LINKS, MAX_PROOF, ExecutionProof
from app.core.link import Link
from app.core.proof_form import Proof
from app.core.reason_codes import Reason


def export(plane: Plane, identifier: str, only_system: str | None, wanted: Wanted) -> bytes:
    """The proof file of an execution. Raises `NotFound`, `Conflict`, and `Denied` when what is stored does not fit."""
    with plane.store.read() as session:
        source = RowEvidence(session, plane.objects, plane.verify_statement, only_system)
        key = execution_lineage.choose(source, identifier, wanted)
        links = source.of(key, MAX_LINKS + 1)
        if len(links) > MAX_LINKS:
            raise Conflict(f"{key.id} has more than the {MAX_LINKS} links that a proof holds at most")
        evidence = tuple(source.evidence(one.digest) for one in links)
        named = {name: leaf for one in links if isinstance(one.says, Link) for name, leaf in one.says.decisions.items()}
        batches = source.batches(key, Wish(named, None), MAX_DECISIONS)
    found = _decisions(plane, key, batches, named)
    raw = ExecutionProof(evidence, tuple(found)).write()
    if len(raw) > MAX_PROOF:
        raise Conflict(f"the proof would have {len(raw)} bytes, and one has {MAX_PROOF} at most")
    return raw


def _decisions(plane: Plane, key: Key, batches: list[Batch], named: dict[str, str]) -> list[Proof]:
    """A proof of each decision that a link names. Raises `Denied` where one is not there as it was named."""
    if len(named) > MAX_DECISIONS:
        raise Conflict(f"links of {key.id} name {len(named)} decisions, and a proof holds {MAX_DECISIONS} at most")
    wanted = {leaf: name for name, leaf in named.items()}
    found: dict[str, Proof] = {}
    for batch in batches:
        leaves = [f"sha256:{leaf.hex()}" for leaf in merkle.hashes(plane.objects.get(str(batch.leaves)))]
        entries = raw_records.entries(plane.objects, batch)
        here = {number: raw for number, (leaf, raw) in enumerate(zip(leaves, entries, strict=False)) if leaf in wanted}
        if here:
            found |= {leaves[proof.index]: proof for proof in proofs.of(plane, batch, here)}
    if missing := sorted(set(wanted) - set(found)):
        detail = f"no signed batch holds decision {wanted[missing[0]]} as a link of {key.id} names it"
        raise Denied(Reason.PROOF_MISSING, detail, step="proof")
    return list(found.values())

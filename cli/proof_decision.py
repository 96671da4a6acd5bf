"""What `placet proof` prints of decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli import proof_release

if TYPE_CHECKING:
    from app.core.proof import Proven
    from app.core.proof_form import Proof

NOT_SHOWN = "not shown"


def document(proven: Proven) -> dict[str, Any]:
    """What was proved, as JSON. Whatever the evidence does not show is null."""
    from app.core.batch import payload_digest

    batch, decision = proven.batch, proven.decision
    return {
        "proved": True,
        "sequence": proven.sequence,
        "record": _kind(proven),
        "decision": decision and {"id": decision.decision_id, "allow": decision.allow},
        "sidecar": proven.sidecar.model_dump(),
        "instance": batch.instance,
        "not_after": proven.not_after.isoformat(),
        "log": proof_release.log(proven.log),
        "batch": {
            "digest": payload_digest(batch.statement()),
            "root": f"sha256:{batch.root}",
            "first": batch.first_entry,
            "entries": batch.entries,
            "opa": batch.opa,
        },
        "bundle": decision and decision.policy,
        "library": decision and decision.library,
        "state": decision and decision.state,
        "release": proven.release and proof_release.document(proven.release),
    }


def rows(proven: Proven) -> dict[str, str]:
    """What was proved, for people."""
    decision, release = proven.decision, proven.release
    log = proven.log
    shown = {
        "proved": "yes",
        "record": _kind(proven),
        "decision": decision and decision.decision_id,
        "allow": ("yes" if decision.allow else "no") if decision else None,
        "sequence": f"{proven.sequence} of instance {proven.batch.instance}",
        "sidecar": f"{proven.sidecar.identity} (by {proven.sidecar.issuer})",
        "not newer than": proven.not_after.isoformat(),
        "log": f"entry {log.index} of {log.size} of {log.origin}",
        "bundle": decision and decision.policy,
        "library": decision and decision.library,
        "state": decision and decision.state,
        "signer": release and f"{release.signer.identity} (by {release.signer.issuer})",
        "signed at": release and release.signed_at.isoformat(),
        "source": release and proof_release.source(release),
        "tests": release and proof_release.tests(release),
    }
    return {name: value or NOT_SHOWN for name, value in shown.items()}


def claims(proof: Proof) -> dict[str, Any]:
    """What a file says, of which nothing is verified."""
    from app.core import proof as verifier
    from app.core.record_entry import read_entry

    batch = verifier.claimed_batch(proof)
    entry = read_entry(proof.record) if proof.record is not None else None
    return {
        "verified": "no: placet proof verify does that",
        "decision": entry and entry.decision_id,
        "allow": entry and entry.allow,
        "sequence": batch.first_entry + proof.index,
        "sidecar": batch.sidecar,
        "instance": batch.instance,
        "file": batch.file,
        "entries": batch.entries,
        "closed_at": batch.closed_at.isoformat(),
        "root": batch.root,
        "bundle": proof.release and proof.release.digest,
        "evidence": len(proof.release.evidence) if proof.release else 0,
        "record": "erased" if proof.record is None else proof.record.decode(errors="replace"),
    }


def _kind(proven: Proven) -> str:
    if proven.record is None:
        return "erased"
    return "a decision" if proven.decision else "no decision, but a message of OPA's"

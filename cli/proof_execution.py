"""What `placet proof` prints of executions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cli import proof_release

if TYPE_CHECKING:
    from app.core.execution_proof import ProvenExecution
    from app.core.execution_proof_form import ExecutionProof
    from app.core.link import Link
    from app.core.proof import Proven
    from app.core.proof_release import ProvenRelease


def document(proven: ProvenExecution) -> dict[str, Any]:
    """What was proved, as JSON."""
    start, end = proven.start, proven.end
    return {
        "proved": True,
        "execution": start.execution,
        "sidecar": proven.links[0].sidecar.model_dump(),
        "instance": start.instance,
        "subject": start.byproducts["subject"],
        "action": start.byproducts["action"],
        "resource": start.byproducts["resource"],
        "workflow": start.byproducts.get("workflow") or None,
        "outcome": end and end.byproducts["outcome"],
        "reason": end and end.byproducts["reason"],
        "links": [
            {
                **_said(one.says),
                "digest": one.digest,
                "not_after": one.not_after.isoformat(),
                "log": proof_release.log(one.log),
                "decisions": one.says.decisions,
            }
            for one in proven.links
        ],
        "decisions": [_decision(leaf, one) for leaf, one in proven.decisions.items()],
        "releases": [proof_release.document(one) for one in _releases(proven)],
    }


def rows(proven: ProvenExecution) -> dict[str, Any]:
    """What was proved, for people."""
    start, end = proven.start, proven.end
    subject, resource = start.byproducts["subject"], start.byproducts["resource"]
    releases, last = _releases(proven), proven.links[-1]
    erased = sum(one.record is None for one in proven.decisions.values())
    return {
        "proved": "yes",
        "execution": start.execution,
        "sidecar": f"{proven.links[0].sidecar.identity} (by {proven.links[0].sidecar.issuer})",
        "subject": f"{subject['id']} (of {subject['issuer']})",
        "action": f"{start.byproducts['action']} {resource['type']}/{resource['id']}",
        "steps": ", ".join(one.says.byproducts["step"] for one in proven.links if "step" in one.says.byproducts)
        or "none",
        "outcome": " ".join(filter(None, [end.byproducts["outcome"], end.byproducts["reason"]]))
        if end
        else "not shown: it has no end here",
        "not newer than": last.not_after.isoformat(),
        "decisions": f"{len(proven.decisions)}" + (f", of which {erased} were erased" if erased else ""),
        "bundle": _each(releases, lambda one: one.digest),
        "signer": _each(releases, lambda one: f"{one.signer.identity} (by {one.signer.issuer})"),
        "source": _each(releases, proof_release.source),
        "tests": _each(releases, proof_release.tests),
        "log": f"last entry {last.log.index} of {last.log.size} of {last.log.origin}",
    }


def _each(releases: Sequence[ProvenRelease], shown: Callable[[ProvenRelease], str]) -> str:
    """Something of each release, in their order; what is the same of all of them once."""
    said = [shown(one) or "not shown" for one in releases]
    return "; ".join(said if len(set(said)) > 1 else said[:1]) or "not shown"


def _releases(proven: ProvenExecution) -> list[ProvenRelease]:
    """The policies by which its decisions were made, by digest."""
    found = {one.release.digest: one.release for one in proven.decisions.values() if one.release}
    return [found[digest] for digest in sorted(found)]


def claims(given: ExecutionProof) -> dict[str, Any]:
    """What a file says, of which nothing is verified."""
    from app.core.execution_proof import claimed_links

    links = claimed_links(given)
    return {
        "verified": "no: placet proof verify does that",
        "execution": links[0].execution,
        "sidecar": links[0].sidecar,
        "instance": links[0].instance,
        "links": [_said(one) for one in links],
        "decisions": len(given.decisions),
    }


def _decision(leaf: str, one: Proven) -> dict[str, Any]:
    entry = one.decision
    return {
        "leaf": leaf,
        "id": entry and entry.decision_id,
        "allow": entry and entry.allow,
        "bundle": entry and entry.policy,
        "sequence": one.sequence,
        "not_after": one.not_after.isoformat(),
        "log": proof_release.log(one.log),
        "signer": one.release and one.release.signer.model_dump(),
    }


def _said(link: Link) -> dict[str, Any]:
    names = ("step", "steps", "outcome", "reason")
    return {
        "kind": link.kind,
        "number": str(link.number),
        "at": link.at.isoformat(),
        **{name: link.byproducts[name] for name in names if name in link.byproducts},
        "products": {ref.name: ref.digest for ref in link.products},
        "materials": {ref.name: ref.digest for ref in link.materials if ref.name.startswith("artifact/")},
    }

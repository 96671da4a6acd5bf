"""The verifier of an execution's proof: these steps, in this order, by this sidecar, under these decisions.

Every failure raises `Denied` with a reason and the step; nothing but a returned `ProvenExecution` means that anything
is proved. It needs no server and no network. Its steps are numbered as in docs/proof.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.core import proof, strict_json
from app.core.errors import Denied
from app.core.evidence import verify_evidence
from app.core.execution_proof_form import ExecutionProof
from app.core.link import Link
from app.core.link_names import END, START, STEP, Ref, payload_digest
from app.core.proof import LogEntry, Proven
from app.core.proof_release import NOTHING, Demands
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

_LINK = "link"


@dataclass(frozen=True)
class ProvenLink:
    """A link of the execution."""

    says: Link
    #: `payload_digest` of the statement.
    digest: str
    sidecar: SignerIdentity
    log: LogEntry
    #: The timestamp authority saw the signature then.
    not_after: datetime


@dataclass(frozen=True)
class ProvenExecution:
    """What a proof of an execution proves."""

    links: tuple[ProvenLink, ...]
    #: By the leaf hashes `sha256:…` by which the links name them.
    decisions: Mapping[str, Proven]

    @property
    def start(self) -> Link:
        """How it was started."""
        return self.links[0].says

    @property
    def end(self) -> Link | None:
        """How it ended; None for one that goes on, or of which the end was left out."""
        last = self.links[-1].says
        return last if last.kind == END else None


def verify(
    given: ExecutionProof,
    *,
    sidecars: VerificationPolicy,
    releases: VerificationPolicy,
    lineage: TrustConfig,
    trust: TrustConfig,
    demands: Demands = NOTHING,
) -> ProvenExecution:
    """Verify a proof whose form is known to be right. Raises `Denied`.

    `sidecars` may sign links and batches, which `lineage` vouches for; `releases` may sign policies, which `trust`
    vouches for and of which `demands` must be proved, too.
    """
    # (2) One sidecar of the policy signed each link, the log took it, and it speaks of that sidecar.
    links = tuple(_verified_link(raw, at, sidecars, lineage) for at, raw in enumerate(given.links))

    # (3) They are one execution's, from its start on, each naming the one before it.
    _check_chain(links)

    # (4) Each decision is proved as one alone is, and is of the same instance of the sidecar.
    decisions = {}
    for one in given.decisions:
        proven = proof.verify(one, sidecars=sidecars, releases=releases, lineage=lineage, trust=trust, demands=demands)
        _check_place(proven, links[0].says)
        decisions[f"sha256:{one.leaf.hex()}"] = proven

    # (5) They are those that the links name, all of them and no other, and say what the links say of them.
    _check_named(links, decisions)
    return ProvenExecution(links, decisions)


def claimed_links(given: ExecutionProof) -> list[Link]:
    """What the links say, to be shown: nothing of it is verified. Raises `Denied` for what is no link."""
    return [_link(proof.payload_of(raw, _LINK), f"links[{at}]") for at, raw in enumerate(given.links)]


def _verified_link(raw: bytes, at: int, sidecars: VerificationPolicy, lineage: TrustConfig) -> ProvenLink:
    step = f"links[{at}]"
    payload = proof.payload_of(raw, step)
    says = _link(payload, step)
    verified = verify_evidence(raw, subject=says.subject[0].digest, policy=sidecars, trust=lineage, step=step)
    if says.sidecar != verified.signer.identity:
        detail = f"{verified.signer.identity} signed a link of {says.sidecar}"
        raise Denied(Reason.LINK_INVALID, detail, step=step, field="environment.sidecar")
    return ProvenLink(says, payload_digest(payload), verified.signer, proof.log_entry(raw), verified.signed_at)


def _link(payload: bytes, step: str) -> Link:
    try:
        says = Link.read(payload)
    except Denied as denied:
        raise Denied(denied.reason, denied.detail, step=step, field=denied.field) from denied
    if not isinstance(says, Link) or says.execution is None:
        raise Denied(Reason.LINK_MALFORMED, f"{says.kind} is no part of an execution", step=step, field="name")
    return says


def _check_chain(links: Sequence[ProvenLink]) -> None:
    first = links[0].says
    steps = 0
    for at, one in enumerate(links):
        says, step = one.says, f"links[{at}]"
        if (says.sidecar, says.instance, says.execution) != (first.sidecar, first.instance, first.execution):
            raise Denied(Reason.LINK_FORK, f"it is of {says.execution} of {says.sidecar}", step=step, field="subject")
        if at == 0 and says.kind != START:
            raise Denied(Reason.LINK_GAP, "an execution begins with its start", step=step, field="name")
        if at and links[at - 1].says.kind == END:
            raise Denied(Reason.LINK_FORK, "nothing follows an end", step=step, field="name")
        if says.before != (links[at - 1].digest if at else None):
            raise Denied(Reason.LINK_GAP, "it names another link before it", step=step, field="materials")
        if at and says.number <= links[at - 1].says.number:
            raise Denied(Reason.LINK_FORK, "its number is not a later one", step=step, field="environment.number")
        steps += says.kind == STEP
        if says.kind != START and says.byproducts["steps"] != str(steps):
            raise Denied(Reason.LINK_GAP, f"there were {steps} steps", step=step, field="byproducts.steps")


def _check_place(proven: Proven, start: Link) -> None:
    batch = proven.batch
    if (batch.sidecar, batch.instance) != (start.sidecar, start.instance):
        detail = f"the decision is of {batch.sidecar}, instance {batch.instance}"
        raise Denied(Reason.PROOF_BATCH, detail, step="decisions", field="batch")


def _check_named(links: Sequence[ProvenLink], decisions: Mapping[str, Proven]) -> None:
    named = {leaf: (name, one.says) for one in links for name, leaf in one.says.decisions.items()}
    if missing := sorted(set(named) - set(decisions)):
        raise Denied(Reason.PROOF_MISSING, f"decision {named[missing[0]][0]} is not proved", step="decisions")
    if more := sorted(set(decisions) - set(named)):
        raise Denied(Reason.PROOF_BATCH, f"no link names the decision with the leaf {more[0]}", step="decisions")
    for leaf, (name, says) in named.items():
        entry = decisions[leaf].decision
        if decisions[leaf].record is None:
            continue  # erased: its leaf stands where the link says
        if entry is None or entry.decision_id != name:
            raise Denied(Reason.PROOF_LEAF, f"the record is not that of decision {name}", step="decisions")
        if entry.execution != says.execution:
            raise Denied(Reason.PROOF_LEAF, f"decision {name} was not made in {says.execution}", step="decisions")
        if says.kind == START:
            rests_on = {"policy": entry.policy, "library": entry.library, "state": entry.state}
            _check_start(says.materials, rests_on)


def _check_start(materials: Sequence[Ref], rests_on: Mapping[str, Any]) -> None:
    """The start names the policy, library and state under which its decision was made."""
    for ref in materials:
        if (made := rests_on.get(ref.name)) is not None and made != ref.digest:
            detail = f"the start names the {ref.name} {ref.digest}, its decision {made}"
            raise Denied(Reason.PROOF_POLICY, detail, step="links[0]", field="materials")


def is_of_an_execution(raw: bytes) -> bool:
    """Whether a file calls itself a proof of an execution. Nothing else of it is looked at."""
    try:
        document = strict_json.load_object(raw)
    except strict_json.StrictJSONError:
        return False
    return "links" in document

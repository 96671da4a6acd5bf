"""Whether a release came by the way that a layout allows: each step done by whom it names, with what it allows.

Nothing is run: in-toto's inspections are commands, and a layout here has none. in-toto's own code applies the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from app.core import layout_rules, statements
from app.core.attestation_claims import claimed
from app.core.complaint import complaint
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement, verify_evidence
from app.core.layout_form import Layout, PipelineStep
from app.core.link_form import Digests, Part, Word
from app.core.reason_codes import Reason
from app.core.signer_pattern import person
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

#: Materials, and products, of one link.
MAX_ARTIFACTS = 4096


class _Artifact(Part):
    """Its digest is SHA-256 alone: what in-toto would compare by a weaker one, or by none, does not pass."""

    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,1024}$")]
    digest: Digests


_Artifacts = Annotated[list[_Artifact], Field(max_length=MAX_ARTIFACTS)]
_Value = Annotated[str, StringConstraints(max_length=4096)] | int
_Values = Annotated[dict[str, _Value], Field(max_length=64)]


class _Predicate(Part):
    """Link v0.3, https://github.com/in-toto/attestation/blob/main/spec/predicates/link.md. No floats anywhere."""

    name: Word
    command: Annotated[list[Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=1024)]
    materials: _Artifacts
    byproducts: _Values = Field(default_factory=dict)
    environment: _Values = Field(default_factory=dict)


class _Products(Part):
    subject: _Artifacts


def checked_link(statement: Mapping[str, Any], where: str) -> tuple[_Predicate, list[_Artifact]]:
    """The predicate and the products of a link statement, of the form that counts for a layout. Raises `Denied`."""
    try:
        predicate = _Predicate.model_validate(statement["predicate"])
        products = _Products.model_validate({"subject": statement["subject"]}).subject
    except ValidationError as error:
        raise Denied(Reason.EVIDENCE_LAYOUT, complaint(error), step=where, field="predicate") from error
    return predicate, products


class _StepLink:
    """A link whose signer is one of its step's functionaries."""

    def __init__(self, verified: VerifiedStatement, where: str) -> None:
        predicate, products = checked_link(verified.statement, where)
        self.verified = verified
        self.name = predicate.name
        self.command = predicate.command
        self.exit_code = predicate.byproducts.get("return-value", 0)
        self.materials = _named(predicate.materials, where)
        self.products = _named(products, where)

    @property
    def said(self) -> tuple[Any, ...]:
        """What the links of one step must agree about."""
        return self.command, self.materials, self.products


def is_of(layout: Layout | None, raw: bytes, step: str) -> bool:
    """Whether an attestation says that it is the link of one of the layout's steps; then the layout judges it."""
    if layout is None:
        return False
    claim = claimed(raw, step)
    return claim.predicate_type == statements.LINK and claim.step in layout.names


def of_steps(layout: Layout, attestations: bytes) -> list[bytes]:
    """The links of the layout's steps in an `.attestations.jsonl` file. Raises `Denied` for what is no attestation."""
    lines = [line for line in attestations.split(b"\n") if line.strip()]
    return [line for number, line in enumerate(lines) if is_of(layout, line, f"attestations[{number}]")]


def require_signed(
    layout: Layout, signature: bytes, *, policy: VerificationPolicy, trust: TrustConfig
) -> VerifiedStatement:
    """Verify that somebody whom `policy` lists signed exactly this layout. Raises `Denied`."""
    if not signature:
        detail = "the layout is not signed; `placet layout sign` does it"
        raise Denied(Reason.EVIDENCE_MISSING, detail, step="layout", field="signature")
    verified = verify_evidence(signature, subject=layout.digest, policy=policy, trust=trust, step="layout")
    verified.require(statements.LAYOUT, "layout")
    return verified


def require_layout(
    layout: Layout, links: Sequence[bytes], *, bundle: str, trust: TrustConfig
) -> list[VerifiedStatement]:
    """Verify links, and that together they are the layout's way to the bundle with this digest. Raises `Denied`."""
    found: dict[str, list[_StepLink]] = {one.name: [] for one in layout.steps}
    steps = {one.name: one for one in layout.steps}
    for number, raw in enumerate(links):
        link = _verified(raw, steps, f"layout.links[{number}]", trust)
        if link.verified.signed_at > layout.valid_until:
            raise _denied(f"a link of the step {link.name} was signed after the layout expired", "expires")
        found[link.name].append(link)
    for step in layout.steps:
        _require_step(step, found[step.name])
    first = {name: those[0] for name, those in found.items()}
    for step in layout.steps:
        for kind, rules in (("materials", step.expected_materials), ("products", step.expected_products)):
            artifacts = [(one.name, one.materials, one.products) for one in first.values()]
            if said := layout_rules.broken(step.name, kind, rules, artifacts):
                raise _denied(f"step {step.name}: {kind}: {said}", f"steps.{step.name}.expected_{kind}")
    last = layout.steps[-1].name
    if bundle.removeprefix("sha256:") not in first[last].products.values():
        raise _denied(f"the bundle is no product of the last step, {last}", f"steps.{last}")
    return [one.verified for those in found.values() for one in those]


def _verified(raw: bytes, steps: dict[str, PipelineStep], where: str, trust: TrustConfig) -> _StepLink:
    claim = claimed(raw, where)
    step = steps.get(claim.step or "")
    if step is None:
        raise Denied(Reason.EVIDENCE_LAYOUT, "not the link of a step of the layout", step=where, field="predicate.name")
    if not claim.subjects:
        raise Denied(Reason.EVIDENCE_LAYOUT, "a link without products", step=where, field="subject")
    allowed = [SignerIdentity(identity=one.identity, issuer=one.issuer) for one in step.functionaries]
    verified = verify_evidence(
        raw, subject=claim.subjects[0], policy=VerificationPolicy(identities=allowed), trust=trust, step=where
    )
    link = _StepLink(verified, where)
    if verified.predicate_type != statements.LINK or link.name != step.name:
        # The claim was of another statement than the one that was verified: there must be no such bytes.
        raise Denied(Reason.EVIDENCE_LAYOUT, "another link than it seemed", step=where, field="predicate.name")
    return link


def _require_step(step: PipelineStep, links: Sequence[_StepLink]) -> None:
    field = f"steps.{step.name}"
    if not links:
        raise _denied(f"nobody signed a link of the step {step.name}", field)
    for link in links:
        if link.exit_code != 0:
            raise _denied(f"the command of the step {step.name} failed", f"{field}.byproducts.return-value")
        if link.said != links[0].said:
            raise _denied(f"two links of the step {step.name} say different things", field)
        if step.expected_command is not None and link.command != step.expected_command:
            raise _denied(f"another command than expected in the step {step.name}", f"{field}.expected_command")
    signers = {person(one.verified.signer.identity) for one in links}
    if len(signers) < step.threshold:
        raise _denied(
            f"{len(signers)} of {step.threshold} functionaries signed the step {step.name}", f"{field}.threshold"
        )


def _named(artifacts: Sequence[_Artifact], where: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for one in artifacts:
        if named.setdefault(one.name, one.digest.sha256) != one.digest.sha256:
            raise Denied(Reason.EVIDENCE_LAYOUT, "one name for two artifacts", step=where, field="predicate")
    return named


def _denied(detail: str, field: str) -> Denied:
    return Denied(Reason.EVIDENCE_LAYOUT, detail, step="layout", field=field)

"""What a system's sidecars must know beyond the trust that all share: a document of its own, published through TUF.

Patterns of actions and resources are exact strings, or prefixes with one trailing `*`. A resource is written
`TYPE/ID`; a type holds no slash. `*` alone means everything.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.core.layout_rules import check_layout, without_defaults
from app.core.masking import MAX_RULES, MaskingRule
from app.core.targets import Document, Line, Name


def _star_at_the_end(pattern: str) -> str:
    if "*" in pattern[:-1]:
        raise ValueError(f"{pattern!r}: * may stand at the end only")
    return pattern


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_star_at_the_end)]
#: The name of a workflow, or of one of its steps.
StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
#: Artifact rules of in-toto, such as `[MATCH, "*", WITH, PRODUCTS, FROM, build]`.
Rules = Annotated[
    list[Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(min_length=2, max_length=10)]],
    Field(max_length=64),
]
#: Kinds of attestation results.
Kind = Literal["image", "node", "region", "posture"]


class RequiredEnvironment(Document):
    """An attestation result without which every decision is a denial."""

    kind: Kind
    max_age_seconds: Annotated[int, Field(ge=5, le=86400)]
    #: Accepted values by claim of the result, such as `{"region": ["eu-1", "eu-2"]}`.
    accept: dict[str, Annotated[list[str], Field(min_length=1, max_length=64)]] = {}


class SegmentedSubjects(Document):
    """Subjects of one issuer in a segment: exact, or a prefix with one trailing `*`."""

    issuer: Line
    subject: Pattern


class Segment(Document):
    """What belongs together. An exact entry counts more than a prefix, a longer prefix more than a shorter."""

    name: Name
    subjects: Annotated[list[SegmentedSubjects], Field(max_length=256)] = []
    resources: Annotated[list[Pattern], Field(max_length=256)] = []


class Flow(Document):
    """What workloads of one segment may do to resources of another. Within a segment no flow is needed."""

    source: Name
    target: Name
    actions: Annotated[list[Pattern], Field(min_length=1, max_length=64)]


class LayoutStep(Document):
    """One step of a layout: what rules its materials and products must meet, as in-toto writes and applies them."""

    name: StepName
    expected_materials: Rules = []
    expected_products: Rules = []


class Layout(Document):
    """The part of an in-toto layout that is signed, as far as a workflow needs it: steps with their rules, in order.

    Who signs is not said here: every step's statement is signed by its sidecar. `app.core.workflow` applies it.
    """

    steps: Annotated[list[LayoutStep], Field(min_length=1, max_length=64)]
    readme: Annotated[str, StringConstraints(max_length=4096)] = ""

    @model_validator(mode="before")
    @classmethod
    def _as_in_toto_writes_it(cls, value: Any) -> Any:
        """Take what every layout has and what says nothing here; whatever would be ignored in silence is refused."""
        return without_defaults(value)

    @model_validator(mode="after")
    def _applicable(self) -> Layout:
        check_layout([(one.name, [*one.expected_materials, *one.expected_products]) for one in self.steps])
        return self


class RequiredFor(Document):
    """What may be done only in executions that follow the workflow: these actions on these resources."""

    actions: Annotated[list[Pattern], Field(min_length=1, max_length=64)]
    resources: Annotated[list[Pattern], Field(min_length=1, max_length=64)] = ["*"]


class Workflow(Document):
    """A declared workflow. With the order `strict` each step comes once, in the order of the layout."""

    layout: Layout
    order: Literal["strict"] = "strict"
    required_for: RequiredFor | None = None


class SignedMode(Document):
    """Shadow or break-glass: Sigstore bundles (JSON text) over one statement; break-glass needs two signers."""

    kind: Literal["shadow", "break-glass"]
    evidence: Annotated[list[Annotated[str, StringConstraints(max_length=32768)]], Field(min_length=1, max_length=4)]


class Revocation(Document):
    """A warrant or an attestation result that counts no longer, by its `jti`. Dropped after it would have expired."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    #: Seconds since the epoch.
    expires_at: int


class SystemGovernance(Document):
    """Everything about one system."""

    system: Name
    #: What warrants for this system name: `spiffe://DOMAIN/system/SYSTEM`.
    audience: Line
    warrant_required: bool = False
    #: An identity token older than this, by its `iat`, is stale. None: until it expires.
    max_identity_age_seconds: Annotated[int, Field(ge=5, le=86400)] | None = None
    environment: Annotated[list[RequiredEnvironment], Field(max_length=4)] = []
    segments: Annotated[list[Segment], Field(max_length=64)] = []
    flows: Annotated[list[Flow], Field(max_length=256)] = []
    #: What stays out of records.
    masking: Annotated[list[MaskingRule], Field(max_length=MAX_RULES)] = []
    #: By name: what an execution names when it starts.
    workflows: Annotated[dict[StepName, Workflow], Field(max_length=16)] = {}
    modes: Annotated[list[SignedMode], Field(max_length=4)] = []
    revoked_warrants: Annotated[list[Revocation], Field(max_length=1000)] = []
    revoked_results: Annotated[list[Revocation], Field(max_length=1000)] = []


def audience_of(domain: str, system: str) -> str:
    """What warrants for a system name as their audience."""
    return f"spiffe://{domain}/system/{system}"


def sidecar_id(domain: str, system: str, name: str) -> str:
    """A sidecar's SPIFFE ID, under which it signs execution tokens."""
    return f"spiffe://{domain}/sidecar/{system}/{name}"


def control_plane_id(domain: str) -> str:
    """Under which name a control plane signs warrants and attestation results."""
    return f"spiffe://{domain}/control-plane"

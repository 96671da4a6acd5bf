"""A system's governance as people write it: what sidecars are told, and the rules that the control plane keeps.

Sidecars get the first part (`app.core.governance`); approval, exchange rules and accepted evidence never leave here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.control.issuer_keys import vet
from app.control.problems import Invalid
from app.core import warrant_scope
from app.core.errors import UsageError
from app.core.governance import Flow, Pattern, RequiredEnvironment, Segment, StepName, Workflow
from app.core.masking import MAX_RULES, MaskingRule
from app.core.targets import Digest, Line
from app.core.verification_policy import SignerIdentity

#: Seconds that an attestation result holds unless the document says otherwise.
RESULT_LIFETIME = 300

#: The member of a result's part that says whether it affirms; no claim may take its place.
STATUS = "ear.status"

_CLAIM = re.compile(r"[A-Za-z0-9_.:/~-]{1,128}")


class _Part(BaseModel):
    """A part of the document: strict, since a misspelt member would be ignored in silence."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Approval(_Part):
    """Whether warrants wait for an approver's signed statement, and who the approvers are."""

    required: bool = False
    approvers: Annotated[list[SignerIdentity], Field(max_length=64)] = []

    @model_validator(mode="after")
    def _somebody(self) -> Approval:
        if self.required and not self.approvers:
            raise ValueError("approval is required, but nobody may approve: name approvers")
        return self


class Actor(_Part):
    """Who acts for the subject: its exact issuer and a pattern of its name."""

    issuer: Line
    subject: Pattern


def _constraints(value: dict[str, Any]) -> dict[str, Any]:
    """Constraints of a warrant, as they are written."""
    try:
        warrant_scope.validated(value, "constraints")
    except UsageError as error:
        raise ValueError(str(error)) from error
    return value


class ExchangeRule(_Part):
    """Who may get a warrant for what: the widest that one is issued under this rule."""

    issuer: Line
    subject: Pattern
    actor: Actor | None = None
    actions: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    resources: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    constraints: Annotated[dict[str, Any], AfterValidator(_constraints)] = {}
    max_lifetime_seconds: Annotated[int, Field(ge=1, le=30 * 86400)]
    #: How many executions may start with it; None: any number, until it expires.
    uses: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    #: How often it may be delegated on.
    depth: Annotated[int, Field(ge=0, le=8)] = 0


class ImageEvidence(_Part):
    """Whose signed statement makes an image acceptable; with `digests`, only these images."""

    identities: Annotated[list[SignerIdentity], Field(min_length=1, max_length=64)]
    #: Predicate types that must be attested by them, each at least once. Empty: SLSA provenance or a VSA will do.
    required_predicates: Annotated[list[Line], Field(max_length=16)] = []
    digests: Annotated[list[Digest], Field(max_length=256)] = []


def _claims(value: dict[str, str]) -> dict[str, str]:
    for name, path in value.items():
        if not _CLAIM.fullmatch(name) or not _CLAIM.fullmatch(path) or name == STATUS:
            raise ValueError(f"{name!r}: {path!r} does not map a claim; nested ones are written a/b, a slash itself ~1")
    return value


class TokenEvidence(_Part):
    """An issuer whose tokens say on which node, or in which region, a workload runs.

    The issuer is one of the trusted ones. `node` and `region` map a name in the result to the claim that holds it;
    a slash leads into an object, such as `kubernetes.io/node/name` for Kubernetes.
    """

    issuer: Line
    #: The only audience that counts: a token for the workload's own services is no evidence here.
    audience: Line
    node: Annotated[dict[str, str], Field(max_length=16), AfterValidator(_claims)] = {}
    region: Annotated[dict[str, str], Field(max_length=16), AfterValidator(_claims)] = {}

    @model_validator(mode="after")
    def _something(self) -> TokenEvidence:
        if not self.node and not self.region:
            raise ValueError(f"say which claims of {self.issuer} are taken: node, region or both")
        return self


class AttesterEvidence(_Part):
    """An attester whose EATs (RFC 9711) say what state a host is in, or whose VSAs say what image it runs."""

    issuer: Line
    #: Its public keys, a JWK set.
    jwks: dict[str, Any]
    #: A name in the result's `posture`, and the claim that holds it.
    posture: Annotated[dict[str, str], Field(max_length=16), AfterValidator(_claims)] = {}
    #: The verifier that it signs verification summaries (VSAs) for, by its id; without it none of them is taken.
    verifier: Line | None = None
    #: A claim that must hold the sidecar's SPIFFE ID, so that one host's token is none for another.
    sidecar: Line | None = None
    #: How old an EAT may be, by its `iat`; and a VSA, by the time of the verification.
    max_age_seconds: Annotated[int, Field(ge=5, le=86400)] = 300

    @model_validator(mode="after")
    def _vetted(self) -> AttesterEvidence:
        if not self.posture and self.verifier is None:
            raise ValueError(f"say what is taken of {self.issuer}: posture, verifier or both")
        try:
            vet(self.jwks)
        except Invalid as error:
            raise ValueError(str(error)) from error
        return self


class Evidence(_Part):
    """Which evidence about a sidecar's environment is accepted, and how long a result made of it holds."""

    image: ImageEvidence | None = None
    tokens: Annotated[list[TokenEvidence], Field(max_length=16)] = []
    attesters: Annotated[list[AttesterEvidence], Field(max_length=16)] = []
    lifetime_seconds: Annotated[int, Field(ge=30, le=3600)] = RESULT_LIFETIME


class GovernanceDocument(_Part):
    """The whole document."""

    warrant_required: bool = False
    max_identity_age_seconds: Annotated[int, Field(ge=5, le=86400)] | None = None
    environment: Annotated[list[RequiredEnvironment], Field(max_length=4)] = []
    segments: Annotated[list[Segment], Field(max_length=64)] = []
    flows: Annotated[list[Flow], Field(max_length=256)] = []
    masking: Annotated[list[MaskingRule], Field(max_length=MAX_RULES)] = []
    workflows: Annotated[dict[StepName, Workflow], Field(max_length=16)] = {}
    approval: Approval = Approval()
    exchange: Annotated[list[ExchangeRule], Field(max_length=256)] = []
    evidence: Evidence = Evidence()

    @model_validator(mode="after")
    def _consistent(self) -> GovernanceDocument:
        _once((one.kind for one in self.environment), "environment: the kind {} stands twice")
        names = [segment.name for segment in self.segments]
        _once(names, "segments: the name {} stands twice")
        subjects = [f"{one.subject} of {one.issuer}" for segment in self.segments for one in segment.subjects]
        _once(subjects, "segments: the subject {} belongs to two segments")
        _once((one for segment in self.segments for one in segment.resources), "segments: {} belongs to two segments")
        for resource in (one for segment in self.segments for one in segment.resources):
            _resource(resource)
        for flow in self.flows:
            for name in (flow.source, flow.target):
                if name not in names:
                    raise ValueError(f"flows: there is no segment {name}")
        flows = (f"from {flow.source} to {flow.target}" for flow in self.flows)
        _once(flows, "flows: the one {} stands twice; join the actions")
        _once((rule.path for rule in self.masking), "masking: the path {} stands twice")
        scopes = [one.required_for.resources for one in self.workflows.values() if one.required_for]
        for resources in (*(rule.resources for rule in self.exchange), *scopes):
            for resource in resources:
                _resource(resource)
        return self


def _resource(pattern: str) -> None:
    if "/" not in pattern and not pattern.endswith("*"):
        raise ValueError(f"the resource {pattern!r} must be TYPE/ID, or a prefix with one trailing *")


def _once(values: Iterable[str], complaint: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(complaint.format(value))
        seen.add(value)

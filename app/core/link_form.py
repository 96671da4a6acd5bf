"""The form of a journal's statements, member by member: links, and changes of the trust state.

docs/trust-change.schema.json is made of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.core import statements
from app.core.link_names import Ref
from app.core.targets import Digest

TRUST_CHANGE = f"{statements.PLACET}/trust-change/v1"

#: Bytes of one statement.
MAX_STATEMENT = 160 * 1024
#: Steps of one execution; materials and products of one step; decisions and parents that it names.
MAX_STEPS = 1000
MAX_ARTIFACTS = 64
MAX_DECISIONS = 64
MAX_PARENTS = 16
MAX_FACTS = 16
#: Warrants of one chain, and statements of evidence about one release.
MAX_WARRANTS = 16
MAX_EVIDENCE = 65

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

Decimal = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ExecutionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
DecisionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
#: The name of a step or of a workflow, and of a fact.
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z]+\.[a-z_]+$")]
#: What a request names: its size is bounded as a whole.
Text = Annotated[str, StringConstraints(max_length=16_384)]
#: The name of a material or product: no control characters, whatever a terminal would obey.
ResourceName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,512}$")]
Argument = Annotated[str, StringConstraints(max_length=4096)]
Command = Annotated[list[Argument], Field(max_length=64)]
Fact = Annotated[str, StringConstraints(max_length=1024)]
Facts = Annotated[dict[Word, Fact], Field(max_length=MAX_FACTS)]
#: One life of a sidecar's files.
Instance = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
#: UTC, in whole seconds.
Time = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
_Unresolved = Annotated[list[DecisionId], Field(max_length=MAX_DECISIONS)]


class Part(BaseModel):
    """A part of a statement: strict, and without members that are not named."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Environment(Part):
    """Where a statement stands in the journal. `number` counts over the journal of the instance, from 0."""

    sidecar: Annotated[str, StringConstraints(pattern=rf"^spiffe://[a-z0-9._-]{{1,255}}/sidecar/{_LABEL}/{_LABEL}$")]
    instance: Instance
    number: Decimal
    previous: Digest | None
    at: Time


class Digests(Part):
    """The digest of something that a statement names."""

    sha256: Hex


class Descriptor(Part):
    """Something that a statement names."""

    name: ResourceName
    digest: Digests

    def ref(self) -> Ref:
        """The same, with the digest as `sha256:…`."""
        return Ref(self.name, f"sha256:{self.digest.sha256}")


class Subject(Part):
    """Who runs an execution."""

    issuer: Text
    id: Text


class Resource(Part):
    """What an execution was started for."""

    type: Text
    id: Text


class Start(Part):
    """`execution/start`. `unresolved`: decisions of which this sidecar holds no record."""

    execution: ExecutionId
    subject: Subject
    action: Text
    resource: Resource
    workflow: Word = ""
    unresolved: _Unresolved


class Step(Part):
    """`execution/step`. `steps` counts the steps of this execution, from 1; `facts` are the caller's words."""

    execution: ExecutionId
    step: Word
    steps: Decimal
    facts: Facts
    unresolved: _Unresolved


class End(Part):
    """`execution/end`. `steps`: how many there were."""

    execution: ExecutionId
    outcome: Literal["completed", "failed", "stopped"]
    reason: Code | None
    steps: Decimal


class Enforce(Part):
    """`release/enforce`."""

    channel: Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$")]
    sequence: Decimal


class Lease(Part):
    """`lease/withdrawn` and `lease/renewed`."""

    reason: Code | None
    detail: Annotated[str, StringConstraints(max_length=1000)]


class Link(Part):
    """The predicate of a link; what `byproducts` is, its name says."""

    name: Literal[
        "execution/start", "execution/step", "execution/end", "release/enforce", "lease/withdrawn", "lease/renewed"
    ]
    command: Command
    materials: Annotated[list[Descriptor], Field(max_length=MAX_ARTIFACTS + MAX_DECISIONS + MAX_PARENTS + MAX_EVIDENCE)]
    byproducts: dict[str, Any]
    environment: Environment


class TrustChange(Part):
    """The predicate of a change: OPA was given the trust state `to` in place of `from`.

    `changed` names, sorted, the members in which the two differ; all of them where there was none before.
    """

    environment: Environment
    from_: Annotated[Digest | None, Field(alias="from")]
    to: Digest
    changed: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]], Field(min_length=1, max_length=64)
    ]


BYPRODUCTS: dict[str, type[Part]] = {
    "execution/start": Start,
    "execution/step": Step,
    "execution/end": End,
    "release/enforce": Enforce,
    "lease/withdrawn": Lease,
    "lease/renewed": Lease,
}


def trust_change_schema() -> dict[str, Any]:
    """The JSON Schema of a trust change's predicate."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": TRUST_CHANGE,
        **TrustChange.model_json_schema(),
    }

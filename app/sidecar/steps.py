"""Steps and ends of executions, as callers ask for them: read strictly, and noted under the execution's token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from app.core import link_form
from app.core.bundle import digest_of
from app.core.complaint import complaint
from app.core.errors import Denied
from app.core.link_form import Command, DecisionId, Descriptor, Facts, Word
from app.core.link_names import ARTIFACT, PARENT, Ref
from app.core.reason_codes import Reason
from app.core.strict_json import canonical
from app.core.targets import Digest
from app.sidecar.edge_requests import MAX_TOKEN
from app.sidecar.execution_journal import ExecutionJournal
from app.sidecar.execution_notes import Done, Key, Noted, NotOfIt
from app.sidecar.executions import BadRequest, Executions, NotAdmitted

Token = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOKEN)]
_Artifacts = Annotated[list[Descriptor], Field(max_length=link_form.MAX_ARTIFACTS)]
_Body = TypeVar("_Body", bound=BaseModel)


class _Step(link_form.Part):
    """What a caller says of a step: names of artifacts are the caller's own."""

    name: Word
    command: Command = Field(default_factory=list)
    materials: _Artifacts = Field(default_factory=list)
    products: _Artifacts = Field(default_factory=list)
    decisions: Annotated[list[DecisionId], Field(max_length=link_form.MAX_DECISIONS)] = Field(default_factory=list)
    #: Digests of earlier statements of whichever execution or sidecar.
    parents: Annotated[list[Digest], Field(max_length=link_form.MAX_PARENTS)] = Field(default_factory=list)
    facts: Facts = Field(default_factory=dict)
    #: The caller's own name for this very step: sent again, it is the same step.
    key: Word | None = None


class _StepBody(link_form.Part):
    token: Token
    step: _Step


class _EndBody(link_form.Part):
    token: Token
    outcome: Literal["completed", "failed"]


class Steps:
    """Notes steps and ends of one sidecar's executions. Safe to use from several threads."""

    def __init__(self, executions: Executions, journal: ExecutionJournal | None) -> None:
        """`journal`: None: this sidecar keeps no lineage."""
        self._executions = executions
        self._journal = journal

    def step(self, execution: str, body: Any) -> Noted:
        """Note a step: `{token, step}`. Raises `BadRequest`, `NotAdmitted`."""
        asked = _read(_StepBody, body)
        journal = self._kept()
        admitted = self._executions.admit(execution, asked.token)
        step = asked.step
        done = Done(step.name, _refs(step.materials), _refs(step.products))
        parents = tuple(Ref(PARENT, one) for one in sorted(set(step.parents)))
        more = {"decisions": sorted(set(step.decisions)), "parents": parents, "facts": step.facts}
        key = None if step.key is None else Key(step.key, digest_of(canonical(step.model_dump())))
        try:
            return journal.step(execution, admitted.trust["execution"]["issuer"], done, step.command, more, key)
        except NotOfIt as error:
            raise BadRequest(str(error)) from error
        except Denied as denied:
            if denied.reason == Reason.LINK_MALFORMED:
                raise BadRequest(denied.detail) from denied
            raise NotAdmitted(denied.reason, admitted.about) from denied

    def find(self, execution: str, number: str, token: str) -> Noted | None:
        """A step by its number in the journal; None when the execution has no such one. Raises `NotAdmitted`."""
        journal = self._kept()
        admitted = self._executions.admit(execution, token, ended=True)
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        try:
            return journal.find(execution, int(number))
        except Denied as denied:
            raise NotAdmitted(denied.reason, admitted.about) from denied

    def end(self, execution: str, body: Any) -> str:
        """Note the end: `{token, outcome}`. Returns the outcome. Raises `BadRequest`, `NotAdmitted`."""
        asked = _read(_EndBody, body)
        journal = self._kept()
        admitted = self._executions.admit(execution, asked.token)
        try:
            journal.end(execution, admitted.trust["execution"]["issuer"], asked.outcome)
        except Denied as denied:
            raise NotAdmitted(denied.reason, admitted.about) from denied
        return asked.outcome

    def _kept(self) -> ExecutionJournal:
        if self._journal is None:
            raise NotAdmitted(Reason.LINEAGE_UNAVAILABLE)
        return self._journal


def _refs(artifacts: Sequence[Descriptor]) -> tuple[Ref, ...]:
    return tuple(sorted({Ref(ARTIFACT + one.name, one.ref().digest) for one in artifacts}))


def _read(form: type[_Body], body: Any) -> _Body:
    try:
        return form.model_validate(body)
    except ValidationError as error:
        raise BadRequest(complaint(error)) from error

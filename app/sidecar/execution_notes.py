"""What is told of executions: starts, steps, and the workflows that judge them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from app.core.errors import Denied
from app.core.link_names import START, Ref, approval_ref, warrant_ref
from app.core.reason_codes import Reason
from app.sidecar.answers import Start
from app.sidecar.journal_draft import Draft, Position
from app.sidecar.seen import claims_of, jti_of


class NotOfIt(ValueError):
    """The request names a decision of another execution."""


class Done(NamedTuple):
    """A step, as a workflow judges it."""

    name: str
    materials: tuple[Ref, ...]
    products: tuple[Ref, ...]


class Key(NamedTuple):
    """A caller's own name for a step, and the digest of all that it says of it."""

    name: str
    asked: str


class Workflows(Protocol):
    """Judges executions by the workflows that their system declares. It keeps nothing: the journal does."""

    def begin(self, body: Mapping[str, Any], /) -> str | None:
        """The workflow of an execution that is about to start; None: it needs none. Raises `Denied`.

        `body`: of the request, `{input, workflow?}`.
        """

    def step(self, workflow: str, done: Sequence[Done], step: Done, /) -> None:
        """Raise `Denied` unless `step` may follow what was done before."""

    def end(self, workflow: str, done: Sequence[Done], /) -> None:
        """Raise `Denied` unless an execution that did this may end as completed."""


@dataclass(frozen=True)
class Asked:
    """A start: for which execution, with which request, in which workflow, and OPA's id of the decision."""

    execution: str
    request: Mapping[str, Any]
    workflow: str | None
    decision: str | None

    def body(self) -> dict[str, Any]:
        """As it was sent."""
        return {"input": self.request, **({} if self.workflow is None else {"workflow": self.workflow})}

    def draft(self, start: Start, workflow: str | None, sidecar: str, seen: Position | None) -> Draft:
        """What the journal says of it. Raises `Denied` when OPA's answer is not of the library's form."""
        claims, decision = start.claims, start.decision
        try:
            said = {
                "execution": self.execution,
                "subject": {"issuer": claims["sub_iss"], "id": claims["sub"]},
                "action": self.request["action"]["name"],
                "resource": {name: self.request["resource"][name] for name in ("type", "id")},
                **({} if workflow is None else {"workflow": workflow}),
            }
            policy, library = (str(decision["bundles"][name]) for name in ("policy", "library"))
            under = (Ref("policy", policy), Ref("library", library), Ref("state", str(decision["state"])))
        except (KeyError, TypeError) as error:
            raise Denied(Reason.DECISION_MALFORMED, f"the decision does not name {error}") from error
        return Draft(
            START, sidecar, int(time.time()), said,
            materials=(*under, *_warrants(self.request.get("warrant"), claims["warrants"])),
            decisions=(str(self.decision),), seen=seen, policy=policy,
        )  # fmt: skip


@dataclass(frozen=True)
class Noted:
    """A step in the journal. `digest`: of its statement; None while that is not final."""

    number: int
    steps: int
    name: str
    digest: str | None = None

    def describe(self, execution: str) -> dict[str, Any]:
        """As it is told to callers. Numbers are decimal strings."""
        return {"execution": execution, "number": str(self.number), "steps": str(self.steps), "name": self.name}


def _warrants(chain: Any, granted: Sequence[str]) -> list[Ref]:
    """The warrants that OPA verified and took, by the digests of their tokens; and the approval that the root names."""
    found: dict[str, Ref] = {}
    for token in chain if isinstance(chain, list) else []:
        if (jti := jti_of(token)) in granted:
            found[f"warrant/{jti}"] = warrant_ref(str(jti), token)
            if (approval := claims_of(token).get("approval")) is not None:  # OPA takes it from roots alone
                found[f"approval/{jti}"] = approval_ref(str(jti), approval)
    return list(found.values())

"""The workflows that the system declares now, applied to what executions of this sidecar ask and note.

Nothing is kept here: what an execution did so far stands in the journal, so that a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.core import workflow
from app.core.errors import Denied
from app.core.governance import Workflow
from app.core.reason_codes import Reason
from app.sidecar.execution_notes import Done


class Workflows:
    """Safe to use from several threads."""

    def __init__(self, declared: Callable[[], Mapping[str, Workflow] | None]) -> None:
        """`declared`: by name, as the governance in force has them; None while none is known."""
        self._declared = declared

    def begin(self, body: Mapping[str, Any]) -> str | None:
        """The workflow that an execution follows which starts with this request, `{input, workflow?}`; or None.

        Raises `Denied` with `workflow.required` where another one, or one at all, is demanded.
        """
        named = body.get("workflow")
        asked = body.get("input")
        action, kind, identifier = (
            _text(asked, *path) for path in (("action", "name"), ("resource", "type"), ("resource", "id"))
        )
        if named is not None and not isinstance(named, str):
            raise Denied(Reason.REQUEST_MALFORMED, "workflow is a name", step="workflow", field="workflow")
        workflow.require_declared(self._known(), named, action, kind, identifier)
        return named

    def step(self, name: str, done: Sequence[Done], now: Done) -> None:
        """Raises `Denied` with `workflow.violated` unless `now` may follow `done` in the workflow."""
        workflow.require_step(self._followed(name), [workflow.Done.of(*one) for one in done], workflow.Done.of(*now))

    def end(self, name: str, done: Sequence[Done]) -> None:
        """Raises `Denied` with `workflow.violated` unless the workflow is done."""
        workflow.require_done(self._followed(name), [workflow.Done.of(*one) for one in done])

    def _followed(self, name: str) -> Workflow:
        found = self._known().get(name)
        if found is None:
            raise Denied(Reason.WORKFLOW_VIOLATED, f"{name} is not declared any more", step="workflow")
        return found

    def _known(self) -> Mapping[str, Workflow]:
        declared = self._declared()
        if declared is None:
            raise Denied(Reason.LEASE_MISSING, "the system's governance is not known yet", step="workflow")
        return declared


def _text(document: Any, *path: str) -> str:
    for member in path:
        document = document.get(member) if isinstance(document, Mapping) else None
    if not isinstance(document, str):
        where = ".".join(path)
        raise Denied(Reason.REQUEST_MALFORMED, f"input.{where} is no string", step="workflow", field=where)
    return document

"""The workflows that the system declares now, applied to what executions of this sidecar ask and note.

Nothing is kept here: what an execution did so far stands in the journal, so that a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from app.core import workflow
from app.core.errors import Denied
from app.core.governance import Workflow
from app.core.link_names import ARTIFACT, Ref
from app.core.reason_codes import Reason


class _Noted(Protocol):
    """A step as the journal holds it, or will hold it."""

    @property
    def name(self) -> str: ...
    @property
    def materials(self) -> tuple[Ref, ...]: ...
    @property
    def products(self) -> tuple[Ref, ...]: ...


class Workflows:
    """Safe to use from several threads."""

    def __init__(self, declared: Callable[[], Mapping[str, Workflow] | None]) -> None:
        """`declared`: by name, as the governance in force has them; None while none is known."""
        self._declared = declared

    def begin(self, execution: str, body: Mapping[str, Any], claims: Mapping[str, Any]) -> str | None:
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

    def step(self, name: str, done: Sequence[_Noted], now: _Noted) -> None:
        """Raises `Denied` with `workflow.violated` unless `now` may follow `done` in the workflow."""
        workflow.require_step(self._followed(name), [_done(one) for one in done], _done(now))

    def end(self, name: str, done: Sequence[_Noted]) -> None:
        """Raises `Denied` with `workflow.violated` unless the workflow is done."""
        workflow.require_done(self._followed(name), [_done(one) for one in done])

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


def _done(noted: _Noted) -> workflow.Done:
    return workflow.Done(noted.name, _artifacts(noted.materials), _artifacts(noted.products))


def _artifacts(refs: Iterable[Ref]) -> dict[str, str]:
    """Those that the caller named, by its own names; the rest is the journal's."""
    return {one.name.removeprefix(ARTIFACT): one.digest for one in refs if one.name.startswith(ARTIFACT)}


def _text(document: Any, *path: str) -> str:
    for member in path:
        document = document.get(member) if isinstance(document, Mapping) else None
    if not isinstance(document, str):
        where = ".".join(path)
        raise Denied(Reason.REQUEST_MALFORMED, f"input.{where} is no string", step="workflow", field=where)
    return document

"""Declared workflows: whether an execution must follow one, and whether a step keeps to it.

The rules of a layout are applied by in-toto's own code, to one step after the other as they are noted. What holds
then holds for the whole: rules look back at earlier steps alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.core import layout_rules
from app.core.errors import Denied
from app.core.governance import LayoutStep, Workflow
from app.core.link_names import ARTIFACT, Ref
from app.core.reason_codes import Reason
from app.core.warrant_scope import covers


@dataclass(frozen=True)
class Done:
    """A step as its execution noted it: names as the caller gives them, digests `sha256:…`."""

    name: str
    materials: Mapping[str, str]
    products: Mapping[str, str]

    @classmethod
    def of(cls, name: str, materials: Iterable[Ref], products: Iterable[Ref]) -> Done:
        """Of what a journal names, those that the caller named, by its own names; the rest is the journal's."""
        return cls(name, _artifacts(materials), _artifacts(products))


def require_declared(workflows: Mapping[str, Workflow], named: str | None, action: str, kind: str, id: str) -> None:
    """Raise `Denied` with `workflow.required` unless an execution for this action on `kind/id` may follow `named`."""
    if named is not None and named not in workflows:
        raise Denied(Reason.WORKFLOW_REQUIRED, f"no workflow {named!r} is declared for this system", step="workflow")
    demanding = demanded(workflows, action, kind, id)
    if demanding and named not in demanding:
        said = "none is named" if named is None else f"{named} is another"
        raise Denied(
            Reason.WORKFLOW_REQUIRED, f"{action} on {kind}/{id} needs {' or '.join(demanding)}; {said}", step="workflow"
        )


def demanded(workflows: Mapping[str, Workflow], action: str, kind: str, id: str) -> list[str]:
    """The names of the workflows of which an execution must follow one to do this; none where it need not."""
    return sorted(
        name
        for name, workflow in workflows.items()
        if (scope := workflow.required_for) is not None
        and covers(scope.actions, action)
        and ("/" in kind or covers(scope.resources, f"{kind}/{id}"))  # what could be read in two ways is demanded
    )


def require_step(workflow: Workflow, done: Sequence[Done], now: Done) -> None:
    """Raise `Denied` with `workflow.violated` unless `now` is the step that follows `done`, and meets its rules."""
    steps = workflow.layout.steps
    if len(done) >= len(steps):
        raise _violated(f"the workflow was done with {steps[-1].name}; no step {now.name} may follow", now.name)
    expected = steps[len(done)]
    if [one.name for one in done] != [one.name for one in steps[: len(done)]]:
        raise _violated("the steps before are not those of the workflow", now.name)
    if now.name != expected.name:
        raise _violated(f"the step {expected.name} is next, not {now.name}", now.name)
    _require_rules(expected, [*done, now])


def require_done(workflow: Workflow, done: Sequence[Done]) -> None:
    """Raise `Denied` with `workflow.violated` unless every step of the workflow was noted."""
    steps = [one.name for one in workflow.layout.steps]
    if [one.name for one in done] != steps:
        left = steps[len(done) :]
        raise _violated(f"not done yet: {', '.join(left)}" if left else "other steps than the workflow's were noted")


def _require_rules(step: LayoutStep, noted: Sequence[Done]) -> None:
    so_far = [(one.name, one.materials, one.products) for one in noted]
    for kind, rules in (("materials", step.expected_materials), ("products", step.expected_products)):
        if said := layout_rules.broken(step.name, kind, rules, so_far):
            raise _violated(f"{kind}: {said}", step.name)


def _artifacts(refs: Iterable[Ref]) -> dict[str, str]:
    return {one.name.removeprefix(ARTIFACT): one.digest for one in refs if one.name.startswith(ARTIFACT)}


def _violated(detail: str, step: str | None = None) -> Denied:
    return Denied(Reason.WORKFLOW_VIOLATED, f"step {step}: {detail}" if step else detail, step="workflow", field=step)

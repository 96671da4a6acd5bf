"""`/api/v1/systems/{system}/impact`: what releases would have changed, and what a system demands to know."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from app.control import impact, systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Digest, Name, line
from app.control.impact import Rule
from app.control.store import ImpactReport
from app.control.tokens import Access, Scope
from app.core.impact import MAX_EXAMPLES, MAX_GROUPS, MAX_TEXT, Change

router = APIRouter(prefix="/api/v1/systems/{system}/impact", tags=["impact"])

Count = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Word = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(line)]


class Demand(Body):
    """What a system demands; `required` false takes it away. At most one of the two limits."""

    required: bool
    max_changed: Count | None = None
    max_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    since_seconds: Annotated[int, Field(ge=1, le=impact.MAX_SINCE)] = impact.DEFAULT_SINCE

    @model_validator(mode="after")
    def _one_limit(self) -> Demand:
        if self.max_changed is not None and self.max_percent is not None:
            raise ValueError("give max_changed or max_percent, not both")
        return self


class Group(Body):
    """Records that change alike."""

    change: Literal[tuple(map(str, Change))]  # type: ignore[valid-type]
    action: Word
    resource_type: Word
    issuer: Word
    reason: Word
    count: Annotated[int, Field(ge=1, lt=2**31)]
    examples: Annotated[list[Word], Field(max_length=MAX_EXAMPLES)]


class Report(Body):
    """What came of making past decisions again with a release."""

    release: Digest
    since: AwareDatetime
    until: AwareDatetime
    records: Count
    changed: Count
    unavailable: Count
    inputs: Digest
    # One more for each change: what was too much to tell apart.
    groups: Annotated[list[Group], Field(max_length=MAX_GROUPS + len(Change))]


def show(row: ImpactReport) -> dict[str, Any]:
    """A report as the API shows it. `complete`: no record of its time was left out."""
    return {
        "id": row.id,
        "system": row.system,
        "release": row.release,
        "since": row.since.isoformat(),
        "until": row.until.isoformat(),
        "records": row.records,
        "changed": row.changed,
        "unavailable": row.unavailable,
        "complete": row.complete,
        "inputs": row.inputs,
        "groups": row.groups,
        "recorded_at": row.recorded_at.isoformat(),
        "recorded_by": row.recorded_by_name,
    }


def show_rule(rule: Rule | None) -> dict[str, Any]:
    """What a system demands, as it is given."""
    return {"required": rule is not None, **vars(rule or Rule())}


@router.get("/reports")
def list_reports(
    plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)], release: Digest | None = None
) -> list[dict[str, Any]]:
    """The newest reports of a system, or of one release."""
    with plane.store.read() as session:
        return [show(row) for row in impact.listed(session, system, release)]


@router.post("/reports", status_code=201)
def record_report(
    plane: PlaneOf, system: Name, body: Report, access: Annotated[Access, by(Scope.RELEASE_WRITE)]
) -> dict[str, Any]:
    """Keep a report about a release. The name of the token stays with it; nobody signs it."""
    row = ImpactReport(
        system=system,
        release=body.release,
        since=body.since.astimezone(UTC),
        until=body.until.astimezone(UTC),
        records=body.records,
        changed=body.changed,
        unavailable=body.unavailable,
        inputs=body.inputs,
        complete=False,
        groups=[group.model_dump() for group in body.groups],
        recorded_by=access.id,
        recorded_by_name=access.name,
    )
    with plane.store.write() as session:
        return show(impact.record(session, access, row))


@router.get("/demand")
def get_demand(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> dict[str, Any]:
    """What the system demands before a channel points to a release."""
    with plane.store.read() as session:
        return show_rule(Rule.of(systems.find(session, system)))


@router.put("/demand")
def set_demand(
    plane: PlaneOf, system: Name, body: Demand, _: Annotated[Access, by(Scope.SYSTEM_WRITE)]
) -> dict[str, Any]:
    """Say what the system demands from now on. Where channels point stays."""
    rule = Rule(**body.model_dump(exclude={"required"})) if body.required else None
    with plane.store.write() as session:
        return show_rule(Rule.of(impact.demand(session, system, rule)))

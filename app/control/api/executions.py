"""`/api/v1/systems/{system}/executions`: sidecars redeem warrants of limited use here when an execution starts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field, StringConstraints
from sqlmodel import col

from app.control import enrolment, executions, pages
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name, Text, line
from app.control.executions import Counted, Start
from app.control.store import Execution
from app.control.tokens import Access, Scope
from app.core.warrants import MAX_CHAIN, Identifier

router = APIRouter(prefix="/api/v1/systems/{system}/executions", tags=["executions"])


class Who(Body):
    """A verified subject."""

    issuer: Text
    id: Text


class Redeemed(Body):
    """A warrant of limited use, as it was verified."""

    jti: Identifier
    issuer: Text
    uses: Annotated[int, Field(ge=1, lt=2**53)]
    #: Its `exp`, seconds since the epoch; no date beyond the year 9999.
    expires_at: Annotated[int, Field(ge=0, lt=253402300800)]


class NewExecution(Body):
    """An execution to start."""

    execution: Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(line)]
    sidecar: Name
    instance: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    subject: Who
    warrants: Annotated[list[Redeemed], Field(min_length=1, max_length=MAX_CHAIN)]


def show(row: Execution) -> dict[str, Any]:
    """An execution as the API shows it."""
    return {
        "execution": row.id,
        "system": row.system,
        "sidecar": row.sidecar,
        "instance": row.instance,
        "subject": {"issuer": row.subject_issuer, "id": row.subject_id},
        "warrants": row.warrants,
        "started_at": row.started_at.isoformat(),
    }


@router.post("", status_code=201)
def start(
    plane: PlaneOf,
    system: Name,
    body: NewExecution,
    response: Response,
    access: Annotated[Access, by(Scope.EXECUTION_WRITE, sidecars=True)],
) -> dict[str, Any]:
    """Count one use of each warrant, all or none. 200: the same was counted less than a minute ago."""
    access.require(Scope.EXECUTION_WRITE, system, body.sidecar)
    wanted = Start(
        system,
        body.execution,
        body.sidecar,
        body.instance,
        body.subject.issuer,
        body.subject.id,
        tuple(Counted(**one.model_dump()) for one in body.warrants),
    )
    with plane.store.write() as session:
        enrolment.require_admitted(session, system, body.sidecar)
        row, new = executions.start(session, access, plane.settings.domain, wanted)
    response.status_code = 201 if new else 200
    return show(row)


@router.get("")
def list_executions(
    plane: PlaneOf,
    system: Name,
    _: Annotated[Access, by(Scope.WARRANT_READ)],
    limit: Annotated[int, Query(ge=1, le=pages.MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> dict[str, Any]:
    """Executions that redeemed warrants, newest first. `next` is the cursor of the page after this one."""
    with plane.store.read() as session:
        found = pages.page(
            session,
            Execution,
            [col(Execution.system) == system],
            col(Execution.started_at),
            col(Execution.id),
            limit,
            cursor,
        )
    return {"items": [show(row) for row in found.items], "next": found.next}

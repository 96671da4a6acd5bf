"""`/api/v1/executions`: what happened in executions, and what that rests on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from app.control import execution_lineage, execution_proofs, pages
from app.control.api.access import PlaneOf
from app.control.api.decision_query import Reader, known_system, only_system
from app.control.api.forms import Name
from app.control.execution_lineage import Started, Wanted
from app.core import graph
from app.core.execution_evidence import MAX_DEPTH

router = APIRouter(prefix="/api/v1/executions", tags=["lineage"])

ExecutionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
Instance = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


def show(started: Started) -> dict[str, Any]:
    """An execution as the API lists it."""
    ended = started.ended
    return {
        "execution": started.key.id,
        "system": started.key.system,
        "sidecar": started.key.sidecar,
        "instance": started.key.instance,
        "started_at": started.started_at.isoformat(),
        "ended_at": ended.at.isoformat() if ended else None,
        "outcome": ended.outcome if ended else None,
        "reason": ended.reason if ended else None,
    }


@router.get("")
def list_executions(
    plane: PlaneOf,
    access: Reader,
    system: Name | None = None,
    limit: Annotated[int, Query(ge=1, le=pages.MAX_PAGE)] = 50,
    cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> dict[str, Any]:
    """Executions of which a sidecar stated the start, those that came last first."""
    with plane.store.read() as session:
        wanted = known_system(session, access, system)
        found, older = execution_lineage.listed(session, plane.objects, wanted, limit, cursor)
    return {"items": [show(one) for one in found], "next": None if older is None else str(older)}


@router.get("/{execution}/lineage")
def get_lineage(
    plane: PlaneOf,
    execution: ExecutionId,
    access: Reader,
    system: Name | None = None,
    sidecar: Name | None = None,
    instance: Instance = None,
    depth: Annotated[int, Query(ge=0, le=MAX_DEPTH)] = 1,
) -> Response:
    """Story and graph, with executions up to `depth` artifacts away. 409 when the id stands in several places."""
    wanted = Wanted(only_system(access, system), sidecar, instance)
    found = execution_lineage.stored(plane, execution, access.system, wanted=wanted, depth=depth)
    return Response(graph.encode(found), media_type="application/json")


@router.get("/{execution}/proof")
def get_proof(
    plane: PlaneOf,
    execution: ExecutionId,
    access: Reader,
    system: Name | None = None,
    sidecar: Name | None = None,
    instance: Instance = None,
) -> Response:
    """The execution's proof file, for `placet proof verify`: its links, and the decisions that they name."""
    wanted = Wanted(only_system(access, system), sidecar, instance)
    return Response(execution_proofs.export(plane, execution, access.system, wanted), media_type="application/json")

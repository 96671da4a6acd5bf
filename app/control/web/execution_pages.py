"""One execution: its story, and what each of its steps took and made."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from app.control import execution_lineage, execution_proofs, systems
from app.control.api.access import PlaneOf
from app.control.api.decision_query import Reader, only_system
from app.control.execution_lineage import Wanted
from app.control.problems import Conflict, NotFound
from app.control.tokens import Access
from app.control.web.rendering import render

router = APIRouter(prefix="/executions")

_PAGE = 50
Execution = Annotated[str, Path(max_length=128)]
Place = Annotated[str, Query(max_length=128)]


@router.get("/stated")
def stated_list(
    request: Request,
    plane: PlaneOf,
    access: Reader,
    system: Place = "",
    cursor: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Executions of which a sidecar stated the start, those that came last first."""
    page: dict[str, Any] = {"title": "Executions", "system": system}
    with plane.store.read() as session:
        page["systems"] = [row.name for row in systems.listed(session, access.system)]
        only = only_system(access, system or None)
        found, older = execution_lineage.listed(session, plane.objects, only, _PAGE, cursor)
    page["rows"] = found
    fields = {"system": system, "cursor": older}
    page["older"] = f"/executions/stated?{urlencode(fields)}" if older is not None else None
    return render(request, "stated_executions.html", page)


@router.get("/{execution}")
def execution_page(
    request: Request,
    plane: PlaneOf,
    access: Reader,
    execution: Execution,
    system: Place = "",
    sidecar: Place = "",
    instance: Place = "",
) -> Response:
    """The story of an execution and its graph, as lists. Of one without statements there are decisions alone."""
    page: dict[str, Any] = {"title": f"Execution {execution}", "id": execution, "problem": None, "found": None}
    page |= {"links": [], "place": {"system": system, "sidecar": sidecar, "instance": instance}}
    try:
        wanted = _wanted(access, system, sidecar, instance)
        found = execution_lineage.stored(plane, execution, access.system, wanted=wanted, depth=1)
    except (NotFound, Conflict) as problem:
        page["problem"] = str(problem)
    else:
        page |= {"found": found, "links": nested(found)}
    return render(request, "execution.html", page)


@router.get("/{execution}/proof")
def execution_proof(
    plane: PlaneOf, access: Reader, execution: Execution, system: Place = "", sidecar: Place = "", instance: Place = ""
) -> Response:
    """The execution's proof file, to keep and to verify elsewhere."""
    proof = execution_proofs.export(plane, execution, access.system, _wanted(access, system, sidecar, instance))
    headers = {"Content-Disposition": 'attachment; filename="proof.json"', "Cache-Control": "no-store"}
    return Response(proof, media_type="application/json", headers=headers)


def nested(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The links of the execution, each with what came into it and what came of it, and with whom it shares that."""
    nodes = {one["digest"]: one for one in document["nodes"]}
    into, out_of = defaultdict(list), defaultdict(list)
    for edge in document["edges"]:
        into[edge["to"]].append(edge)
        out_of[edge["from"]].append(edge)
    own = {one["digest"] for one in document["links"]}

    def ends(edges: list[dict[str, str]], end: str) -> list[dict[str, Any]]:
        return [nodes[one[end]] | {"as": one["kind"]} for one in edges if one[end] not in own]

    def shared(digest: str) -> list[dict[str, Any]]:
        """Links of other executions that made, or took, the same."""
        others = [*ends(into[digest], "from"), *ends(out_of[digest], "to")]
        return [one for one in others if one["type"] == "link" and "kind" in one]

    found = []
    for link in document["links"]:
        took = [one for one in ends(into[link["digest"]], "from") if one["as"] in ("material", "parent")]
        made = [one for one in ends(out_of[link["digest"]], "to") if one["as"] == "product"]
        for one in (*took, *made):
            one["shared"] = shared(one["digest"]) if one["type"] == "artifact" else []
        found.append({**link, "took": took, "made": made})
    return found


def _wanted(access: Access, system: str, sidecar: str, instance: str) -> Wanted:
    return Wanted(only_system(access, system or None), sidecar or None, instance or None)

"""The list of decisions, with its filter, and one decision whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.control import decisions, proofs, record_lines, systems
from app.control.api.access import PlaneOf, by
from app.control.api.decisions import only_system
from app.control.decisions import Filter, Whole
from app.control.problems import Invalid
from app.control.store import Carried, Release
from app.control.tokens import Access, Scope
from app.control.web import pretty
from app.control.web.rendering import is_live, render

router = APIRouter(prefix="/decisions")

_PAGE = 50
Reader = Annotated[Access, by(Scope.DECISION_READ, everywhere=True)]


@dataclass(frozen=True)
class FilterForm:
    """The filter as the form sends it: an empty field does not filter. Times are UTC."""

    system: Annotated[str, Query(max_length=63)] = ""
    outcome: Annotated[str, Query(max_length=10)] = ""
    since: Annotated[str, Query(max_length=40)] = ""
    until: Annotated[str, Query(max_length=40)] = ""
    text: Annotated[str, Query(max_length=200)] = ""
    mode: Annotated[str, Query(max_length=16)] = ""
    execution: Annotated[str, Query(max_length=512)] = ""

    def filter(self, access: Access) -> Filter:
        """What to look for."""
        return Filter(
            system=only_system(access, self.system or None),
            outcome=self.outcome or None,
            since=decisions.moment(self.since) if self.since else None,
            until=decisions.moment(self.until) if self.until else None,
            text=self.text or None,
            mode=self.mode or None,
            execution=self.execution or None,
        )

    def address(self, cursor: str | None = None) -> str:
        """The address of this list, without its empty fields."""
        fields = {name: value for name, value in vars(self).items() if value} | ({"cursor": cursor} if cursor else {})
        return f"/decisions?{urlencode(fields)}" if fields else "/decisions"


@router.get("")
def decision_list(
    request: Request,
    plane: PlaneOf,
    access: Reader,
    system: Annotated[str, Query(max_length=63)] = "",
    outcome: Annotated[str, Query(max_length=10)] = "",
    since: Annotated[str, Query(max_length=40)] = "",
    until: Annotated[str, Query(max_length=40)] = "",
    text: Annotated[str, Query(max_length=200)] = "",
    mode: Annotated[str, Query(max_length=16)] = "",
    execution: Annotated[str, Query(max_length=512)] = "",
    cursor: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Decisions, newest first. htmx gets the results alone."""
    form = FilterForm(system, outcome, since, until, text, mode, execution)
    page: dict[str, Any] = {"title": "Decisions", "form": form, "problem": None, "items": [], "older": None}
    with plane.store.read() as session:
        page["systems"] = [row.name for row in systems.listed(session, access.system)]
        try:
            found = decisions.search(session, form.filter(access), _PAGE, cursor or None)
        except Invalid as invalid:
            page["problem"] = str(invalid)
        else:
            page["items"] = found.items
            page["older"] = form.address(found.next) if found.next else None
    page["newest"] = form.address() if cursor else None
    page["outcomes"], page["modes_known"] = decisions.OUTCOMES, decisions.MODES
    if not is_live(request):
        return render(request, "decisions.html", page)
    response = render(request, "decision_results.html", page)
    response.headers["HX-Replace-Url"] = form.address(cursor or None)
    return response


@router.get("/{decision_id}")
def decision_page(request: Request, plane: PlaneOf, access: Reader, decision_id: str) -> Response:
    """One decision: who asked for what, the answer and its reasons, which policy gave it and who signed that."""
    with plane.store.read() as session:
        found = decisions.whole(session, plane.objects, decision_id, access.system)
        digest = found.decision.policy
        release = session.get(Release, digest) if digest else None
        carried = session.get(Carried, (found.decision.system, digest)) if digest else None
    page = {
        "sequence": proofs.sequence(plane, found),
        "title": f"Decision {decision_id}",
        "decision": found.decision,
        "batch": found.batch,
        "copies": found.copies,
        "release": release if carried else None,
        **_shown(found),
    }
    return render(request, "decision.html", page)


@router.get("/{decision_id}/proof")
def decision_proof(plane: PlaneOf, access: Reader, decision_id: str) -> Response:
    """The decision's proof file, to keep and to verify elsewhere."""
    proof = proofs.export(plane, decision_id, access.system)
    headers = {"Content-Disposition": 'attachment; filename="proof.json"', "Cache-Control": "no-store"}
    return Response(proof, media_type="application/json", headers=headers)


def _shown(found: Whole) -> dict[str, Any]:
    """The parts of the record; a record that does not parse is shown as the text that it is."""
    raw = found.raw.decode("utf-8", "backslashreplace")
    codes = [{"code": code, "message": ""} for code in found.decision.reasons]
    nothing: dict[str, Any] = {"raw": raw, "input": None, "result": None, "reasons": codes, "record": None}
    nothing |= {"mode": None, "warrants": [], "actors": []}
    if record_lines.parse(found.raw) is None:
        return nothing
    try:
        record = pretty.parse(found.raw)
        result = record.get("result")
        decision = record_lines.decision_of(record)
        mode, warrant, subject = (_members(decision.get(name)) for name in ("mode", "warrant", "subject"))
        return {
            "raw": raw,
            "input": pretty.pretty(record["input"]) if "input" in record else None,
            "result": pretty.pretty(result) if "result" in record else None,
            "reasons": _reasons(decision) or _reasons(mode) or codes,
            "mode": mode.get("id"),
            "warrants": [one for one in _listed(warrant.get("ids")) if isinstance(one, str)],
            "actors": [
                {name: _members(one).get(name) for name in ("issuer", "id")} for one in _listed(subject.get("actors"))
            ],
            "record": pretty.pretty(record),
        }
    except RecursionError:
        return nothing


def _reasons(result: Any) -> list[dict[str, str]]:
    return [
        {"code": str(one.get("code", "")), "message": str(one.get("message", ""))}
        for one in _listed(_members(result).get("reasons"))
        if isinstance(one, dict)
    ]


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""The list of decisions, with its filter, and one decision whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.control import decision_filter, decisions, proofs, record_lines, saved_searches, search, systems
from app.control.api import decision_query
from app.control.api.access import PlaneOf
from app.control.api.decision_query import PARAMETERS, Reader, wanted_by
from app.control.decision_filter import Filter
from app.control.decisions import Whole
from app.control.problems import Invalid, NotFound
from app.control.store import Carried, Release
from app.control.tokens import Access
from app.control.web import histogram, pretty
from app.control.web.rendering import is_live, render

router = APIRouter(prefix="/decisions")

_PAGE = 50
_MORE = ("subject_id", "subject_issuer", "action", "resource_type", "resource_id", "reason", "sidecar", "policy")


class FilterForm:
    """The filter as the form sends it: an empty field does not filter. Times are UTC."""

    def __init__(self, asked: Mapping[str, Any], saved: str = "", follow: bool = False) -> None:
        #: As `decision_query.document` names it.
        self.asked = asked
        self.saved = saved
        self.follow = follow

    def __getitem__(self, name: str) -> str:
        """The text of a field."""
        value = self.asked.get(name, "")
        return " ".join(value) if isinstance(value, list) else value

    @property
    def has_more(self) -> bool:
        """Whether a field is set that the form shows on demand."""
        return any(name in self.asked for name in _MORE)

    def filter(self, session: Session, access: Access) -> Filter:
        """What to look for. Raises `Problem`."""
        return wanted_by(session, access, self.asked, self.saved or None)

    def address(self, cursor: str | None = None) -> str:
        """The address of this list, without its empty fields."""
        fields = {PARAMETERS.get(name, name): value for name, value in self.asked.items()}
        fields |= {"saved": self.saved} if self.saved else {}
        fields |= {"follow": "on"} if self.follow and not cursor else {}
        fields |= {"cursor": cursor} if cursor else {}
        return f"/decisions?{urlencode(fields, doseq=True)}" if fields else "/decisions"


@router.get("")
def decision_list(
    request: Request,
    plane: PlaneOf,
    access: Reader,
    asked: Annotated[dict[str, Any], Depends(decision_query.document)],
    saved: Annotated[str, Query(max_length=63)] = "",
    follow: Annotated[str, Query(max_length=3)] = "",
    cursor: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Decisions, newest first. htmx gets the results alone."""
    # The form has one field for values at paths, and no value with a space in it.
    if "where" in asked:
        asked["where"] = [part for text in asked["where"] for part in text.split()]
    form = FilterForm(asked, saved, follow == "on")
    page: dict[str, Any] = {"title": "Decisions", "form": form, "problem": None, "items": [], "older": None}
    page |= {"bars": None, "unread": 0}
    with plane.store.read() as session:
        page["systems"] = [row.name for row in systems.listed(session, access.system)]
        page["searches"] = saved_searches.listed(session, access.system)
        try:
            wanted = form.filter(session, access)
            found = search.search(session, plane.objects, wanted, _PAGE, cursor or None)
        except (Invalid, NotFound) as problem:
            page["problem"] = str(problem)
        else:
            page["items"], page["unread"] = found.items, len(found.unread)
            page["older"] = form.address(found.next) if found.next else None
            page["bars"] = histogram.bars(session, wanted)
    page["newest"] = form.address() if cursor else None
    page["outcomes"], page["modes_known"] = decision_filter.OUTCOMES, decision_filter.MODES
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
        "sequence": proofs.sequence(found),
        "title": f"Decision {decision_id}",
        "decision": found.decision,
        "batch": found.batch,
        "number": found.number,
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

"""`/api/v1/decisions`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.control import decisions, proofs
from app.control.api.access import PlaneOf, by
from app.control.decisions import Filter, Whole
from app.control.problems import Forbidden
from app.control.store import Batch, Decision
from app.control.tokens import Access, Scope
from app.core import strict_json

router = APIRouter(prefix="/api/v1/decisions", tags=["decisions"])


def show(decision: Decision) -> dict[str, Any]:
    """A decision as the API lists it."""
    return {
        "decision_id": decision.decision_id,
        "time": rfc3339(decision.time_ns),
        "system": decision.system,
        "sidecar": decision.sidecar,
        "outcome": decision.outcome,
        "reasons": decision.reasons,
        "mode": decision.mode,
        "execution": decision.execution,
        "subject": {"issuer": decision.subject_issuer, "id": decision.subject_id} if decision.subject_id else None,
        "action": decision.action,
        "resource": {"type": decision.resource_type, "id": decision.resource_id},
        "bundles": {"policy": decision.policy, "library": decision.library},
    }


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since 1970 as an RFC 3339 time, all digits kept."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def only_system(access: Access, asked: str | None) -> str | None:
    """The system whose decisions may be seen: a bound token sees its own."""
    if access.system is not None and asked not in (None, access.system):
        raise Forbidden(f"this token is bound to the system {access.system}")
    return access.system or asked


@router.get("")
def search_decisions(
    plane: PlaneOf,
    access: Annotated[Access, by(Scope.DECISION_READ, everywhere=True)],
    system: str | None = None,
    outcome: str | None = None,
    since: str | None = None,
    until: str | None = None,
    text: Annotated[str | None, Query(max_length=200)] = None,
    mode: str | None = None,
    execution: Annotated[str | None, Query(max_length=512)] = None,
    limit: Annotated[int, Query(ge=1, le=decisions.MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> dict[str, Any]:
    """Decisions, newest first; `next` is the cursor of the page after this one."""
    wanted = Filter(
        system=only_system(access, system),
        outcome=outcome,
        since=decisions.moment(since) if since else None,
        until=decisions.moment(until) if until else None,
        text=text,
        mode=mode,
        execution=execution,
    )
    with plane.store.read() as session:
        page = decisions.search(session, wanted, limit, cursor)
    return {"items": [show(item) for item in page.items], "next": page.next}


@router.get("/{decision_id}/proof")
def get_proof(
    plane: PlaneOf, decision_id: str, access: Annotated[Access, by(Scope.DECISION_READ, everywhere=True)]
) -> Response:
    """The decision's proof file, for `placet proof verify`; 404 proof.missing when its record came unsigned."""
    return Response(proofs.export(plane, decision_id, access.system), media_type="application/json")


@router.get("/{decision_id}")
def get_decision(
    plane: PlaneOf, decision_id: str, access: Annotated[Access, by(Scope.DECISION_READ, everywhere=True)]
) -> Response:
    """One decision with its record: `record` as OPA wrote it, null when parsers might disagree; `raw` its text."""
    with plane.store.read() as session:
        found = decisions.whole(session, plane.objects, decision_id, access.system)
    return Response(_whole_json(found), media_type="application/json")


def _whole_json(found: Whole) -> bytes:
    """The record goes in as the bytes it is: parsing and writing it again would change its numbers."""
    members = show(found.decision) | {
        "instance": found.batch.instance,
        "file": found.batch.file,
        "first": found.batch.first + found.decision.offset,
        "length": found.decision.length,
        "batch": {"first": found.batch.first, "last": found.batch.last, "sha256": found.batch.sha256},
        "signed": _signed(found.batch),
        "copies": found.copies,
        "raw": found.raw.decode("utf-8", "backslashreplace"),
    }
    head = json.dumps(members).encode()
    return head[:-1] + b', "record": ' + (found.raw if _reads_alike(found.raw) else b"null") + b"}"


def _signed(batch: Batch) -> dict[str, Any] | None:
    """What is signed of the batch; null when it came unsigned."""
    if batch.signed_at is None:
        return None
    return {
        "entries": {"first": batch.first_entry, "count": batch.entries},
        "root": batch.root,
        "log_index": batch.log_index,
        "at": batch.signed_at.isoformat(),
    }


def _reads_alike(raw: bytes) -> bool:
    """Whether every JSON parser reads the record in the same way."""
    try:
        strict_json.load_object(raw)
    except strict_json.StrictJSONError:
        return False
    return True

"""What the edge answers to the start and to the renewal of an execution, and how all its answers are read. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from placet_sdk import codes
from placet_sdk.answer import check_status, parse, read_result, read_time
from placet_sdk.decision import Decision
from placet_sdk.errors import Doubt
from placet_sdk.question import Grant

OK = 200
FORBIDDEN = 403
UNAVAILABLE = 503
_MAX_TOKEN = 16 * 1024


def read_start(status: int, body: bytes, id: str) -> tuple[Grant | None, Decision]:
    """Read the edge's answer to `POST /v1/executions` for this id; there is a grant with an allow. Raises Doubt."""
    answer = _answer(status, body)
    decision = read_result(answer.get("decision"), _decision_id(answer))
    if not decision.allow:
        return None, decision
    if status != OK:
        raise malformed("an allow with a status that denies")
    return _grant(answer.get("execution"), id), decision


def read_renewal(status: int, body: bytes, id: str) -> Grant | Decision:
    """Read the edge's answer to `POST /v1/executions/{id}/renew`: a new grant, or a denial. Raises Doubt."""
    answer = _answer(status, body)
    if status == OK:
        return _grant(answer.get("execution"), id)
    return read_denial(answer.get("decision"), _decision_id(answer))


def read_denial(result: Any, decision_id: str | None) -> Decision:
    """What an answer says whose status denies. Raises Doubt."""
    decision = read_result(result, decision_id)
    if decision.allow:
        raise malformed("an allow with a status that denies")
    return decision


def read_object(body: bytes) -> dict[str, Any]:
    """The answer as an object of strict JSON. Raises Doubt."""
    answer = parse(body)
    if not isinstance(answer, dict):
        raise malformed("the answer is no object")
    return answer


def busy() -> Doubt:
    """That the edge had no time for the request."""
    return Doubt(codes.SIDECAR_UNREACHABLE, "the sidecar's edge is busy, or had no answer in time")


def malformed(detail: str) -> Doubt:
    """That an answer is not of the expected form."""
    return Doubt(codes.DECISION_MALFORMED, detail)


def _answer(status: int, body: bytes) -> dict[str, Any]:
    if status == UNAVAILABLE:
        raise busy()
    if status not in (OK, FORBIDDEN):
        check_status(status)
    return read_object(body)


def _grant(started: Any, id: str) -> Grant:
    if not isinstance(started, dict) or not all(isinstance(started.get(name), str) for name in ("token", "expires_at")):
        raise malformed("execution is not of the expected form")
    if started.get("id") != id:
        raise malformed("the answer is about another execution")
    token, expires_at = started["token"], read_time(started["expires_at"])
    if token.count(".") != 2 or len(token) > _MAX_TOKEN:
        raise malformed("the execution's token is no JWT")
    if expires_at <= datetime.now(UTC):
        raise Doubt(codes.EXECUTION_EXPIRED, "the execution was over before its start was answered")
    return Grant(id, token, expires_at)


def _decision_id(answer: dict[str, Any]) -> str | None:
    found = answer.get("decision_id")
    return found if isinstance(found, str) else None

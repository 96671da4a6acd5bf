"""What the edge answers to the start and to the renewal of an execution. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from placet_sdk import codes
from placet_sdk.answer import check_status, parse, read_result, read_time
from placet_sdk.decision import Decision
from placet_sdk.errors import Doubt
from placet_sdk.question import Grant

_OK = 200
_FORBIDDEN = 403
_UNAVAILABLE = 503
_MAX_TOKEN = 16 * 1024


def read_start(status: int, body: bytes, id: str) -> tuple[Grant | None, Decision]:
    """Read the edge's answer to `POST /v1/executions` for this id; there is a grant with an allow. Raises Doubt."""
    answer = _answer(status, body)
    decision = read_result(answer.get("decision"), _decision_id(answer))
    if not decision.allow:
        return None, decision
    if status != _OK:
        raise _malformed("an allow with a status that denies")
    return _grant(answer.get("execution"), id), decision


def read_renewal(status: int, body: bytes, id: str) -> Grant | Decision:
    """Read the edge's answer to `POST /v1/executions/{id}/renew`: a new grant, or a denial. Raises Doubt."""
    answer = _answer(status, body)
    if status == _OK:
        return _grant(answer.get("execution"), id)
    decision = read_result(answer.get("decision"), _decision_id(answer))
    if decision.allow:
        raise _malformed("an allow with a status that denies")
    return decision


def _answer(status: int, body: bytes) -> dict[str, Any]:
    if status == _UNAVAILABLE:
        raise Doubt(codes.SIDECAR_UNREACHABLE, "the sidecar's edge is busy, or had no answer in time")
    if status not in (_OK, _FORBIDDEN):
        check_status(status)
    answer = parse(body)
    if not isinstance(answer, dict):
        raise _malformed("the answer is no object")
    return answer


def _grant(started: Any, id: str) -> Grant:
    if not isinstance(started, dict) or not all(isinstance(started.get(name), str) for name in ("token", "expires_at")):
        raise _malformed("execution is not of the expected form")
    if started.get("id") != id:
        raise _malformed("the answer is about another execution")
    token, expires_at = started["token"], read_time(started["expires_at"])
    if token.count(".") != 2 or len(token) > _MAX_TOKEN:
        raise _malformed("the execution's token is no JWT")
    if expires_at <= datetime.now(UTC):
        raise Doubt(codes.EXECUTION_EXPIRED, "the execution was over before its start was answered")
    return Grant(id, token, expires_at)


def _decision_id(answer: dict[str, Any]) -> str | None:
    found = answer.get("decision_id")
    return found if isinstance(found, str) else None


def _malformed(detail: str) -> Doubt:
    return Doubt(codes.DECISION_MALFORMED, detail)

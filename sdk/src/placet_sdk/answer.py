"""Reading what came back. Only a whole, well-formed `allow: true` allows; the form is in docs/decision.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from placet_sdk import codes
from placet_sdk.decision import Decision, Mode, Party, Reason, Subject, WarrantUsed
from placet_sdk.errors import Doubt
from placet_sdk.strict_json import decode

_OK = 200
_BAD_REQUEST = 400
_SERVER_ERROR = 500


def read_answer(answer: Any) -> Decision:
    """Read the body of OPA's 200 answer to `POST /v1/data/placet/decision`, as bytes or already parsed.

    Every doubt is a denial. Give bytes when you have them: a parser may have settled a member that stands twice.
    """
    try:
        return _decision(parse(answer) if isinstance(answer, bytes) else answer)
    except Doubt as doubt:
        return Decision.deny(doubt.code, doubt.message)


def read_response(status: int, body: bytes) -> Decision:
    """Read OPA's HTTP answer: status and body. Every doubt is a denial."""
    try:
        if status == _SERVER_ERROR and _is_of_a_number(body):
            status = _BAD_REQUEST
        check_status(status)
        return _decision(parse(body))
    except Doubt as doubt:
        return Decision.deny(doubt.code, doubt.message)


def check_status(status: int) -> None:
    """Raise Doubt unless the status is 200."""
    if status == _BAD_REQUEST:
        raise Doubt(codes.REQUEST_MALFORMED, "the sidecar refused the request as malformed")
    if status == _SERVER_ERROR:
        raise Doubt(codes.EVALUATION_ERROR, "OPA failed to evaluate the request")
    if status != _OK:
        raise _malformed(f"status {status}")


def _is_of_a_number(body: bytes) -> bool:
    """Whether OPA refused a number of the request, before it evaluated anything: to its authorizer that is an error."""
    try:
        answer = decode(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and str(answer.get("message")).startswith("invalid number:")


def parse(body: bytes) -> Any:
    """Strict JSON. Raises Doubt."""
    try:
        return decode(body)
    except ValueError as error:
        raise _malformed(f"not strict JSON: {str(error)[:200]}") from error


def _decision(answer: Any) -> Decision:
    if not isinstance(answer, dict):
        raise _malformed("the answer is no object")
    if answer.get("result") in (None, {}):
        raise Doubt(codes.DECISION_UNDEFINED, "OPA gave no decision")
    # OPA gives every decision that it records an id.
    return read_result(answer["result"], _text(answer, "decision_id"))


def read_result(result: Any, decision_id: str | None) -> Decision:
    """Read a decision's result. Raises Doubt."""
    members = _object(result, "result")
    allow = members.get("allow")
    if not isinstance(allow, bool):
        raise _malformed("allow is not a boolean")
    decision = Decision(
        allow=allow,
        reasons=_reasons(members, "reasons"),
        obligations=tuple(_object(one, "an obligation") for one in _list(members, "obligations")),
        bundles=_bundles(members, ("policy", "library") if allow else ()),
        subject=_subject(_given(members, "subject")),
        warrant=_warrant(_given(members, "warrant")),
        execution=_text_or_none(members, "execution"),
        mode=_mode(_given(members, "mode")),
        state=_text_or_none(members, "state"),
        expires_at=_time_or_none(members, "expires_at"),
        decision_id=decision_id,
    )
    _check(decision)
    return decision


def _check(decision: Decision) -> None:
    """What cannot be together. An allow has everything; a denial says why."""
    if decision.allow:
        if decision.subject is None or decision.state is None or decision.expires_at is None:
            raise _malformed("an allow without subject, state or end")
        if not all(code.startswith("policy:") for code in decision.codes):
            raise _malformed("an allow with a reason to deny")
    elif not decision.reasons:
        raise _malformed("a denial without reason")
    elif decision.mode is not None:
        raise _malformed("a denial by a mode that allows")


def _subject(value: Any) -> Subject | None:
    if value is None:
        return None
    members = _object(value, "subject")
    asserted = members.get("asserted", False)
    if not isinstance(asserted, bool):
        raise _malformed("asserted is not a boolean")
    via = members.get("via")
    return Subject(
        issuer=_text(members, "issuer"),
        id=_text(members, "id"),
        domain=_text(members, "domain"),
        actors=tuple(_party(one) for one in _list(members, "actors")),
        asserted=asserted,
        via=None if via is None else _party(via),
    )


def _party(value: Any) -> Party:
    members = _object(value, "a party")
    return Party(_text(members, "issuer"), _text(members, "id"))


def _warrant(value: Any) -> WarrantUsed | None:
    if value is None:
        return None
    members = _object(value, "warrant")
    ids = _list(members, "ids")
    if not ids or not all(isinstance(one, str) and one for one in ids):
        raise _malformed("ids is not a list of warrant ids")
    return WarrantUsed(tuple(ids), _text(members, "issuer"))


def _mode(value: Any) -> Mode | None:
    if value is None:
        return None
    members = _object(value, "mode")
    kind = members.get("kind")
    if kind not in ("shadow", "break-glass"):
        raise _malformed("the mode is unknown")
    return Mode(kind, _text(members, "id"), _reasons(members, "reasons"))


def _reasons(members: dict[str, Any], name: str) -> tuple[Reason, ...]:
    found = [_object(one, "a reason") for one in _list(members, name)]
    return tuple(Reason(_text(one, "code"), _string(one, "message")) for one in found)


def _bundles(members: dict[str, Any], required: Sequence[str]) -> dict[str, str]:
    bundles = _object(members.get("bundles"), "bundles")
    return {name: _text(bundles, name) for name in {*required, *bundles}}


def _time_or_none(members: dict[str, Any], name: str) -> datetime | None:
    text = _text_or_none(members, name)
    return None if text is None else read_time(text)


def read_time(text: str) -> datetime:
    """An RFC 3339 time. Raises Doubt."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise _malformed(f"{text[:60]!r} is not a time") from error
    if time.tzinfo is None:
        raise _malformed(f"{text[:60]!r} has no time zone")
    return time


def _given(members: dict[str, Any], name: str) -> Any:
    if name not in members:
        raise _malformed(f"{name} is missing")
    return members[name]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(f"{what} is no object")
    return value


def _list(members: dict[str, Any], name: str) -> list[Any]:
    value = _given(members, name)
    if not isinstance(value, list):
        raise _malformed(f"{name} is no array")
    return value


def _string(members: dict[str, Any], name: str) -> str:
    value = _given(members, name)
    if not isinstance(value, str):
        raise _malformed(f"{name} is no string")
    return value


def _text(members: dict[str, Any], name: str) -> str:
    value = _string(members, name)
    if not value:
        raise _malformed(f"{name} is empty")
    return value


def _text_or_none(members: dict[str, Any], name: str) -> str | None:
    return None if _given(members, name) is None else _text(members, name)


def _malformed(detail: str) -> Doubt:
    return Doubt(codes.DECISION_MALFORMED, detail)

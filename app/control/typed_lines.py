"""Read decision records of the usual form quickly: only the members that are columns, of the types that they have.

Whatever is unusual is left to `app.control.record_lines`, which says what counts. Both give the same of every line that
is read here; a test compares them.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from app.control.record_lines import (
    MAX_MODE,
    MAX_REASON,
    MAX_REASONS,
    RECORD_TYPE,
    Line,
    clean,
    identifier,
    nanoseconds,
)
from app.core.json_depth import brackets
from app.core.reason_codes import Reason

#: Opening brackets that a line may have. Of deeper ones each parser gives up somewhere else.
MAX_BRACKETS = 200

_EVALUATION_ERROR, _UNDEFINED = (str(Reason.EVALUATION_ERROR),), (str(Reason.DECISION_UNDEFINED),)
_MALFORMED = (str(Reason.DECISION_MALFORMED),)


class _Code(msgspec.Struct):
    code: str | None = None


class _Subject(msgspec.Struct):
    issuer: str | None = None
    id: str | None = None


class _Bundles(msgspec.Struct):
    policy: str | None = None
    library: str | None = None


class _Mode(msgspec.Struct):
    kind: str | None = None
    reasons: list[_Code] | None = None


class _Decision(msgspec.Struct):
    allow: bool | UnsetType = UNSET
    reasons: list[_Code] | None = None
    subject: _Subject | None = None
    bundles: _Bundles | None = None
    mode: _Mode | None = None
    execution: str | None = None


class _Result(_Decision):
    decision: _Decision | UnsetType = UNSET


class _Action(msgspec.Struct):
    name: str | None = None


class _Resource(msgspec.Struct):
    type: str | None = None
    id: str | None = None


class _Input(msgspec.Struct):
    action: _Action | None = None
    resource: _Resource | None = None


class _Record(msgspec.Struct):
    path: msgspec.Raw
    type: str | UnsetType = UNSET
    decision_id: str | None = None
    timestamp: str | None = None
    error: msgspec.Raw | UnsetType = UNSET
    result: _Result | UnsetType = UNSET
    input: _Input | None = None


_decode = msgspec.json.Decoder(_Record).decode
_NO_INPUT, _NO_DECISION, _NO_SUBJECT, _NO_BUNDLES = _Input(), _Decision(), _Subject(), _Bundles()


def read_typed(raw: bytes) -> Line | None:
    """The decision on a line; None for what is to be read otherwise, whether it is a decision or not."""
    if brackets(raw) > MAX_BRACKETS:
        return None
    try:
        if not raw.isascii():
            raw.decode()  # strings that no column needs are not looked at below
        record = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if record.type is not UNSET and record.type != RECORD_TYPE:
        return None
    decision: _Decision = _NO_DECISION
    if record.result is not UNSET:
        decision = record.result
        if decision.allow is UNSET and record.result.decision is not UNSET:
            decision = record.result.decision
    outcome, reasons = _outcome(record, decision)
    request = record.input or _NO_INPUT
    subject, bundles = decision.subject or _NO_SUBJECT, decision.bundles or _NO_BUNDLES
    resource, action = request.resource, request.action
    return Line(
        identifier(record.decision_id, raw),
        outcome,
        nanoseconds(record.timestamp),
        reasons,
        clean(subject.issuer),
        clean(subject.id),
        clean(action.name if action else None),
        clean(resource.type if resource else None),
        clean(resource.id if resource else None),
        clean(bundles.policy),
        clean(bundles.library),
        clean(decision.mode.kind, MAX_MODE) if decision.mode else None,
        clean(decision.execution or None),
    )


def _outcome(record: _Record, decision: _Decision) -> tuple[str, tuple[str, ...]]:
    if record.error is not UNSET and bytes(record.error) != b"null":
        return "deny", _EVALUATION_ERROR
    if record.result is UNSET:
        return "deny", _UNDEFINED
    reasons = _codes(decision.reasons) or (_codes(decision.mode.reasons) if decision.mode else ())
    if decision.allow is True:
        return "allow", reasons
    return "deny", reasons or _MALFORMED


def _codes(listed: list[_Code] | None) -> tuple[str, ...]:
    if not listed:
        return ()
    return tuple(clean(one.code, MAX_REASON) or "" for one in listed[:MAX_REASONS] if one.code is not None)

"""Read decision records of the usual form quickly: only the members that are columns, of the types that they have.

Whatever is unusual is left to `app.control.record_lines`, which says what counts. Both give the same of every line that
is read here; a test compares them.
"""

from __future__ import annotations

import msgspec

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
from app.core import usual_record
from app.core.reason_codes import Reason
from app.core.usual_record import Known, Usual

_EVALUATION_ERROR, _UNDEFINED = (str(Reason.EVALUATION_ERROR),), (str(Reason.DECISION_UNDEFINED),)
_MALFORMED = (str(Reason.DECISION_MALFORMED),)


class _Code(msgspec.Struct, gc=False):
    code: str | None = None


class _Subject(msgspec.Struct, gc=False):
    issuer: str | None = None
    id: str | None = None


class _Bundles(msgspec.Struct, gc=False):
    policy: str | None = None
    library: str | None = None


class _Mode(msgspec.Struct, gc=False):
    kind: str | None = None
    reasons: list[_Code] | None = None


class _Action(msgspec.Struct, gc=False):
    name: str | None = None


class _Resource(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None


_decode_codes = msgspec.json.Decoder(list[_Code] | None).decode
_decode_subject = msgspec.json.Decoder(_Subject | None).decode
_decode_bundles = msgspec.json.Decoder(_Bundles | None).decode
_decode_mode = msgspec.json.Decoder(_Mode | None).decode
_decode_action = msgspec.json.Decoder(_Action | None).decode
_decode_resource = msgspec.json.Decoder(_Resource | None).decode
_decode_text = msgspec.json.Decoder(str | None).decode

_NULL = b"null"
_ALLOWS = {None: False, b"true": True, b"false": False}


class TypedLines:
    """Reads the lines of one batch."""

    def __init__(self) -> None:
        self._codes, self._mode, self._subject = Known(_codes), Known(_mode), Known(_subject)
        self._action, self._resource, self._bundles = Known(_action), Known(_resource), Known(_bundles)
        self._text = Known(_text)

    def read(self, raw: bytes, usual: Usual | None) -> Line | None:
        """The decision on a line, given its members; None for what is to be read otherwise, be it a decision or not."""
        if usual is None or not usual.has_path or usual.type not in (None, RECORD_TYPE):
            return None
        result, request = usual.result or {}, usual.input or {}
        if usual.has_result and usual.result is None:
            return None
        try:
            if "allow" not in result and "decision" in result:
                result = usual_record.members(result["decision"])
            allows = _ALLOWS[result.get("allow")]
            mode, reasons_of_mode = self._mode[result.get("mode", _NULL)]
            reasons = self._codes[result.get("reasons", _NULL)] or reasons_of_mode
            if usual.has_error:
                allows, reasons = False, _EVALUATION_ERROR
            elif not usual.has_result:
                reasons = _UNDEFINED
            return Line(
                identifier(usual.decision_id, raw),
                "allow" if allows else "deny",
                nanoseconds(usual.timestamp),
                reasons if allows else reasons or _MALFORMED,
                *self._subject[result.get("subject", _NULL)],
                self._action[request.get("action", _NULL)],
                *self._resource[request.get("resource", _NULL)],
                *self._bundles[result.get("bundles", _NULL)],
                mode,
                self._text[result.get("execution", _NULL)],
            )
        except (msgspec.MsgspecError, LookupError):
            return None


def _codes(value: bytes) -> tuple[str, ...]:
    return _of_codes(_decode_codes(value))


def _of_codes(listed: list[_Code] | None) -> tuple[str, ...]:
    codes = [one.code for one in (listed or [])[:MAX_REASONS]]
    return tuple(clean(code, MAX_REASON) or "" for code in codes if code is not None)


def _mode(value: bytes) -> tuple[str | None, tuple[str, ...]]:
    mode = _decode_mode(value)
    return (clean(mode.kind, MAX_MODE), _of_codes(mode.reasons)) if mode else (None, ())


def _subject(value: bytes) -> tuple[str | None, str | None]:
    subject = _decode_subject(value)
    return (clean(subject.issuer), clean(subject.id)) if subject else (None, None)


def _action(value: bytes) -> str | None:
    action = _decode_action(value)
    return clean(action.name) if action else None


def _resource(value: bytes) -> tuple[str | None, str | None]:
    resource = _decode_resource(value)
    return (clean(resource.type), clean(resource.id)) if resource else (None, None)


def _bundles(value: bytes) -> tuple[str | None, str | None]:
    bundles = _decode_bundles(value)
    return (clean(bundles.policy), clean(bundles.library)) if bundles else (None, None)


def _text(value: bytes) -> str | None:
    return clean(_decode_text(value) or None)

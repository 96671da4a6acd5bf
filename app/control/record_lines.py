"""Read OPA's decision records tolerantly: what can be searched becomes columns, and nothing loses a batch.

The raw line is the record and is kept as it is. Numbers stay text here, since OPA logs `1e400` and 30-digit
decimals; what a database refuses (NUL, lone surrogates, too long, absurd times) is replaced or cut.
Most lines are read by `app.control.typed_lines`, which knows their form; this is what counts where it gives up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from app.core import usual_record
from app.core.reason_codes import Reason
from app.core.usual_record import Usual

#: The type of OPA's decision records.
RECORD_TYPE = "openpolicyagent.org/decision_logs"

#: Characters of a column, and of a reason; and how many reasons.
MAX_COLUMN, MAX_REASON = 512, 100
MAX_REASONS = 32
MAX_MODE = 16

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")
#: Strings, which are stepped over, and the marks that give JSON its structure.
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]')
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _refuse(constant: str) -> str:
    raise ValueError(f"{constant} is not JSON")


#: Made once: `json.loads` with options makes a decoder for each call, which takes as long as to decode.
_decode = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse).decode


class Line(NamedTuple):
    """The searchable part of one record: columns of `decision`, by their names."""

    decision_id: str
    outcome: str
    #: Nanoseconds since 1970; None when the record's own time is missing or absurd.
    time_ns: int | None = None
    reasons: tuple[str, ...] = ()
    subject_issuer: str | None = None
    subject_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    policy: str | None = None
    library: str | None = None
    #: shadow or break-glass, when the answer rests on a mode; the reasons are then those that would have denied.
    mode: str | None = None
    execution: str | None = None


def read_lines(entries: Iterable[bytes], usual: Iterable[Usual | None] | None = None) -> Iterator[Line | None]:
    """Each entry of a batch in turn, a line without its newline, as `read_line` reads it.

    `usual`: the entries as `usual_record.read_all` reads them, where that was done already.
    """
    from app.control.typed_lines import TypedLines

    typed = TypedLines()
    known = (
        zip(entries, usual, strict=True) if usual is not None else ((raw, usual_record.read(raw)) for raw in entries)
    )
    for raw, members in known:
        line = typed.read(raw, members)
        yield read_line(raw) if line is None else line


def read_line(raw: bytes) -> Line | None:
    """A decision, something `unreadable` that may have been one, or None for other lines.

    OPA writes messages to the same file; they stay in the batch, not in the search.
    """
    record = parse(raw)
    if record is not None:
        return _line(record, raw) if _is_decision(record) else None
    return _unreadable(raw) if _may_be_record(raw) else None


def parse(raw: bytes) -> dict[str, Any] | None:
    """The object on a line, numbers as text; None when there is none."""
    try:
        record = _decode(raw.decode())
    except RecursionError:
        # OPA takes and records deeper JSON than we parse: a caller must not be able to hide a decision so.
        return _shallow(raw.decode())
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _shallow(text: str) -> dict[str, Any] | None:
    """The members of a very deep object that can be parsed; None when its brackets do not match."""
    record: dict[str, Any] = {}
    opened: list[str] = []
    start = 0
    for token in _STRUCTURE.finditer(text):
        mark = token[0]
        if mark in "{[":
            opened.append("}" if mark == "{" else "]")
        elif mark in "}]" and (not opened or opened.pop() != mark):
            return None
        if mark in "{," and len(opened) == 1:
            record.update(_member(text[start : token.start()]))
            start = token.end()
        elif not opened and mark == "}":
            record.update(_member(text[start : token.start()]))
            return record if not text[token.end() :].strip() else None
    return None


def _member(text: str) -> dict[str, Any]:
    """One `"name": value` as an object; empty when it cannot be parsed, for it may be the deep one."""
    try:
        member = _decode(f"{{{text}}}")
    except (ValueError, RecursionError):
        return {}
    return member if isinstance(member, dict) else {}


def clean(value: Any, limit: int = MAX_COLUMN) -> str | None:
    """`value` as text that every database stores; None stays None."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= limit and text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text[:limit])


def _line(record: dict[str, Any], raw: bytes) -> Line:
    result, request = decision_of(record), _object(record.get("input"))
    resource, subject, bundles = (
        _object(request.get("resource")),
        _object(result.get("subject")),
        _object(result.get("bundles")),
    )
    outcome, reasons = _outcome(record, result)
    return Line(
        decision_id=identifier(record.get("decision_id"), raw),
        outcome=outcome,
        time_ns=nanoseconds(record.get("timestamp")),
        reasons=reasons,
        subject_issuer=clean(subject.get("issuer")),
        subject_id=clean(subject.get("id")),
        action=clean(_object(request.get("action")).get("name")),
        resource_type=clean(resource.get("type")),
        resource_id=clean(resource.get("id")),
        policy=clean(bundles.get("policy")),
        library=clean(bundles.get("library")),
        mode=clean(_object(result.get("mode")).get("kind"), MAX_MODE),
        execution=clean(result.get("execution") or None),
    )


def decision_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decision in a record: its result, or, when an execution was to start (`placet/start`), a part of that."""
    result = _object(record.get("result"))
    return _object(result["decision"]) if "allow" not in result and "decision" in result else result


def _is_decision(record: Mapping[str, Any]) -> bool:
    """Whether OPA recorded a query. Whatever its path: a caller may spell the decision's in many ways (`%6F`)."""
    return record.get("type", RECORD_TYPE) == RECORD_TYPE and "path" in record


def _may_be_record(raw: bytes) -> bool:
    """Whether a line that does not parse may be a damaged record, rather than a message of OPA's in plain text."""
    return raw.lstrip().startswith(b"{") or b"decision_id" in raw


def _unreadable(raw: bytes) -> Line:
    return Line(identifier(None, raw), "unreadable")


def _outcome(record: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Only a whole decision that says `true` is an allow; an error, an undefined or an odd result is a denial."""
    if record.get("error") is not None:
        return "deny", (str(Reason.EVALUATION_ERROR),)
    if "result" not in record:
        return "deny", (str(Reason.DECISION_UNDEFINED),)
    reasons = _codes(result.get("reasons")) or _codes(_object(result.get("mode")).get("reasons"))
    if result.get("allow") is True:
        return "allow", reasons
    return "deny", reasons or (str(Reason.DECISION_MALFORMED),)


def _codes(listed: Any) -> tuple[str, ...]:
    codes = [_object(one).get("code") for one in listed] if isinstance(listed, list) else []
    return tuple(clean(code, MAX_REASON) or "" for code in codes[:MAX_REASONS] if isinstance(code, str))


#: How the ids of records begin that have none of their own. Others may begin so, too.
_WITHOUT_ID = "record-"
_MADE = re.compile(_WITHOUT_ID + "[0-9a-f]{32}")


def identifier(given: Any, raw: bytes) -> str:
    """OPA's decision id, or one made from the bytes when there is none that fits an address."""
    if isinstance(given, str) and _ID.fullmatch(given):
        return given
    return f"{_WITHOUT_ID}{sha256(raw).hexdigest()[:32]}"


def may_be_made(decision: str) -> bool:
    """Whether it has the form of an id that is made from bytes: two such records may well be the same."""
    return _MADE.fullmatch(decision) is not None


def has_own_id(decision: str, raw: bytes) -> bool:
    """Whether the record says itself that it is called so."""
    return not decision.startswith(_WITHOUT_ID) or decision != identifier(None, raw)


def nanoseconds(value: Any) -> int | None:
    """A record's time as nanoseconds since 1970; None for what is no time, and for one that is absurd."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    seconds = _seconds(whole + zone)
    return None if seconds is None else seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


@lru_cache(maxsize=1024)  # the records of a batch are of few seconds
def _seconds(moment: str) -> int | None:
    try:
        at = datetime.fromisoformat(moment)
        return int(at.timestamp()) if _EARLIEST <= at < _LATEST else None
    except (ValueError, OverflowError):
        return None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

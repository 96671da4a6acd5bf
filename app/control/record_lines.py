"""Read OPA's decision records tolerantly: what can be searched becomes columns, and nothing loses a batch.

The raw line is the record and is kept as it is. Numbers stay text here, since OPA logs `1e400` and 30-digit
decimals; what a database refuses (NUL, lone surrogates, too long, absurd times) is replaced or cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.core.reason_codes import Reason

#: The path of the one query that is a decision.
DECISION_PATH = "placet/decision"

#: Characters of a column, of the words for the text filter, and of the list of reasons.
MAX_COLUMN = 512
MAX_TEXT = 4096
MAX_REASONS = 32

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass
class Line:
    """The searchable part of one record, `length` bytes at `offset` of its batch."""

    offset: int
    length: int
    decision_id: str
    outcome: str
    #: Nanoseconds since 1970; None when the record's own time is missing or absurd.
    time_ns: int | None = None
    reasons: list[str] = field(default_factory=list)
    subject_issuer: str | None = None
    subject_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    policy: str | None = None
    library: str | None = None
    text: str = ""


def read_lines(batch: bytes) -> Iterator[Line]:
    """One `Line` for each record; a run of lines that are not records is one `unreadable` line."""
    offset, junk_from = 0, None
    while offset < len(batch):
        end = batch.find(b"\n", offset) + 1 or len(batch)
        raw = batch[offset:end].rstrip(b"\n")
        record = parse(raw)
        if record is None:
            junk_from = offset if junk_from is None else junk_from
        else:
            if junk_from is not None:
                yield _unreadable(batch, junk_from, offset)
                junk_from = None
            yield _line(record, raw, offset)
        offset = end
    if junk_from is not None:
        yield _unreadable(batch, junk_from, len(batch))


def parse(raw: bytes) -> dict[str, Any] | None:
    """The record on a line, numbers as text; None when the line is not an object with a path."""
    try:
        record = json.loads(raw, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("path"), str) else None


def clean(value: Any, limit: int = MAX_COLUMN) -> str | None:
    """`value` as text that every database stores; None stays None."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return _UNSTORABLE.sub("\ufffd", text[:limit])


def _line(record: dict[str, Any], raw: bytes, offset: int) -> Line:
    result, request = _object(record.get("result")), _object(record.get("input"))
    resource, subject, bundles = (
        _object(request.get("resource")),
        _object(result.get("subject")),
        _object(result.get("bundles")),
    )
    outcome, reasons = _outcome(record, result)
    line = Line(
        offset=offset,
        length=len(raw),
        decision_id=_identifier(record.get("decision_id"), raw),
        outcome=outcome,
        time_ns=_nanoseconds(record.get("timestamp")),
        reasons=reasons,
        subject_issuer=clean(subject.get("issuer")),
        subject_id=clean(subject.get("id")),
        action=clean(_object(request.get("action")).get("name")),
        resource_type=clean(resource.get("type")),
        resource_id=clean(resource.get("id")),
        policy=clean(bundles.get("policy")),
        library=clean(bundles.get("library")),
    )
    line.text = _text(line, request, result)
    return line


def _unreadable(batch: bytes, start: int, end: int) -> Line:
    raw = batch[start:end]
    shown = raw[:MAX_TEXT].decode("utf-8", "replace")
    return Line(start, end - start, _identifier(None, raw), "unreadable", text=(clean(shown, MAX_TEXT) or "").lower())


def _outcome(record: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Only a whole decision that says `true` is an allow; an error, an undefined or an odd result is a denial."""
    if record["path"].strip("/") != DECISION_PATH:
        return "other", []
    if record.get("error") is not None:
        return "deny", [str(Reason.EVALUATION_ERROR)]
    if "result" not in record:
        return "deny", [str(Reason.DECISION_UNDEFINED)]
    listed = result.get("reasons")
    codes = [_object(one).get("code") for one in listed] if isinstance(listed, list) else []
    reasons = [clean(code, 100) or "" for code in codes[:MAX_REASONS] if isinstance(code, str)]
    if result.get("allow") is True:
        return "allow", reasons
    return "deny", reasons or [str(Reason.DECISION_MALFORMED)]


def _identifier(given: Any, raw: bytes) -> str:
    """OPA's decision id, or one made from the bytes when there is none that fits an address."""
    if isinstance(given, str) and _ID.fullmatch(given):
        return given
    return f"record-{sha256(raw).hexdigest()[:32]}"


def _nanoseconds(value: Any) -> int | None:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(match[1] + match[3])
        if not _EARLIEST <= moment < _LATEST:
            return None
    except (ValueError, OverflowError):
        return None
    return int(moment.timestamp()) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


def _text(line: Line, request: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The words of the record: identifiers first, then the input without its identity, then the reasons."""
    asked = {name: value for name, value in request.items() if name not in {"identity", "warrant"}}
    words = [line.decision_id, line.subject_id, line.subject_issuer, *line.reasons]
    return _bounded(" ".join([*filter(None, words), _flat(asked), _flat(result.get("reasons"))]))


def _flat(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False) if value else ""
    except RecursionError:
        return ""


def _bounded(text: str) -> str:
    # Lower-casing may lengthen a text, so it is cut last.
    return _UNSTORABLE.sub("\ufffd", text[: 2 * MAX_TEXT]).lower()[:MAX_TEXT]


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

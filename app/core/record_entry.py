"""What a batch says of an entry: whether it is a decision record, and what that one allowed and named.

Sidecar, control plane and verifiers must read every entry alike, whatever a client made OPA write. Parsers that
recurse fail at a depth that depends on who calls them; where the quick one fails, a scanner of our own reads on,
which needs no stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from app.core import usual_record
from app.core.usual_record import Known, Usual

#: The type of OPA's decision records.
RECORD_TYPE = "openpolicyagent.org/decision_logs"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TOKEN = re.compile(r'[ \t\r\n]*([{}\[\],:]|"[^"\\]*(?:\\.[^"\\]*)*"|[^ \t\r\n{}\[\],:"]+)')
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None, "{": dict, "[": list}


class Entry(NamedTuple):
    """A decision record, as far as a batch counts it. Digests of another form than `sha256:…` count as none.

    So do names that are empty.
    """

    decision_id: str | None
    allow: bool
    policy: str | None
    library: str | None
    state: str | None
    #: The execution that it was made in, by a token that was verified, or that was about to start.
    execution: str | None


class _Bundles(msgspec.Struct, gc=False):
    policy: str | None = None
    library: str | None = None


class _Decision(msgspec.Struct, gc=False):
    allow: bool | msgspec.UnsetType | None = msgspec.UNSET
    bundles: _Bundles | None = None
    state: str | None = None
    execution: str | None = None


class _Result(_Decision):
    decision: _Decision | None = None


class _Line(msgspec.Struct, gc=False):
    type: str | None = None
    decision_id: str | None = None
    result: _Result | None = None


_decode = msgspec.json.Decoder(_Line).decode
_NO_DECISION = _Decision()

#: Where the values stand that the scanner looks for.
_DECISION_PATHS = (("allow",), ("bundles", "policy"), ("bundles", "library"), ("state",), ("execution",))
_PATHS = {
    ("type",),
    ("decision_id",),
    *(("result", *path) for path in _DECISION_PATHS),
    *(("result", "decision", *path) for path in _DECISION_PATHS),
}
_ABOVE = {path[:length] for path in _PATHS for length in range(len(path) + 1)}

_Path = tuple[str, ...]


def read_entry(raw: bytes) -> Entry | None:
    """The decision record that `raw` is, a line without its newline; None for everything else that OPA writes."""
    if not raw.lstrip(b" \t\r\n").startswith(b"{"):
        return None
    try:
        line = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _scanned(raw)
    if line.type != RECORD_TYPE:
        return None
    result = line.result or _Result()
    decision: _Decision = result
    # An execution's start (`placet/start`) has its decision as a part of its result.
    if result.allow is msgspec.UNSET and result.decision is not None:
        decision = result.decision
    bundles = decision.bundles or _Bundles()
    return Entry(
        line.decision_id or None,
        decision.allow is True,
        _digest(bundles.policy),
        _digest(bundles.library),
        _digest(decision.state),
        decision.execution or None,
    )


def read_entries(entries: Sequence[bytes], usual: Sequence[Usual | None]) -> Iterator[Entry | None]:
    """What each entry of a batch is, given its members (`app.core.usual_record`): as `read_entry` says."""
    bundles, digests, words = Known(_bundles), Known(_digest_of), Known(_decode_word)
    for raw, members in zip(entries, usual, strict=True):
        try:
            if members is None:
                yield read_entry(raw)
                continue
            if members.type != RECORD_TYPE:
                yield None
                continue
            decision = members.result or {}
            if "allow" not in decision and "decision" in decision:
                decision = usual_record.members(decision["decision"])
            found = Entry(
                members.decision_id or None,
                _ALLOWS[decision.get("allow", _NULL)],
                *bundles[decision.get("bundles", _NULL)],
                digests[decision.get("state", _NULL)],
                words[decision.get("execution", _NULL)] or None,
            )
        except (msgspec.MsgspecError, LookupError):  # of other types: what they say is not to be told from here
            yield read_entry(raw)
        else:
            yield found


_NULL = b"null"
_ALLOWS = {b"true": True, b"false": False, _NULL: False}
_decode_bundles = msgspec.json.Decoder(_Bundles | None).decode
_decode_word = msgspec.json.Decoder(str | None).decode


def _bundles(value: bytes) -> tuple[str | None, str | None]:
    bundles = _decode_bundles(value) or _Bundles()
    return _digest(bundles.policy), _digest(bundles.library)


def _digest_of(value: bytes) -> str | None:
    return _digest(_decode_word(value))


def _digest(value: Any) -> str | None:
    return value if isinstance(value, str) and _DIGEST.fullmatch(value) else None


def _scanned(raw: bytes) -> Entry | None:
    found = _scan(raw.decode("utf-8", "replace"))
    if found is None or found.get(("type",)) != RECORD_TYPE:
        return None
    at: _Path = ("result",)
    if ("result", "allow") not in found and found.get(("result", "decision")) is dict:
        at = ("result", "decision")
    return Entry(
        _text(found.get(("decision_id",))),
        found.get((*at, "allow")) is True,
        _digest(found.get((*at, "bundles", "policy"))),
        _digest(found.get((*at, "bundles", "library"))),
        _digest(found.get((*at, "state"))),
        _text(found.get((*at, "execution"))),
    )


def _text(value: Any) -> str | None:
    """`value` if it is text that has bytes: JSON can name half a character, and none."""
    try:
        return value if isinstance(value, str) and value.encode() else None
    except UnicodeEncodeError:
        return None


def _scan(text: str) -> dict[_Path, Any] | None:
    """The values at the places that matter, of an object however deep; None when its brackets do not match.

    Of an object or array its type is given, of a number 0. Of two members of one name the last one counts.
    """
    found: dict[_Path, Any] = {}
    opened: list[tuple[str, _Path | None]] = []
    name: str | None = ""
    tokens = _TOKEN.scanner(text)  # type: ignore[attr-defined]  # of `re`, though typeshed does not know it
    try:
        while token := tokens.match():
            word: str = token[1]
            if word in "}]":
                if not opened or opened.pop()[0] + word not in ("{}", "[]"):
                    return None
                if not opened:
                    return None if text[token.end() :].strip(" \t\r\n") else found
                name = ""
            elif word == ",":
                name = None
            elif word == ":":
                continue
            elif opened and opened[-1][0] == "{" and name is None:
                name = str(json.loads(word))
            else:
                path = _path(opened, name)
                if path is not None:
                    _note(found, path, word)
                if word in "{[":
                    opened.append((word, path))
                    name = None
    except ValueError:
        pass
    return None


def _path(opened: list[tuple[str, _Path | None]], name: str | None) -> _Path | None:
    """Where the value stands that begins now; None for a place that does not matter."""
    if not opened:
        return ()
    bracket, above = opened[-1]
    if bracket == "[" or above is None or name is None:
        return None
    path = (*above, name)
    return path if path in _ABOVE else None


def _note(found: dict[_Path, Any], path: _Path, word: str) -> None:
    for below in [other for other in found if other[: len(path)] == path]:
        del found[below]
    found[path] = json.loads(word) if word[0] == '"' else _CONSTANTS.get(word, 0)

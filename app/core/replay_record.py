"""What replay needs of a record, cut out of its bytes.

Nothing is parsed and written again, so that every number stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from app.core.compose import revision
from app.core.masking import MARK

#: What OPA is asked again: a decision, or the start of an execution.
PATHS = {"placet/decision": "decision", "placet/start": "start"}

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REVISION = re.compile(r"policy=(sha256:[0-9a-f]{64}) library=(sha256:[0-9a-f]{64})")
#: What masking leaves in the place of a token outside of the places for tokens.
_CUT = b"(token cut)"
#: And what it leaves in the place of a value that a rule of the system keeps out.
_MASKED = f'"{MARK}'.encode()


class Unavailable(Exception):
    """The record cannot be replayed; the text says why."""


class Absent(bytes):
    """Stands for a record that is not to be had: JSON with the decision's id and nothing else."""

    why: str

    @classmethod
    def of(cls, decision: str, why: str) -> Absent:
        """In the place of a decision's record."""
        absent = cls(msgspec.json.encode({"decision_id": decision}))
        absent.why = why
        return absent


class Recorded(msgspec.Struct, frozen=True):
    """A decision record. Members in bytes are JSON, as OPA wrote them."""

    path: str
    policy: str
    library: str
    #: The digest of the trust state; None when OPA had none yet.
    state: str | None
    input: bytes
    #: Nanoseconds since 1970; None when the clock was not read.
    now: bytes | None
    lease: bytes
    #: Outcomes of `io.jwt.decode_verify`, true or false, by the SHA-256 of the token, or that and of the constraints.
    calls: bytes
    #: The SHA-256 of each token that was verified.
    verified: frozenset[str]
    result: bytes
    #: A member stands twice in the record. OPA writes each once; of two, readers take one or the other.
    twice: bool = False

    @property
    def cut(self) -> bool:
        """Whether a part of the input or of the result was not kept as it was, but for what is `masked`."""
        kept = self.input, self.result
        return any(_CUT in one for one in kept) or _MASKED in self.input or any(map(_is_digest, _places(self.input)))

    @property
    def masked(self) -> bool:
        """Whether a rule of the system kept a part of the result out."""
        return _MASKED in self.result

    @property
    def revision(self) -> str:
        """Of the composed bundle that decided."""
        return revision(self.policy, self.library)

    @property
    def query(self) -> str | None:
        """The rule of the replay module that decides it again; None when there is none."""
        if self.state is not None and self.now is not None:
            return PATHS[self.path]
        if self.path != "placet/decision":
            return None
        return "stateless" if self.state is None else "unclocked"

    def question(self) -> bytes:
        """The record as that rule takes it."""
        state = b"null" if self.state is None else b'"%s"' % self.state.encode()
        members = (self.input, self.now or b"0", self.lease, state, self.calls)
        return b'{"input":%s,"now":%s,"lease":%s,"state":%s,"calls":%s}' % members

    def unkept(self, held: frozenset[str]) -> bool:
        """Whether a token was verified that neither the input nor the trust state, with tokens `held`, has."""
        return any(b"." + token.encode() + b'"' not in self.input for token in self.verified - held)


class _Bundle(msgspec.Struct):
    revision: str = ""


class _Named(msgspec.Struct):
    state: str | None = None


class _Result(_Named):
    decision: _Named | None = None


class _Calls(msgspec.Struct):
    now: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict, name="time.now_ns")
    lease: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict, name="placet.lease")
    verify: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="io.jwt.decode_verify")


class _Record(msgspec.Struct):
    path: str | None = None
    decision_id: str | None = None
    bundles: dict[str, _Bundle] = {}
    input: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    nd_builtin_cache: _Calls = msgspec.field(default_factory=_Calls)


class _Input(msgspec.Struct):
    identity: Any = None
    execution: Any = None
    warrant: Any = None
    proof: Any = None
    environment: Any = None


class _Identified(msgspec.Struct):
    decision_id: str | None = None


_record = msgspec.json.Decoder(_Record).decode
_identified = msgspec.json.Decoder(_Identified).decode
_input = msgspec.json.Decoder(_Input).decode
_result = msgspec.json.Decoder(_Result).decode
_outcomes = msgspec.json.Decoder(dict[str, bool]).decode


def decision_id(raw: bytes) -> str | None:
    """The id in a record; None when it has none that can be read."""
    try:
        return _identified(raw).decision_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read(raw: bytes) -> Recorded:
    """Read a record, a line without its newline. Raises `Unavailable`."""
    if isinstance(raw, Absent):
        raise Unavailable(raw.why)
    try:
        return _read(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unavailable(f"this is no decision record that replay can read: {str(error)[:120]}") from error
    except RecursionError as error:
        raise Unavailable("the record is nested too deeply") from error


def _read(raw: bytes) -> Recorded:
    raw.decode()  # parts that are not read now are not looked at either
    line = _record(raw)
    if line.path not in PATHS:
        raise Unavailable(f"its path is {str(line.path)[:80]!r}; only {' and '.join(PATHS)} are replayed")
    if line.error:
        raise Unavailable("OPA answered with an error, and such a record names no trust state")
    if not line.result or not line.input:
        raise Unavailable(f"it holds no {'result' if line.input else 'input'}")
    if b'"(could not be masked)"' in (bytes(line.input), bytes(line.result)):
        raise Unavailable("it could not be masked, so nothing of it was kept")
    policy, library = _parts(line.bundles)
    result, calls = _result(line.result), line.nd_builtin_cache
    named = (result.decision or _Named()) if line.path == "placet/start" else result
    if named.state is not None and not _DIGEST.fullmatch(named.state):
        raise Unavailable("what it names as its trust state is no digest")
    lease, now = calls.lease.get("[]"), calls.now.get("[]")
    if lease is None:
        raise Unavailable("it does not hold the lease (nd_builtin_cache, placet.lease)")
    recorded = Recorded(
        path=line.path or "",
        policy=policy,
        library=library,
        state=named.state,
        input=bytes(line.input),
        now=bytes(now) if now is not None else None,
        lease=bytes(lease),
        calls=bytes(calls.verify),
        verified=frozenset(name[:64] for name in _outcomes(calls.verify)),
        result=bytes(line.result),
        twice=_is_twice(raw),
    )
    if recorded.query is None:
        raise Unavailable(f"it names no {'trust state' if named.state is None else 'clock reading'}")
    return recorded


class _TwiceError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _TwiceError


_members = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str).decode


def _is_twice(raw: bytes) -> bool:
    """Whether an object in it has two members of one name."""
    with suppress(msgspec.MsgspecError):  # a number beyond what it takes
        if msgspec.json.encode(msgspec.json.decode(raw)) == raw:
            return False  # as of most records; the rest has numbers or escapes that can be written otherwise
    try:
        _members(raw.decode())
    except _TwiceError:
        return True
    return False


def _places(asked: bytes) -> Iterator[Any]:
    """Whatever stands in the places for tokens and certificates."""
    if not asked.startswith(b"{"):
        return  # a request of another form has no such places
    found = _input(asked)
    yield from (found.identity, found.proof, found.warrant, found.environment)
    for value in (found.warrant, found.environment):
        yield from value if isinstance(value, list) else ()
    for holder in (found.identity, found.execution):
        for value in holder.values() if isinstance(holder, dict) else ():
            yield value
            yield from value if isinstance(value, list) else ()


def _is_digest(value: Any) -> bool:
    """Whether masking put it there in the place of something else."""
    if isinstance(value, dict) and len(value) == 1:
        return isinstance(value.get("sha256"), str)
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _parts(bundles: dict[str, _Bundle]) -> tuple[str, str]:
    """The digests of policy and library, from the revision of the bundle that OPA itself says it had."""
    revision = bundles["placet"].revision if "placet" in bundles else ""
    match = _REVISION.fullmatch(revision)
    if match is None:
        raise Unavailable("it does not name the bundle that decided")
    return match[1], match[2]

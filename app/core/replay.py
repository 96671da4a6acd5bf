"""Recorded decisions made again, by the same bundle in OPA itself, from what each record names.

Policy, library and trust state are found by the digests in the record; input, clock, lease and the outcomes of
signature checks stand in it. A result that is not the record's, byte for byte, is a finding. What is not known is never
guessed: such a record is unavailable, with the reason. What is compared are values with the text of their numbers;
JSON can write one text in several ways.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Protocol

from app.core import archive, strict_json
from app.core.bundle import MANIFEST, digest_of, parse_bundle
from app.core.compose import Library, compose
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.replay_compare import Path, alike, hidden, hides_outcome
from app.core.replay_record import Recorded, Unavailable, decision_id, read
from app.core.shipped import shipped

#: Records that are read ahead, so that those of one policy and state can be decided together.
WINDOW = 2048
#: What one query of OPA holds at most: records, and bytes of them.
_CHUNK, _CHUNK_BYTES = 128, 8 * 1024 * 1024

#: Trust states that are kept for the next records; each has up to 128 KiB.
_STATES = 512

_ROOT = "placet_replay"

#: Records with their positions in a window.
_Chunk = list[tuple[int, Recorded]]


class Verdict(StrEnum):
    """What came of one record."""

    SAME = "same"
    DIFFERS = "differs"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Replayed:
    """One record, decided again. The results are JSON as OPA wrote it; `None`: there is none."""

    decision_id: str | None
    verdict: Verdict
    detail: str | None = None
    recorded: str | None = None
    replayed: str | None = None

    @property
    def reason(self) -> Reason | None:
        """The reason code of what is not the same."""
        reasons = {Verdict.DIFFERS: Reason.REPLAY_DIFFERS, Verdict.UNAVAILABLE: Reason.REPLAY_UNAVAILABLE}
        return reasons.get(self.verdict)

    def line(self) -> str:
        """One line of JSON, in which results keep the text of their numbers."""
        members = {"decision_id": self.decision_id, "verdict": str(self.verdict)}
        if self.reason is not None:
            members |= {"reason": str(self.reason), "detail": self.detail}
        text = json.dumps(members, ensure_ascii=False)
        if self.verdict is Verdict.DIFFERS:
            text = f'{text[:-1]}, "recorded": {self.recorded or "null"}, "replayed": {self.replayed or "null"}}}'
        return text


class Unheld(Exception):
    """The evaluation needs the outcome of a verification that the record does not hold."""


class EvaluationError(Exception):
    """OPA could not evaluate; the text is its error."""


class Engine(Protocol):
    """OPA with one composed bundle and the replay module."""

    def evaluate(self, query: str, records: Sequence[bytes], states: bytes) -> list[str | Exception | None]:
        """The result of each record as JSON text; None where it is undefined; `Unheld` or `EvaluationError`."""
        ...


class Parts(Protocol):
    """Where bundles and trust states come from. What they give need not be trusted: digests are checked."""

    def bundle(self, digest: str) -> bytes | None:
        """The raw policy bundle, a .tar.gz."""
        ...

    def state(self, digest: str) -> bytes | None:
        """The archived trust state."""
        ...


@dataclass(frozen=True)
class _State:
    """A trust state as it goes to OPA, the SHA-256 of each token in it, and what its rules may mask in results."""

    raw: bytes
    tokens: frozenset[str]
    masked: tuple[Path, ...] = ()


@dataclass
class _Group:
    """Records of one window that one query can decide: of the same policy, rule and state."""

    state: _State | None
    items: _Chunk = field(default_factory=list)


class Replay:
    """Decides records again, each by the bundle and the state that it names."""

    def __init__(self, parts: Parts, engine: Callable[[str, bytes], Engine], library: Library | None = None) -> None:
        """`engine` gives the OPA for a policy's digest and its composed bundle, until it is asked for another policy's.

        `library`: the only one by which records can be replayed; as a rule the one that this distribution has.
        """
        self._parts, self._engine = parts, engine
        self._library = library or Library.shipped()
        self._bundles: dict[str, bytes | Unavailable] = {}
        self._states: dict[str, _State | Unavailable] = {}

    def replay(self, records: Iterable[bytes]) -> Iterator[Replayed]:
        """What comes of each record, in their order. Raises `PlacetError` when OPA cannot be run."""
        rest = iter(records)
        while window := list(islice(rest, WINDOW)):
            yield from self._window(window)

    def _window(self, raws: Sequence[bytes]) -> list[Replayed]:
        found: list[Replayed | None] = [None] * len(raws)
        groups: dict[tuple[str, str | None, str | None], _Group] = {}
        for position, raw in enumerate(raws):
            try:
                one = self._read(raw)
                state = self._checked(one)
            except Unavailable as why:
                found[position] = Replayed(decision_id(raw), Verdict.UNAVAILABLE, str(why))
                continue
            group = groups.setdefault((one.policy, one.query, one.state), _Group(state))
            group.items.append((position, one))
        # Policies one by one, since OPA takes a moment to load another; what one of them decides, on all cores.
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            for policy in sorted({key[0] for key in groups}):
                bundle = self._bundles[policy]
                assert isinstance(bundle, bytes)
                ask = partial(_ask, self._engine(policy, bundle))
                questions = [
                    (groups[key].state, chunk)
                    for key in groups
                    if key[0] == policy
                    for chunk in _chunks(groups[key].items)
                ]
                for (state, chunk), answers in zip(questions, threads.map(ask, questions), strict=True):
                    for (position, one), answer in zip(chunk, answers, strict=True):
                        found[position] = self._result(raws[position], one, answer, state)
        return [one for one in found if one is not None]

    def _read(self, raw: bytes) -> Recorded:
        return read(raw)

    def _result(self, raw: bytes, one: Recorded, answer: str | Exception | None, state: _State | None) -> Replayed:
        identifier = decision_id(raw)
        if isinstance(answer, Unheld):
            why = "the outcome of verifying a token is not in it, and the decision asks for that"
            return Replayed(identifier, Verdict.UNAVAILABLE, why)
        return self._judge(identifier, one, answer, state)

    def _judge(
        self, identifier: str | None, one: Recorded, answer: str | Exception | None, state: _State | None
    ) -> Replayed:
        return _judged(identifier, one, answer, state)

    def _checked(self, one: Recorded) -> _State | None:
        """The state of a record of which everything can be had. Raises `Unavailable`."""
        if one.library != self._library.digest:
            raise Unavailable(f"the library {one.library} decided; this version of placet has {self._library.digest}")
        bundle = self._bundles.get(one.policy)
        if bundle is None:
            bundle = self._bundles[one.policy] = self._composed(one.policy)
        if isinstance(bundle, Unavailable):
            raise bundle
        if one.state is None:
            return None
        state = self._states.get(one.state)
        if state is None:
            if len(self._states) == _STATES:
                self._states.clear()
            state = self._states[one.state] = self._found(one.state)
        if isinstance(state, Unavailable):
            raise state
        if one.unkept(state.tokens):
            raise Unavailable("a token was verified that the record could not keep")
        return state

    def _composed(self, digest: str) -> bytes | Unavailable:
        """The bundle that the sidecar composed, with the module for replay beside it, which no sidecar has."""
        raw = self._parts.bundle(digest)
        if raw is None:
            return Unavailable(f"the policy {digest} is not to be had")
        if digest_of(raw) != digest:
            return Unavailable(f"what is stored as the policy {digest} is {digest_of(raw)}")
        try:
            files = archive.read_archive(compose(parse_bundle(raw), self._library).raw)
        except Denied as denied:
            return Unavailable(f"the policy {digest} is no bundle: {denied}")
        manifest = json.loads(files[MANIFEST])
        manifest["roots"] = sorted([*manifest["roots"], _ROOT])
        module = (shipped("rego") / "replay" / "replay.rego").read_bytes()
        return archive.write_archive(
            {**files, MANIFEST: strict_json.canonical(manifest), f"{_ROOT}/replay.rego": module}
        )

    def _found(self, digest: str) -> _State | Unavailable:
        raw = self._parts.state(digest)
        if raw is None:
            return Unavailable(f"the trust state {digest} is not to be had")
        if digest_of(raw) != digest:
            return Unavailable(f"what is stored as the trust state {digest} is {digest_of(raw)}")
        try:
            trust = json.loads(raw)
            masked, results = hidden(trust), trust["environment"]["results"]
            tokens = frozenset(hashlib.sha256(token.encode()).hexdigest() for token in results)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return Unavailable(f"the trust state {digest} is malformed")
        return _State(raw, tokens, masked)


def _ask(engine: Engine, question: tuple[_State | None, _Chunk]) -> list[str | Exception | None]:
    state, chunk = question
    first = chunk[0][1]
    states = b"{}" if state is None else b'{"%s":%s}' % ((first.state or "").encode(), state.raw)
    return engine.evaluate(first.query or "", [one.question() for _, one in chunk], states)


def _chunks(items: _Chunk) -> Iterator[_Chunk]:
    chunk: _Chunk = []
    size = 0
    for item in items:
        length = len(item[1].input)
        if chunk and (len(chunk) == _CHUNK or size + length > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += length
    if chunk:
        yield chunk


def _judged(identifier: str | None, one: Recorded, answer: str | Exception | None, state: _State | None) -> Replayed:
    recorded = one.result.decode()
    if isinstance(answer, str) and (answer == recorded or alike(answer, recorded)):
        return Replayed(identifier, Verdict.SAME)
    masked = state.masked if state is not None and one.masked else ()
    if isinstance(answer, str) and masked and alike(answer, recorded, masked):
        return Replayed(identifier, Verdict.SAME, "what the system's rules keep out was not compared")
    if masked and hides_outcome(recorded, masked):
        return Replayed(identifier, Verdict.UNAVAILABLE, "the system's rules kept the outcome out")
    if one.state is None or one.now is None:
        what = "trust state" if one.state is None else "clock reading"
        return Replayed(identifier, Verdict.UNAVAILABLE, f"it names no {what}, and the result rests on one")
    if one.cut:
        return Replayed(
            identifier, Verdict.UNAVAILABLE, "a part of the request was not kept, and the result rests on it"
        )
    if isinstance(answer, Exception):
        return Replayed(identifier, Verdict.DIFFERS, f"OPA gives an error now: {answer}", recorded)
    detail = "OPA gives another result now" if answer else "OPA gives no result now"
    return Replayed(identifier, Verdict.DIFFERS, detail, recorded, answer)

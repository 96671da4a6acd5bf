"""Recorded decisions made again, by the same bundle in OPA itself, from what each record names.

Policy, library and trust state are found by the digests in the record; input, clock, lease and the outcomes of
signature checks stand in it. A result that is not the record's, byte for byte, is a finding. What is not known is never
guessed: such a record is unavailable, with the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from app.core import archive, strict_json
from app.core.bundle import MANIFEST, digest_of, parse_bundle
from app.core.compose import Library, compose
from app.core.errors import Denied
from app.core.replay_compare import Path, alike, hidden, hides_outcome
from app.core.replay_record import Recorded, Unavailable, decision_id, read
from app.core.replay_tokens import said
from app.core.replayed import Replayed, Verdict
from app.core.shipped import shipped

#: Records that are decided together where they are of one policy and state. Two windows are held at a time.
WINDOW = 1024
#: What one query of OPA holds at most: records, and bytes of them.
_CHUNK, _CHUNK_BYTES = 128, 8 * 1024 * 1024

#: Trust states that are kept for the next records; each has up to 128 KiB.
_STATES = 512

_ROOT = "placet_replay"

#: Records with their positions in a window.
_Chunk = list[tuple[int, Recorded]]
#: The result of a record as JSON text; None where it is undefined; `Unheld` or `EvaluationError`.
_Answer = str | Exception | None


class Unheld(Exception):
    """The evaluation needs the outcome of a verification that the record does not hold."""


class EvaluationError(Exception):
    """OPA could not evaluate; the text is its error."""


class Engine(Protocol):
    """OPA with one composed bundle and the replay module."""

    def evaluate(self, query: str, records: Sequence[bytes], beside: bytes) -> list[_Answer]:
        """What comes of each record. `beside`: the other members of the replay module's input."""
        ...


class Parts(Protocol):
    """Where bundles and trust states come from. What they give need not be trusted: digests are checked."""

    def bundle(self, digest: str) -> bytes | None:
        """The raw policy bundle, a .tar.gz."""
        ...

    def library(self, digest: str) -> bytes | None:
        """The file of a governance library (`app.core.compose.Library.written`)."""
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
    """Records of one window that one query can decide: of the same bundle, rule and state."""

    state: _State | None
    items: _Chunk = field(default_factory=list)


@dataclass
class _Window:
    """Records that are decided together: what came of them by their positions, and what OPA is asked meanwhile."""

    raws: list[bytes]
    #: The revision that OPA has loaded in the end.
    revision: str | None = None
    found: dict[int, Replayed] = field(default_factory=dict)
    asked: list[tuple[_State | None, _Chunk, Future[list[_Answer]]]] = field(default_factory=list)


class Replay:
    """Decides records again, each by the bundle and the state that it names."""

    def __init__(self, parts: Parts, engine: Callable[[str, bytes], Engine], library: Library | None = None) -> None:
        """`engine` gives the OPA for a revision and its composed bundle, until it is asked for another one's.

        `library`: the one that `parts` need not give; as a rule that of this distribution.
        """
        self._parts, self._engine = parts, engine
        own = library or Library.shipped()
        self._libraries: dict[str, Library | Unavailable] = {own.digest: own}
        self._own = own.digest
        #: Records that were decided by each library that `parts` gave.
        self.others: Counter[str] = Counter()
        self._bundles: dict[str, bytes | Unavailable] = {}
        self._states: dict[str, _State | Unavailable] = {}

    def replay(self, records: Iterable[bytes]) -> Iterator[Replayed]:
        """What comes of each record, in their order. Raises `PlacetError` when OPA cannot be run.

        OPA decides one window while the next is read, and while what came of the one before is judged.
        """
        rest = iter(records)
        threads = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            window = _Window([])
            while raws := list(islice(rest, WINDOW)):
                before, window = window, self._asked(raws, threads, window)
                yield from self._results(before)
            yield from self._results(window)
        finally:
            threads.shutdown(cancel_futures=True)

    def _asked(self, raws: list[bytes], threads: Executor, before: _Window) -> _Window:
        """A window of records, of which OPA is asked."""
        window = _Window(raws, revision=before.revision)
        groups: dict[tuple[str, str | None, str | None], _Group] = {}
        for position, raw in enumerate(raws):
            try:
                one = self._read(raw)
                state = self._checked(one)
            except Unavailable as why:
                window.found[position] = Replayed(decision_id(raw), Verdict.UNAVAILABLE, str(why))
                continue
            if one.library != self._own:
                self.others[one.library] += 1
            group = groups.setdefault((one.revision, one.query, one.state), _Group(state))
            group.items.append((position, one))
        # Bundles one by one, since OPA takes a moment to load another; what one of them decides, on all cores.
        for revision in sorted({key[0] for key in groups}):
            if revision != window.revision:
                wait([future for one in (before, window) for _, _, future in one.asked])
            window.revision = revision
            bundle = self._bundles[revision]
            assert isinstance(bundle, bytes)
            engine = self._engine(revision, bundle)
            for group in (groups[key] for key in groups if key[0] == revision):
                for chunk in _chunks(group.items):
                    window.asked.append((group.state, chunk, threads.submit(_ask, engine, group.state, chunk)))
        return window

    def _results(self, window: _Window) -> Iterator[Replayed]:
        for state, chunk, future in window.asked:
            for (position, one), answer in zip(chunk, future.result(), strict=True):
                window.found[position] = self._result(window.raws[position], one, answer, state)
        yield from (window.found[position] for position in range(len(window.raws)))

    def _read(self, raw: bytes) -> Recorded:
        return read(raw)

    def _result(self, raw: bytes, one: Recorded, answer: _Answer, state: _State | None) -> Replayed:
        identifier = decision_id(raw)
        if isinstance(answer, Unheld):
            why = "the outcome of verifying a token is not in it, and the decision asks for that"
            return Replayed(identifier, Verdict.UNAVAILABLE, why)
        return self._judge(identifier, one, answer, state)

    def _judge(self, identifier: str | None, one: Recorded, answer: _Answer, state: _State | None) -> Replayed:
        return _judged(identifier, one, answer, state)

    def _checked(self, one: Recorded) -> _State | None:
        """The state of a record of which everything can be had. Raises `Unavailable`."""
        library = self._libraries.get(one.library)
        if library is None:
            library = self._libraries[one.library] = self._kept(one.library)
        if isinstance(library, Unavailable):
            raise library
        bundle = self._bundles.get(one.revision)
        if bundle is None:
            bundle = self._bundles[one.revision] = self._composed(one.policy, library)
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

    def _kept(self, digest: str) -> Library | Unavailable:
        raw = self._parts.library(digest)
        if raw is None:
            return Unavailable(f"the library {digest} is not to be had; this version of placet has {self._own}")
        try:
            found = Library.read(raw)
        except ValueError as error:
            return Unavailable(f"what is stored as the library {digest} is none: {error}")
        if found.digest != digest:
            return Unavailable(f"what is stored as the library {digest} is {found.digest}")
        return found

    def _composed(self, digest: str, library: Library) -> bytes | Unavailable:
        """The bundle that the sidecar composed, with the module for replay beside it, which no sidecar has."""
        raw = self._parts.bundle(digest)
        if raw is None:
            return Unavailable(f"the policy {digest} is not to be had")
        if digest_of(raw) != digest:
            return Unavailable(f"what is stored as the policy {digest} is {digest_of(raw)}")
        try:
            files = archive.read_archive(compose(parse_bundle(raw), library).raw)
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


def _ask(engine: Engine, state: _State | None, chunk: _Chunk) -> list[_Answer]:
    first = chunk[0][1]
    states = b"" if state is None else b'"%s":%s' % ((first.state or "").encode(), state.raw)
    beside = b'"states":{%s},"said":{%s}' % (states, said(one.input for _, one in chunk))
    return engine.evaluate(first.query or "", [one.question() for _, one in chunk], beside)


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


def _judged(identifier: str | None, one: Recorded, answer: _Answer, state: _State | None) -> Replayed:
    recorded = one.result.decode()
    if one.twice:
        detail = "a member stands twice in the record, and OPA writes each once"
        return Replayed(identifier, Verdict.DIFFERS, detail, recorded, answer if isinstance(answer, str) else None)
    if answer == recorded:
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

"""What another policy would have decided: past records made again with it in the place of their own, all else equal.

Library, trust state, lease, clock, request and the outcomes of signature checks are those of the record. What the new
policy's answer changes is told and grouped; what cannot be known is counted apart, and never as unchanged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from app.core.bundle import digest_of
from app.core.compose import Library
from app.core.replay import Engine, Parts, Replay
from app.core.replay_compare import exact
from app.core.replay_record import Recorded
from app.core.replayed import Replayed, Verdict

#: Groups of one report, and examples and characters of one text in a group. What is beyond shares a group.
MAX_GROUPS, MAX_EXAMPLES, MAX_TEXT = 500, 5, 200

_BEGINS, _NAMED = (
    ('{"allow":true,"bundles":', '{"allow":false,"bundles":'),
    re.compile(r'"policy":"sha256:[0-9a-f]{64}"'),
)

#: What a group says where there is nothing to say, and where there were too many groups to tell apart.
NONE, MANY = "", "…"


class Change(StrEnum):
    """How a decision changes."""

    DENIES = "allow-to-deny"
    ALLOWS = "deny-to-allow"
    REASONS = "reasons"
    OBLIGATIONS = "obligations"
    #: Something else of the answer, such as when it expires.
    OTHER = "other"


@dataclass(frozen=True)
class Effect:
    """One record under the new policy. `change` None: the answer stays, or nobody can tell (`unavailable` says why)."""

    decision_id: str | None
    change: Change | None = None
    unavailable: str | None = None
    action: str = NONE
    resource_type: str = NONE
    issuer: str = NONE
    reason: str = NONE


@dataclass
class Group:
    """Records that change alike."""

    change: str
    action: str
    resource_type: str
    #: The issuer of the subject.
    issuer: str
    #: The reason codes of the denial: the new one's, or the old one's where the new policy allows.
    reason: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Report:
    """Effects, counted and grouped as they come."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.records = 0
        self.changed = 0
        self.changes: Counter[str] = Counter()
        #: Records of which nobody can tell, by why.
        self.unavailable: Counter[str] = Counter()
        self._groups: dict[tuple[str, ...], Group] = {}
        self._inputs = hashlib.sha256()

    @property
    def inputs(self) -> str:
        """A digest over the records, in their order."""
        return f"sha256:{self._inputs.hexdigest()}"

    @property
    def groups(self) -> list[Group]:
        """The groups, the largest first."""
        return sorted(self._groups.values(), key=lambda one: (-one.count, one.change, one.action, one.reason))

    def add(self, raw: bytes, effect: Effect) -> None:
        """Count one record."""
        self.records += 1
        self._inputs.update(hashlib.sha256(raw).digest())
        if effect.unavailable is not None:
            why = effect.unavailable[:MAX_TEXT]
            self.unavailable[why if why in self.unavailable or len(self.unavailable) < MAX_GROUPS else MANY] += 1
        if effect.change is None:
            return
        self.changed += 1
        self.changes[str(effect.change)] += 1
        key = (str(effect.change), effect.action, effect.resource_type, effect.issuer, effect.reason)
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = (str(effect.change), MANY, MANY, MANY, MANY)
        group = self._groups.setdefault(key, Group(*key))
        group.count += 1
        if len(group.examples) < MAX_EXAMPLES and effect.decision_id is not None:
            group.examples.append(effect.decision_id[:MAX_TEXT])

    def document(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "policy": self.policy,
            "records": self.records,
            "changed": self.changed,
            "unavailable": self.unavailable.total(),
            "changes": {str(change): self.changes[str(change)] for change in Change},
            "groups": [vars(group) for group in self.groups],
            "why_unavailable": dict(self.unavailable.most_common()),
            "inputs": self.inputs,
        }


class Impact(Replay):
    """Decides records again by one policy, whatever policy each names."""

    def __init__(
        self, bundle: bytes, parts: Parts, engine: Callable[[str, bytes], Engine], library: Library | None = None
    ) -> None:
        """`bundle`: the new policy, raw. `parts` gives the trust states; `engine` as `Replay` has it."""
        self.policy = digest_of(bundle)
        super().__init__(_With(parts, self.policy, bundle), engine, library)

    def effects(self, records: Iterable[bytes]) -> Iterator[tuple[bytes, Effect]]:
        """Each record and what becomes of it, in their order. Raises `PlacetError` when OPA cannot be run."""
        read: deque[bytes] = deque()

        def kept() -> Iterator[bytes]:
            for raw in records:
                read.append(raw)
                yield raw

        for replayed in self.replay(kept()):
            raw = read.popleft()
            yield raw, _effect(raw, replayed)

    def _read(self, raw: bytes) -> Recorded:
        return msgspec.structs.replace(super()._read(raw), policy=self.policy)

    def _judge(self, identifier: str | None, one: Recorded, answer: str | Exception | None, state: object) -> Replayed:
        recorded = one.result.decode()
        given = None if isinstance(answer, Exception) else answer
        if one.twice:
            return Replayed(identifier, Verdict.UNAVAILABLE, "a member stands twice in the record")
        try:
            if _alike(recorded, given) or _change(recorded, given) is None:
                return Replayed(identifier, Verdict.SAME)
        except RecursionError:
            return Replayed(identifier, Verdict.UNAVAILABLE, "the result is nested too deeply")
        if one.cut or one.masked:
            why = "a part of the request was not kept, and the result may rest on it"
            return Replayed(identifier, Verdict.UNAVAILABLE, why)
        detail = "evaluation.error" if isinstance(answer, Exception) else None
        return Replayed(identifier, Verdict.DIFFERS, detail, recorded, given)


class _With:
    """Parts with one more bundle."""

    def __init__(self, parts: Parts, digest: str, bundle: bytes) -> None:
        self._parts, self._digest, self._bundle = parts, digest, bundle

    def bundle(self, digest: str) -> bytes | None:
        return self._bundle if digest == self._digest else self._parts.bundle(digest)

    def library(self, digest: str) -> bytes | None:
        return self._parts.library(digest)

    def state(self, digest: str) -> bytes | None:
        return self._parts.state(digest)


def _effect(raw: bytes, replayed: Replayed) -> Effect:
    if replayed.verdict is Verdict.UNAVAILABLE:
        return Effect(replayed.decision_id, unavailable=replayed.detail or NONE)
    if replayed.verdict is Verdict.SAME:
        return Effect(replayed.decision_id)
    change = _change(replayed.recorded or "null", replayed.replayed)
    assert change is not None
    before, after = _decision(_document(replayed.recorded)), _decision(_document(replayed.replayed))
    missing = replayed.detail or "decision.undefined"
    denial = before if change is Change.ALLOWS else after
    asked = _asked(raw)
    subject = before.get("subject") or after.get("subject")
    return Effect(
        replayed.decision_id,
        change,
        action=_text(_at(asked, "action", "name")),
        resource_type=_text(_at(asked, "resource", "type")),
        issuer=_text(_at(subject, "issuer")),
        reason=_text(",".join(_codes(denial)) if denial else missing),
    )


def _asked(raw: bytes) -> Any:
    """The request in a record, or nothing where it is too deep to be read here."""
    try:
        return json.loads(raw).get("input")
    except RecursionError:
        return None


def _alike(recorded: str, given: str | None) -> bool:
    """Whether two decisions have the same text but for the policy that they name, as most have."""
    # Members are sorted: before `bundles` stands `allow` alone, so no request and no policy writes the first digest.
    if given is None or not (recorded.startswith(_BEGINS) and given.startswith(_BEGINS)):
        return False
    return _NAMED.sub("", recorded, count=1) == _NAMED.sub("", given, count=1)


def _change(recorded: str, given: str | None) -> Change | None:
    """How an answer changes. That it names another policy is none."""
    old, new = _document(recorded), _document(given)
    before, after = _decision(old), _decision(new)
    allowed, allows = before.get("allow") is True, after.get("allow") is True
    if allowed != allows:
        return Change.ALLOWS if allows else Change.DENIES
    if _codes(before) != _codes(after):
        return Change.REASONS
    if before.get("obligations") != after.get("obligations"):
        return Change.OBLIGATIONS
    return None if _whole(old) == _whole(new) else Change.OTHER


def _document(text: str | None) -> Any:
    return None if text is None else exact(text)


def _decision(document: Any) -> dict[str, Any]:
    """The decision in an answer, of which an execution's start is a part; empty where there is none."""
    found = document.get("decision", document) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def _whole(document: Any) -> Any:
    """An answer without what names the policy, which is taken out of it."""
    if isinstance(document, dict):
        (document["decision"] if isinstance(document.get("decision"), dict) else document).pop("bundles", None)
    return document


def _codes(decision: dict[str, Any]) -> list[str]:
    reasons = decision.get("reasons")
    return [str(_at(one, "code")) for one in reasons] if isinstance(reasons, list) else []


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    """A text as a report has it: short, of one line."""
    text = value if isinstance(value, str) else NONE
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)[:MAX_TEXT]

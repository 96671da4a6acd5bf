"""What is known of an execution: statements, records and signatures that were verified, wherever they were found.

A source finds them: by the rows of a control plane, or in object storage alone. What is asked of it, in which order
and how much at most, is the same for both, so that both give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from app.core.break_statement import ToldBreak
from app.core.link import Link, TrustChange
from app.core.link_names import ARTIFACT, END, ENFORCE, PARENT, START, execution_ref
from app.core.verification_policy import SignerIdentity

#: Executions that are joined to one, and links of all of them; events of its sidecar while it ran; decisions of one.
MAX_JOINED = 64
MAX_LINKS = 3000
MAX_EVENTS = 500
MAX_DECISIONS = 2000
#: How far executions are followed that took what others made.
MAX_DEPTH = 8


class Key(NamedTuple):
    """An execution of one instance of a sidecar: nobody else can name it."""

    system: str
    #: Its name, not its SPIFFE ID.
    sidecar: str
    instance: str
    id: str


@dataclass(frozen=True)
class SignedLink:
    """A statement of a journal, of which signature and place in the log are proved."""

    says: Link | TrustChange
    #: `payload_digest` of the statement.
    digest: str
    #: When the timestamp authority saw the signature, UTC.
    signed_at: datetime
    log_index: int

    @property
    def place(self) -> tuple[str, str]:
        """System and name of the sidecar."""
        _, _, _, _, system, sidecar = self.says.sidecar.split("/")
        return system, sidecar

    @property
    def key(self) -> Key | None:
        """The execution that it is of."""
        if self.says.execution is None:
            return None
        return Key(*self.place, self.says.instance, self.says.execution)


@dataclass(frozen=True)
class Recorded:
    """A decision's record in a signed batch."""

    id: str
    #: `sha256:…`: the leaf hash, and the digest of the batch's statement.
    leaf: str
    batch: str
    system: str
    #: The sidecar's name, and the number of the entry over the life of its instance.
    sidecar: str
    instance: str
    sequence: int
    #: Nanoseconds since 1970, by the record; None where it has none that makes sense.
    time_ns: int | None
    #: allow, deny or unreadable.
    outcome: str
    reasons: tuple[str, ...]
    subject: tuple[str | None, str | None]
    action: str | None
    resource: tuple[str | None, str | None]
    policy: str | None
    library: str | None
    state: str | None
    execution: str | None


@dataclass(frozen=True)
class Piece:
    """Something that somebody signed: about a release, or as an approval."""

    predicate_type: str
    #: The digest of the statement.
    digest: str
    #: Who signed, and when; None where that does not verify.
    signer: SignerIdentity | None
    signed_at: datetime | None
    #: Of provenance, the places of source code with their commits; of tests, how they ended.
    commits: tuple[str, ...] = ()
    result: str | None = None
    #: Why it does not verify, as a reason code.
    problem: str | None = None


class Source(Protocol):
    """Finds evidence. Whatever it gives was verified, or says that it was not."""

    #: What there is more of than it gave, or that it could not read.
    left_out: list[str]

    def executions(self, identifier: str) -> Sequence[Key]:
        """Those of this id."""

    def of(self, key: Key, limit: int) -> Sequence[SignedLink]:
        """The first links of an execution, in their order."""

    def joined(self, digests: Iterable[str], links: Iterable[str]) -> Sequence[Key]:
        """Executions of which links name an artifact of one of these digests, or one of these links as a parent."""

    def links(self, digests: Iterable[str]) -> Sequence[SignedLink]:
        """The statements of these digests."""

    def events(self, key: Key, first: int, last: int | None, limit: int) -> Sequence[SignedLink]:
        """What the sidecar's journal says of itself between two numbers, the oldest first; to its end for None."""

    def breaks(self, key: Key, first: datetime, last: datetime | None, limit: int) -> Sequence[ToldBreak]:
        """Breaks of the instance, or of nobody knows which, that were opened or borne between two times.

        With what followed: that they stopped the sidecar, and their clearing. By their numbers, the opening first.
        """

    def decisions(self, key: Key, named: dict[str, str], own: bool, limit: int) -> Sequence[Recorded]:
        """Signed records of the instance, as `chosen`: those that links name (leaf hashes by the decisions' ids), and
        with `own` others that name the execution."""

    def release(self, digest: str) -> Sequence[Piece]:
        """What was signed about a policy, the provenance first."""

    def approval(self, system: str, warrant: str, digest: str) -> Piece | None:
        """Who approved a warrant, by the statement of this digest."""

    def has_state(self, system: str, digest: str) -> bool:
        """Whether a trust state is archived, and has this digest."""


@dataclass
class Found:
    """All that is known of an execution, and of those that it is joined with."""

    key: Key
    #: By execution, that which was asked for first.
    links: dict[Key, list[SignedLink]] = field(default_factory=dict)
    #: Of the sidecar of the execution, while it ran; and the releases that its decisions rest on.
    events: list[SignedLink] = field(default_factory=list)
    breaks: list[ToldBreak] = field(default_factory=list)
    enforced: list[SignedLink] = field(default_factory=list)
    decisions: list[Recorded] = field(default_factory=list)
    releases: dict[str, list[Piece]] = field(default_factory=dict)
    #: By system, id of the warrant, and digest of the statement, as links name it.
    approvals: dict[tuple[str, str, str], Piece] = field(default_factory=dict)
    #: Trust states that are archived.
    states: set[str] = field(default_factory=set)
    #: What there is more of than was asked for.
    left_out: list[str] = field(default_factory=list)


def gather(source: Source, key: Key, depth: int) -> Found:
    """Everything about an execution, and about others up to `depth` joins away. Empty where nothing is known of it."""
    found = Found(key)
    found.links[key] = _links(source, found, key, MAX_LINKS, "links")
    if not found.links[key]:
        return found
    _join(source, found, depth)
    every = [one for links in found.links.values() for one in links]
    _enforced(source, found, every)
    _events(source, found)
    _breaks(source, found)
    for execution, links in found.links.items():
        _decisions(source, found, execution, links)
    _releases(source, found, every)
    for one in every:
        _approvals(source, found, one)
    _states(source, found, every)
    found.left_out += source.left_out
    return found


def chosen(found: Iterable[Recorded], named: Mapping[str, str], limit: int) -> list[Recorded]:
    """At most so many, by sequence. Those that links name come first: what else claims to be of it anybody can make."""
    leaves = set(named.values())
    first = sorted(found, key=lambda one: (one.leaf not in leaves and one.id not in named, one.sequence))
    return sorted(first[:limit], key=lambda one: one.sequence)


def artifacts(links: Iterable[SignedLink]) -> set[str]:
    """The digests of what links took and made, by the caller's own names."""
    named = (ref for one in links for ref in (*one.says.subject, *one.says.materials))
    return {ref.digest for ref in named if ref.name.startswith(ARTIFACT)}


def digest_of(key: Key, sidecar: str) -> str:
    """The digest of an execution of the sidecar with this SPIFFE ID."""
    return execution_ref(sidecar, key.instance, key.id).digest


def _join(source: Source, found: Found, depth: int) -> None:
    newest = [found.key]
    for _ in range(min(depth, MAX_DEPTH)):
        links = [one for key in newest for one in found.links[key]]
        parents = [ref.digest for one in links for ref in one.says.materials if ref.name == PARENT]
        others = set(source.joined(artifacts(links), [one.digest for one in links]))
        others |= {one.key for one in source.links(parents) if one.key is not None}
        newest = sorted(others - set(found.links))
        room = MAX_JOINED + 1 - len(found.links)
        if len(newest) > room:
            found.left_out.append("executions")
        newest = newest[:room]
        for at, key in enumerate(newest):
            left = MAX_LINKS - sum(map(len, found.links.values()))
            if left <= 0:
                found.left_out.append("executions")
                newest = newest[:at]
                break
            found.links[key] = _links(source, found, key, left, "links of other executions")
        if not newest:
            return


def _links(source: Source, found: Found, key: Key, most: int, what: str) -> list[SignedLink]:
    links = source.of(key, most + 1)
    if len(links) > most:
        found.left_out.append(what)
    return list(links[:most])


def _enforced(source: Source, found: Found, every: list[SignedLink]) -> None:
    named = {ref.digest for one in every for ref in one.says.materials if ref.name == f"link/{ENFORCE}"}
    found.enforced = sorted(source.links(named), key=lambda one: (*one.place, one.says.instance, one.says.number))


def _events(source: Source, found: Found) -> None:
    links = found.links[found.key]
    last = links[-1].says.number if links[-1].says.kind == END else None
    events = source.events(found.key, links[0].says.number, last, MAX_EVENTS + 1)
    if len(events) > MAX_EVENTS:
        found.left_out.append("events")
    found.events = list(events[:MAX_EVENTS])


def _breaks(source: Source, found: Found) -> None:
    links = found.links[found.key]
    last = links[-1].signed_at if links[-1].says.kind == END else None
    breaks = source.breaks(found.key, links[0].says.at, last, MAX_EVENTS + 1)
    if len(breaks) > MAX_EVENTS:
        found.left_out.append("breaks")
    found.breaks = list(breaks[:MAX_EVENTS])


def _decisions(source: Source, found: Found, key: Key, links: list[SignedLink]) -> None:
    """Of others than the execution that was asked for, only those that its links name."""
    named = {name: leaf for one in links if isinstance(one.says, Link) for name, leaf in one.says.decisions.items()}
    own = key == found.key
    room = MAX_DECISIONS if own else max(0, 2 * MAX_DECISIONS - len(found.decisions))
    decisions = source.decisions(key, named, own, room + 1) if named or own else []
    if len(decisions) > room:
        found.left_out.append("decisions" if own else "decisions of other executions")
    found.decisions += chosen(decisions, named, room)


def _releases(source: Source, found: Found, every: list[SignedLink]) -> None:
    policies = {ref.digest for one in (*every, *found.enforced) for ref in one.says.materials if ref.name == "policy"}
    policies |= {one.policy for one in found.decisions if one.policy is not None}
    for digest in sorted(policies):
        found.releases[digest] = list(source.release(digest))


def _approvals(source: Source, found: Found, one: SignedLink) -> None:
    if one.says.kind != START:
        return
    system, _ = one.place
    for ref in one.says.materials:
        kind, _, name = ref.name.partition("/")
        if kind == "approval" and (approval := source.approval(system, name, ref.digest)) is not None:
            found.approvals[system, name, ref.digest] = approval


def _states(source: Source, found: Found, every: list[SignedLink]) -> None:
    named = {(one.place[0], ref.digest) for one in every for ref in one.says.materials if ref.name == "state"}
    named |= {(one.place[0], one.says.new) for one in found.events if isinstance(one.says, TrustChange)}
    named |= {(one.system, one.state) for one in found.decisions if one.state is not None}
    found.states = {digest for system, digest in sorted(named) if source.has_state(system, digest)}

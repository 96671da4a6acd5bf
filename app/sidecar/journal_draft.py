"""Drafts of a journal's statements: all that is known when something happens, kept before anybody is answered.

A decision is named by the leaf hash of its record, which is known only when the record's batch was cut. Until then
the statement waits as a draft; what it will be depends on nothing but the draft, the leaf hashes and its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.core.link import Link, Place, TrustChange
from app.core.link_names import START, STEP, TRUST, Ref, decision_ref

#: A record file and a length: everything that was answered before stands there before it.
Position = tuple[str, int]

_NOBODY = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Draft:
    """What happened, and of what. Numbers and digests of the journal come to it when it becomes final."""

    kind: str
    #: The SPIFFE ID of the sidecar; and when, in seconds since the epoch.
    sidecar: str
    at: int
    #: Without `unresolved`.
    byproducts: Mapping[str, Any] = field(default_factory=dict)
    materials: tuple[Ref, ...] = ()
    products: tuple[Ref, ...] = ()
    command: tuple[str, ...] = ()
    #: What a release is about.
    about: Ref | None = None
    #: Decisions by their ids, and where the records end that may hold them; None: there are none.
    decisions: tuple[str, ...] = ()
    seen: Position | None = None
    #: The digest of the policy under which an execution starts, or which a release enforces.
    policy: str | None = None
    #: The trust states of a change, and the members that differ.
    states: tuple[str | None, str] | None = None
    changed: tuple[str, ...] = ()

    @property
    def execution(self) -> str | None:
        """The execution that it is of."""
        return self.byproducts.get("execution")

    def statement(
        self,
        place: Place,
        leaves: Mapping[str, bytes],
        links: tuple[Ref, ...],
    ) -> bytes:
        """The statement. A decision without a leaf hash is one that this sidecar never recorded.

        `links`: the statements of the journal that it names. Raises `Denied` for what would be none.
        """
        if self.kind == TRUST:
            assert self.states is not None, "a change is of states"
            return TrustChange(place, *self.states, self.changed).statement()
        byproducts = dict(self.byproducts)
        if self.kind in {START, STEP}:
            byproducts["unresolved"] = sorted(set(self.decisions) - leaves.keys())
        decided = [decision_ref(one, leaves[one]) for one in self.decisions if one in leaves]
        link = Link.make(
            place,
            self.kind,
            byproducts,
            materials=[*self.materials, *decided, *links],
            products=self.products,
            command=self.command,
            about=self.about,
        )
        return link.statement()

    def place(self, instance: str, number: int, previous: str | None) -> Place:
        """Where it stands in the journal."""
        return Place(self.sidecar, instance, number, previous, datetime.fromtimestamp(self.at, tz=UTC))

    def check(self, instance: str, links: tuple[str, ...]) -> None:
        """Raise `Denied` with `link.malformed` when this could never become a statement.

        `links`: how the statements of the journal will be called that it names.
        """
        leaves = dict.fromkeys(self.decisions, bytes(32))
        number, largest = 10**17, tuple(Ref(name, _NOBODY) for name in links)
        statement = self.statement(self.place(instance, number, _NOBODY), leaves, largest)
        if self.kind == TRUST:  # others were read when they were made
            Link.read(statement)

    def encode(self) -> bytes:
        """As it is kept."""
        return json.dumps(vars(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Draft:
        """What was kept. Raises `ValueError` or `TypeError` when it is damaged."""
        kept = json.loads(raw)
        refs = {name: tuple(Ref(*one) for one in kept[name]) for name in ("materials", "products")}
        about, seen, states = kept["about"], kept["seen"], kept["states"]
        return cls(
            **{
                **kept,
                **refs,
                "command": tuple(kept["command"]),
                "about": Ref(*about) if about else None,
                "decisions": tuple(kept["decisions"]),
                "seen": (seen[0], seen[1]) if seen else None,
                "states": (states[0], states[1]) if states else None,
                "changed": tuple(kept["changed"]),
            }
        )

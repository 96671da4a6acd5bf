"""Links: the statements of a sidecar's journal about its executions, its releases, its lease and its trust state.

Their form is in docs/journal.md. Each is an in-toto statement as RFC 8785 bytes; whoever reads one demands exactly
those. Together they form one chain for each instance of a sidecar: numbers from 0, each naming the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.core import link_checks, link_form, link_reading, statements
from app.core.instant import written
from app.core.link_form import MAX_STATEMENT
from app.core.link_names import END, ENFORCE, START, STEP, TRUST, Ref, descriptors, execution_ref, sidecar_ref
from app.core.link_reading import malformed, moment, require_canonical, validated

_OF_EXECUTIONS = frozenset({START, STEP, END})


@dataclass(frozen=True)
class Place:
    """Where a statement stands in the journal of one instance of a sidecar."""

    #: The SPIFFE ID of the sidecar, which is also the identity of the certificate that signs.
    sidecar: str
    instance: str
    #: From 0; and `payload_digest` of the statement before it, None for number 0 alone.
    number: int
    previous: str | None
    #: UTC, in whole seconds, by the sidecar's clock.
    at: datetime

    def environment(self) -> dict[str, Any]:
        """The member `environment`."""
        return {**vars(self), "number": str(self.number), "at": written(self.at)}


@dataclass(frozen=True)
class _Statement:
    """What links and trust changes have in common."""

    place: Place

    @property
    def sidecar(self) -> str:
        """The SPIFFE ID of the sidecar."""
        return self.place.sidecar

    @property
    def instance(self) -> str:
        """The instance of the sidecar."""
        return self.place.instance

    @property
    def number(self) -> int:
        """Its number in the journal, from 0."""
        return self.place.number

    @property
    def previous(self) -> str | None:
        """`payload_digest` of the statement before it; None for the first."""
        return self.place.previous

    @property
    def at(self) -> datetime:
        """When, by the sidecar's clock, UTC."""
        return self.place.at


@dataclass(frozen=True)
class Link(_Statement):
    """One link. `make` makes one, checked; `read` reads a statement, whichever of the two it is."""

    #: The link's name, such as `execution/step`.
    kind: str
    #: The execution, release or sidecar first, then the products of a step, by name.
    subject: tuple[Ref, ...]
    command: tuple[str, ...]
    #: By name, then by digest.
    materials: tuple[Ref, ...]
    byproducts: Mapping[str, Any] = field(hash=False)

    @classmethod
    def make(
        cls,
        place: Place,
        kind: str,
        byproducts: Mapping[str, Any],
        *,
        materials: Iterable[Ref] = (),
        products: Iterable[Ref] = (),
        command: Sequence[str] = (),
        about: Ref | None = None,
    ) -> Link:
        """A link of the journal. `about`: the composed bundle, for `release/enforce`. Raises `Denied`."""
        if kind in _OF_EXECUTIONS:
            about = execution_ref(place.sidecar, place.instance, str(byproducts.get("execution")))
        elif about is None:
            about = sidecar_ref(place.sidecar, place.instance)
        subject = (about, *sorted(set(products)))
        link = cls(place, kind, subject, tuple(command), tuple(sorted(set(materials))), dict(byproducts))
        read = cls.read(link.statement())
        assert isinstance(read, Link)
        return read

    @staticmethod
    def read(raw: bytes) -> Link | TrustChange:
        """Read a statement, which must be its RFC 8785 bytes. Raises `Denied` with `link.malformed`."""
        return _read(raw)

    @property
    def execution(self) -> str | None:
        """The id of the execution that the link is of."""
        return self.byproducts["execution"] if self.kind in _OF_EXECUTIONS else None

    @property
    def products(self) -> tuple[Ref, ...]:
        """What a step made."""
        return self.subject[1:]

    @property
    def before(self) -> str | None:
        """The digest of the link before this one of the same execution; None at its start, and for other kinds."""
        known = {f"link/{START}", f"link/{STEP}"}
        return next((one.digest for one in self.materials if one.name in known), None)

    @property
    def decisions(self) -> dict[str, str]:
        """The leaf hashes (`sha256:…`) of the decisions that the link names, by their ids."""
        found = (one for one in self.materials if one.name.startswith("decision/"))
        return {one.name.removeprefix("decision/"): one.digest for one in found}

    def statement(self) -> bytes:
        """The statement, as the bytes that are signed."""
        predicate = {
            "name": self.kind,
            "command": list(self.command),
            "materials": descriptors(self.materials),
            "byproducts": dict(self.byproducts),
            "environment": self.place.environment(),
        }
        return statements.statement(descriptors(self.subject), statements.LINK, predicate)


@dataclass(frozen=True)
class TrustChange(_Statement):
    """OPA was given another trust state."""

    #: The digest of the state before, as far as the journal knows one, and of the new one.
    old: str | None
    new: str
    #: The members in which they differ, sorted; all of them where there was none before.
    changed: tuple[str, ...]

    kind = TRUST
    execution = None

    @property
    def subject(self) -> tuple[Ref, ...]:
        """The new state."""
        return (Ref("trust-state", self.new),)

    @property
    def materials(self) -> tuple[Ref, ...]:
        """The state before."""
        return (Ref("state", self.old),) if self.old else ()

    @property
    def byproducts(self) -> dict[str, Any]:
        """What else it says, as a link would."""
        return {"changed": list(self.changed)}

    def statement(self) -> bytes:
        """The statement, as the bytes that are signed."""
        predicate = {
            "environment": self.place.environment(),
            "from": self.old,
            "to": self.new,
            "changed": list(self.changed),
        }
        return statements.statement(descriptors(self.subject), link_form.TRUST_CHANGE, predicate)


def _read(raw: bytes) -> Link | TrustChange:
    document = link_reading.document(raw, MAX_STATEMENT)
    if set(document) != {"_type", "subject", "predicateType", "predicate"}:
        raise malformed("not the members of an in-toto statement")
    kinds: dict[Any, Any] = {statements.LINK: _link, link_form.TRUST_CHANGE: _trust_change}
    if document["_type"] != statements.STATEMENT or document["predicateType"] not in list(kinds):
        raise malformed("neither a link nor a trust change", "predicateType")
    found: Link | TrustChange = kinds[document["predicateType"]](document)
    require_canonical(found.statement(), raw)
    return found


def _link(document: Mapping[str, Any]) -> Link:
    predicate = validated(link_form.Link, document["predicate"])
    said = validated(link_form.BYPRODUCTS[predicate.name], predicate.byproducts, "byproducts")
    link = Link(
        _place(predicate.environment),
        predicate.name,
        _refs(document["subject"]),
        tuple(predicate.command),
        tuple(one.ref() for one in predicate.materials),
        predicate.byproducts,
    )
    link_checks.check(link.kind, link.subject, link.materials, link.command, _about(link), said)
    return link


def _trust_change(document: Mapping[str, Any]) -> TrustChange:
    predicate = validated(link_form.TrustChange, document["predicate"])
    change = TrustChange(_place(predicate.environment), predicate.from_, predicate.to, tuple(predicate.changed))
    if document["subject"] != descriptors(change.subject):
        raise malformed("the subject is not the new state", "subject")
    if list(change.changed) != sorted(set(change.changed)) or change.old == change.new:
        raise malformed("not sorted, or nothing changed", "changed")
    return change


def _about(link: Link) -> Ref | None:
    """What the link must be about; None where only its name is known before."""
    if link.execution is not None:
        return execution_ref(link.sidecar, link.instance, link.execution)
    return None if link.kind == ENFORCE else sidecar_ref(link.sidecar, link.instance)


def _place(environment: link_form.Environment) -> Place:
    number = int(environment.number)
    if (environment.previous is None) != (number == 0):
        raise malformed("the first statement of a journal, and no other, has none before it", "environment.previous")
    at = moment(environment.at, "environment.at")
    return Place(environment.sidecar, environment.instance, number, environment.previous, at)


def _refs(subject: Any) -> tuple[Ref, ...]:
    if not isinstance(subject, list) or not 1 <= len(subject) <= 1 + link_form.MAX_ARTIFACTS:
        raise malformed("not one subject with its products", "subject")
    return tuple(validated(link_form.Descriptor, one, f"subject.{at}").ref() for at, one in enumerate(subject))

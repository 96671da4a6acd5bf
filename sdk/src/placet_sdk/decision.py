"""A decision, typed. Only `answer` and the clients make an allow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from placet_sdk import codes


class Reason(NamedTuple):
    """Why: a stable code (docs/reasons.md; a policy's own begin with `policy:`) and a line for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody, named by an issuer."""

    issuer: str
    id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asked, as verified."""

    issuer: str
    id: str
    domain: str
    #: Who acts for the subject, the one that acts now first (RFC 8693 `act`).
    actors: tuple[Party, ...] = ()
    #: The subject's token was not seen: `via` vouched for it.
    asserted: bool = False
    #: Who forwarded the certificate or named the subject.
    via: Party | None = None


@dataclass(frozen=True, slots=True)
class WarrantUsed:
    """The chain of warrants that the request rests on."""

    #: `jti` of each, the root first.
    ids: tuple[str, ...]
    issuer: str


@dataclass(frozen=True, slots=True)
class Mode:
    """An allow that a signed mode made of a denial. `reasons` are those of the denial."""

    kind: Literal["shadow", "break-glass"]
    id: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request. True in a condition exactly when it allows."""

    allow: bool
    #: At least one on a denial. An allow may carry reasons of the policy.
    reasons: tuple[Reason, ...] = ()
    #: What the policy demands of the caller, also on a denial.
    obligations: tuple[Mapping[str, Any], ...] = ()
    #: Digests of the policy and of the governance library that decided.
    bundles: Mapping[str, str] = field(default_factory=dict)
    subject: Subject | None = None
    warrant: WarrantUsed | None = None
    #: The id of the execution that the request is part of.
    execution: str | None = None
    mode: Mode | None = None
    #: The digest of the trust state that was used.
    state: str | None = None
    #: Until when an allow holds if nothing else changes (with time zone). None on a denial.
    expires_at: datetime | None = None
    #: The id of OPA's record; None when OPA did not answer.
    decision_id: str | None = None

    def __bool__(self) -> bool:
        return self.allow

    @property
    def codes(self) -> list[str]:
        """The codes of the reasons."""
        return [reason.code for reason in self.reasons]

    @classmethod
    def deny(cls, code: str, message: str) -> Decision:
        """A denial that the client itself states."""
        return cls(False, (Reason(str(code), message),))

    def fulfilled_by(self, types: Collection[str]) -> Decision:
        """This decision for a caller that fulfils obligations of these types; else a denial that keeps them."""
        known = {types} if isinstance(types, str) else types  # not the letters of a type
        unfulfilled = [one for one in self.obligations if not _is_fulfilled(one, known)]
        if not self.allow or not unfulfilled:
            return self
        names = ", ".join(sorted({str(one.get("type", "(without type)"))[:100] for one in unfulfilled}))
        reason = Reason(codes.OBLIGATION_UNFULFILLED, f"the caller does not say that it fulfils: {names}")
        return replace(self, allow=False, reasons=(*self.reasons, reason), expires_at=None)


def _is_fulfilled(obligation: Mapping[str, Any], types: Collection[str]) -> bool:
    kind = obligation.get("type")
    return isinstance(kind, str) and kind in types

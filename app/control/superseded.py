"""Which attestations speak for a release: what somebody says again stands in place of what they said before.

Otherwise a pipeline could not run again over the same bundle: its links would disagree with those of the run before, or
add up to more than a verifier takes, and a test result that was mended since would go on to deny. Everything stays in
the database; what is published is the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol, TypeVar

from app.core import statements
from app.core.verification_policy import SignerIdentity


class Attestation(Protocol):
    """A statement that was verified, now or when it was stored."""

    @property
    def predicate_type(self) -> str:
        """What kind of statement it is."""

    @property
    def statement(self) -> dict[str, Any]:
        """The statement."""

    @property
    def signer(self) -> SignerIdentity:
        """Who signed it."""

    @property
    def signed_at(self) -> datetime:
        """When."""

    @property
    def raw(self) -> bytes:
        """The Sigstore bundle."""


_Any = TypeVar("_Any")
_Kind = TypeVar("_Kind", bound=Attestation)


def newest(attestations: Iterable[_Kind]) -> list[_Kind]:
    """The attestations by time, each once, without links and test results that their signer signed anew."""

    def subject(one: _Kind) -> Hashable:
        return about(one.predicate_type, one.signer.identity, one.signer.issuer, one.statement) or one.raw

    return latest(sorted(attestations, key=lambda one: (one.signed_at, sha256(one.raw).hexdigest())), subject)


def latest(ordered: Iterable[_Any], subject: Callable[[_Any], Hashable]) -> list[_Any]:
    """The last of each subject, in their order."""
    last: dict[Hashable, _Any] = {}
    for one in ordered:
        what = subject(one)
        last.pop(what, None)  # so that it stands where it is in time
        last[what] = one
    return list(last.values())


def about(predicate_type: str, identity: str, issuer: str, statement: Any) -> Hashable:
    """What somebody's link or test result is about: equal to that of the one which it supersedes. Else None.

    A link is about its step, the names of its products, and where it was published.
    """
    if predicate_type == statements.TEST_RESULT:
        return (predicate_type, identity, issuer)
    if predicate_type != statements.LINK:
        return None
    try:
        predicate = statement["predicate"]
        noted = predicate.get("byproducts") or {}
        products = sorted(str(product["name"]) for product in statement["subject"])
        return (
            predicate_type,
            identity,
            issuer,
            str(predicate["name"]),
            str(noted.get("system")),
            str(noted.get("channel")),
            *products,
        )
    except (AttributeError, KeyError, TypeError):
        return None  # no form that is known: it is like no other

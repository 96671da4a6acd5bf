"""Whose warrants count: the issuers, their domains and keys, as a file or a control plane says."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError

from app.core import strict_json
from app.core.complaint import complaint
from app.core.errors import UsageError
from app.core.jwk import KeyRefused, VettedKey, vet
from app.core.targets import Document, Line, PublishedState

#: Bytes of a trust document.
MAX_TRUST = 512 * 1024


@dataclass(frozen=True)
class Signer:
    """An issuer of warrants: its trust domain, and its vetted keys by key id."""

    domain: str
    keys: Mapping[str, VettedKey]


@dataclass(frozen=True)
class WarrantTrust:
    """What a chain of warrants is judged by."""

    #: The home domain.
    domain: str
    issuers: Mapping[str, Signer]
    #: Foreign domains that are taken.
    links: Set[str] = frozenset()
    #: The domain of each issuer of identities. None: holders are not looked at, since a file of keys knows none.
    holders: Mapping[str, str] | None = None
    #: The ids of revoked warrants.
    revoked: Set[str] = field(default_factory=frozenset)

    def takes(self, domain: str) -> bool:
        """Whether something of `domain` is taken at all."""
        return domain == self.domain or domain in self.links

    @classmethod
    def load(cls, raw: bytes, where: str) -> WarrantTrust:
        """Read a trust document. Raises `UsageError`, whose line begins with `where`.

        It is a JWK set that also says whose keys they are (`{"issuer", "keys": […]}`), or what a control plane
        publishes (`{"domain", "issuers": [{"issuer", "domain", "keys": […]}], "links", "holders", "revoked"}`).
        """
        try:
            document = strict_json.load_object(raw)
            if "issuers" not in document:
                document = {"domain": "", "issuers": [{**document, "domain": ""}]}
            published = _Published.model_validate(document)
            issuers = {one.issuer: Signer(one.domain, _vetted(one.keys)) for one in published.issuers}
        except ValidationError as error:
            raise UsageError(f"{where}: {complaint(error)}") from error
        except (strict_json.StrictJSONError, KeyRefused) as error:
            raise UsageError(f"{where}: {error}") from error
        return cls(
            published.domain, issuers, frozenset(published.links), published.holders, frozenset(published.revoked)
        )

    @classmethod
    def of_state(cls, state: PublishedState, revoked: Set[str] = frozenset()) -> WarrantTrust:
        """What the published state says. Raises `KeyRefused` for a key that may not be trusted."""
        return cls(
            state.domain,
            {
                one.issuer: Signer(one.domain, {kid: vet(kid, jwk) for kid, jwk in one.keys.items()})
                for one in state.warrant_issuers
            },
            frozenset(state.links),
            {one.issuer: one.domain or state.domain for one in state.issuers},
            revoked,
        )


class _Issuer(Document):
    issuer: Line
    domain: str
    keys: list[dict[str, Any]] = Field(min_length=1, max_length=64)


class _Published(Document):
    domain: str
    issuers: list[_Issuer] = Field(min_length=1, max_length=256)
    links: list[Line] = Field(default_factory=list)
    holders: dict[str, str] | None = None
    revoked: list[Line] = Field(default_factory=list)


def _vetted(keys: list[dict[str, Any]]) -> dict[str, VettedKey]:
    vetted = [vet(key.get("kid", ""), key) for key in keys]
    if len({key.kid for key in vetted}) != len(vetted):
        raise KeyRefused("two keys have the same kid")
    return {key.kid: key for key in vetted}

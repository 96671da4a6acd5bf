"""Chains of warrants: each hop is signed by the key that the one before it named, and is equal to it or narrower.

The rules and their reason codes are those of `rego/placet/`, where decisions are made; this is for people who look at
a chain, and for whoever delegates one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jwt

from app.core.errors import Denied
from app.core.holder_keys import algorithm_of
from app.core.reason_codes import Reason
from app.core.warrant_scope import beyond, covers, covers_resource, loosened, violated
from app.core.warrant_trust import WarrantTrust
from app.core.warrants import MAX_CHAIN, Principal, UnverifiedWarrant, WarrantClaims, malformed, read, refusal

#: Seconds that a warrant's `iat` may lie ahead: clocks differ.
SKEW = 2.0

_ORDER = {reason: position for position, reason in enumerate(Reason)}


class ChainDenied(Denied):
    """A chain that does not stand: the first reason in the order of the table, and all of them in `denials`."""

    def __init__(self, denials: Sequence[Denied]) -> None:
        self.denials = sorted(denials, key=lambda denied: _ORDER[denied.reason])
        first = self.denials[0]
        super().__init__(first.reason, first.detail, step=first.step, field=first.field)


@dataclass(frozen=True)
class VerifiedChain:
    """A chain whose every signature verified and whose every hop is no wider than the one before it."""

    warrants: tuple[WarrantClaims, ...]

    @property
    def last(self) -> WarrantClaims:
        """The narrowest warrant: what the whole chain allows."""
        return self.warrants[-1]

    @property
    def ids(self) -> list[str]:
        """The `jti` of each, root first."""
        return [claims.jti for claims in self.warrants]

    @property
    def issuer(self) -> str:
        """Who issued the root."""
        return self.warrants[0].iss

    @property
    def holder(self) -> Principal:
        """Who may use the chain."""
        return self.last.holder

    @property
    def expires_at(self) -> int:
        """Seconds since the epoch: the first `exp` of all."""
        return min(claims.exp for claims in self.warrants)

    @property
    def counted(self) -> dict[str, int]:
        """By `jti`, how often each counted warrant may start an execution."""
        return {claims.jti: claims.uses for claims in self.warrants if claims.uses is not None}

    def denials(
        self, action: str | None, resource: tuple[str, str] | None, context: Mapping[str, Any] | None
    ) -> list[Denied]:
        """Why the chain does not allow a request; what is None is not asked about. `resource` is (type, id)."""
        last, found = self.last, []
        if action is not None and not covers(last.actions, action):
            found.append(_denied(Reason.WARRANT_ACTION, f"no action pattern covers {action!r}", "actions"))
        if resource is not None and not covers_resource(last.resources, *resource):
            name = "/".join(resource)
            found.append(_denied(Reason.WARRANT_RESOURCE, f"no resource pattern covers {name!r}", "resources"))
        if context is not None and (member := violated(last.constraints or {}, context)):
            bound = (last.constraints or {})[member]
            detail = f"context.{member} is missing, or not as demanded: {bound}"
            found.append(_denied(Reason.WARRANT_CONSTRAINT, detail, f"constraints.{member}"))
        return found


def verify_chain(tokens: Sequence[str], trust: WarrantTrust, audience: str, at: float) -> VerifiedChain:
    """Verify a chain, root first, for the system `audience` at the time `at` (seconds since the epoch).

    Quarantine, uses and proofs of possession are looked at when a decision is made, not here. Raises `ChainDenied`,
    or `Denied` when a token cannot be read or its signature does not verify.
    """
    found = verify_links(tokens, trust)
    warrants = tuple(warrant.claims for warrant in found)
    denials = [*_untrusted(warrants, trust), *_unfit(warrants, audience, at)]
    for parent, child in pairwise(warrants):
        denials += [_denied(reason, _of(child, detail), field) for reason, field, detail in widenings(parent, child)]
    if len({claims.jti for claims in warrants}) < len(warrants):
        denials.append(malformed("two warrants of the chain have the same jti", field="jti"))
    if denials:
        raise ChainDenied(denials)
    return VerifiedChain(warrants)


def verify_links(tokens: Sequence[str], trust: WarrantTrust | None) -> list[UnverifiedWarrant]:
    """Read a chain and verify each signature, the root's too if `trust` is given. Raises `Denied`."""
    warrants = read_chain(tokens)
    if trust is not None:
        _verify_root(warrants[0], trust)
    for parent, child in pairwise(warrants):
        if parent.claims.cnf is None:
            detail = f"it follows {parent.claims.jti}, which names no key (cnf) to delegate with"
            raise _denied(Reason.WARRANT_INVALID, _of(child.claims, detail), "cnf")
        key = parent.claims.cnf.jwk
        _verify_signature(child, key, algorithm_of(key), f"the key that {parent.claims.jti} names")
    return warrants


def read_chain(tokens: Sequence[str]) -> list[UnverifiedWarrant]:
    """Read a chain WITHOUT verifying anything. Raises `Denied` with `warrant.malformed`."""
    if not 1 <= len(tokens) <= MAX_CHAIN:
        raise malformed(f"a chain has 1 to {MAX_CHAIN} warrants, not {len(tokens)}")
    return [read(token) for token in tokens]


def widenings(parent: WarrantClaims, child: WarrantClaims) -> Iterator[tuple[Reason, str, str]]:
    """In what `child` is no delegation of `parent`: reason, member, and what is wrong, one a member."""
    if child.iss != parent.holder.id:
        detail = f"it was made by {child.iss}, but the warrant before it is held by {parent.holder.id}"
        yield Reason.WARRANT_SUBJECT, "iss", detail
    if parent.further < 1:
        yield Reason.WARRANT_DEPTH, "depth", f"{parent.jti} may not be delegated (depth 0)"
    elif child.further > parent.further - 1:
        detail = f"depth {child.further} is more than {parent.further - 1}, which {parent.jti} leaves"
        yield Reason.WARRANT_DEPTH, "depth", detail
    for field, detail in _wider(parent, child):
        yield Reason.WARRANT_WIDENED, field, f"{field} is wider than in {parent.jti}: {detail}"


def _wider(parent: WarrantClaims, child: WarrantClaims) -> Iterator[tuple[str, str]]:
    for field, patterns, allowed in (
        ("actions", child.actions, parent.actions),
        ("resources", child.resources, parent.resources),
    ):
        if pattern := beyond(patterns, allowed):
            yield field, f"{pattern!r} is not covered"
    if member := loosened(child.constraints or {}, parent.constraints or {}):
        bound = (parent.constraints or {})[member]
        yield "constraints", f"{member} must stay {bound}, or tighter"
    if foreign := sorted(set(child.audiences) - set(parent.audiences)):
        yield "aud", f"{foreign[0]!r} is another system"
    if child.exp > parent.exp:
        yield "exp", f"it ends {child.exp - parent.exp} s later"
    if child.approval is not None:
        yield "approval", "what is delegated was approved by nobody: only a root says so"
    if parent.nbf is not None and (child.nbf is None or child.nbf < parent.nbf):
        yield "nbf", "it begins earlier"


def _untrusted(warrants: Sequence[WarrantClaims], trust: WarrantTrust) -> Iterator[Denied]:
    """Holders of unknown issuers and domains, and revoked warrants."""
    for claims in warrants:
        for principal in (claims.subject, claims.actor):
            if principal is None or trust.holders is None:
                continue
            domain = trust.holders.get(principal.issuer)
            if domain is None or not trust.takes(domain):
                what = "an unknown issuer" if domain is None else f"the domain {domain}, which is not linked"
                yield _denied(Reason.WARRANT_DOMAIN, _of(claims, f"{principal} is of {what}"), "sub_id")
        if claims.jti in trust.revoked:
            yield _denied(Reason.WARRANT_REVOKED, _of(claims, "it was revoked"), "jti")


def _unfit(warrants: Sequence[WarrantClaims], audience: str, at: float) -> Iterator[Denied]:
    """Warrants for another system or another time."""
    for claims in warrants:
        if audience not in claims.audiences:
            detail = f"it is for {', '.join(claims.audiences)}, not for {audience}"
            yield _denied(Reason.WARRANT_AUDIENCE, _of(claims, detail), "aud")
        if at >= claims.exp:
            yield _denied(Reason.WARRANT_EXPIRED, _of(claims, f"it expired {at - claims.exp:.0f} s ago"), "exp")
        if claims.nbf is not None and at < claims.nbf:
            yield _denied(Reason.WARRANT_NOT_YET_VALID, _of(claims, f"it begins in {claims.nbf - at:.0f} s"), "nbf")
        if claims.iat > at + SKEW:
            detail = f"it was issued {claims.iat - at:.0f} s in the future"
            yield _denied(Reason.WARRANT_NOT_YET_VALID, _of(claims, detail), "iat")


def _verify_root(root: UnverifiedWarrant, trust: WarrantTrust) -> None:
    issuer = trust.issuers.get(root.claims.iss)
    if issuer is None or not trust.takes(issuer.domain):
        what = "is no trusted issuer of warrants" if issuer is None else f"is of {issuer.domain}, which is not linked"
        raise _denied(Reason.WARRANT_ISSUER_UNKNOWN, _of(root.claims, f"{root.claims.iss} {what}"), "iss")
    key = issuer.keys.get(root.kid or "")
    if key is None:
        detail = f"{root.claims.iss} has no key {root.kid!r}" if root.kid else "its header names no key (kid)"
        raise _denied(Reason.WARRANT_KEY_UNKNOWN, _of(root.claims, detail), "kid")
    _verify_signature(root, key.jwk, key.alg, f"the key {root.kid} of {root.claims.iss}")


def _verify_signature(warrant: UnverifiedWarrant, jwk: Mapping[str, str], alg: str, whose: str) -> None:
    """Raises `Denied` unless the key, with its one algorithm, made the signature."""
    if warrant.alg != alg:
        detail = f"its algorithm is {warrant.alg}, but {whose} signs with {alg}"
        raise _denied(Reason.WARRANT_ALGORITHM, _of(warrant.claims, detail), "alg")
    try:
        key = jwt.PyJWK({**jwk, "alg": alg}).key
        jwt.api_jws.PyJWS(algorithms=[alg]).decode_complete(warrant.token, key, algorithms=[alg])
    except (jwt.PyJWTError, ValueError) as error:
        detail = f"its signature does not verify with {whose}"
        raise _denied(Reason.WARRANT_INVALID, _of(warrant.claims, detail), "signature") from error


def _of(claims: WarrantClaims, detail: str) -> str:
    return f"warrant {claims.jti}: {detail}"


def _denied(reason: Reason, detail: str, field: str) -> Denied:
    return refusal(reason, detail, step="warrant", field=field)

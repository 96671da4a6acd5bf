"""Linked trust domains: whose subjects are taken, and by which keys their control planes sign for us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, select

from app.control.issuer_keys import vet
from app.control.problems import Invalid, NotFound
from app.control.store import DomainLink
from app.control.tokens import Access
from app.core.governance import control_plane_id
from app.core.targets import TrustedSigner

#: As many as a published signer may have (`app.core.targets.TrustedSigner`).
MAX_KEYS = 16
#: With which warrants and attestation results are signed; sidecars refuse a state that names another.
_ALGORITHMS = ("EdDSA", "ES256")


def link(
    session: Session,
    by: Access,
    home: str,
    domain: str,
    warrant_jwks: Mapping[str, Any] | None = None,
    attestation_jwks: Mapping[str, Any] | None = None,
    signer: str | None = None,
) -> tuple[DomainLink, bool]:
    """Link a domain, replacing what was known of it, and whether it is new. Raises `Invalid`."""
    if domain == home:
        raise Invalid(f"{domain} is this control plane's own domain")
    name = signer or control_plane_id(domain)
    if name == control_plane_id(home):
        raise Invalid(f"{name} is this control plane's own name")
    if other := session.exec(select(DomainLink).where(DomainLink.signer == name, DomainLink.domain != domain)).first():
        raise Invalid(f"{name} is the control plane of {other.domain} already")
    found = session.get(DomainLink, domain)
    row = found or DomainLink(domain=domain, signer=name, warrant_keys={}, attestation_keys={}, added_by=by.id)
    row.signer, row.added_by = name, by.id
    row.warrant_keys = _keys(warrant_jwks)
    row.attestation_keys = _keys(attestation_jwks)
    session.add(row)
    session.flush()
    return row, found is None


def unlink(session: Session, domain: str) -> None:
    """Take nothing of a domain any more. Raises `NotFound`."""
    row = session.get(DomainLink, domain)
    if row is None:
        raise NotFound(f"the domain {domain} is not linked")
    session.delete(row)
    session.flush()


def listed(session: Session) -> list[DomainLink]:
    """Every linked domain, by name."""
    return list(session.exec(select(DomainLink).order_by(DomainLink.domain)))


def warrant_issuers(links: list[DomainLink]) -> list[TrustedSigner]:
    """Whose foreign warrants sidecars take."""
    return [
        TrustedSigner(issuer=one.signer, domain=one.domain, keys=one.warrant_keys) for one in links if one.warrant_keys
    ]


def attesters(links: list[DomainLink]) -> list[TrustedSigner]:
    """Whose foreign attestation results sidecars take."""
    return [
        TrustedSigner(issuer=one.signer, domain=one.domain, keys=one.attestation_keys)
        for one in links
        if one.attestation_keys
    ]


def _keys(jwks: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    keys = vet(jwks) if jwks is not None else {}
    if len(keys) > MAX_KEYS:
        raise Invalid(f"a domain's control plane has at most {MAX_KEYS} keys for one purpose")
    for key in keys.values():
        if key["alg"] not in _ALGORITHMS:
            raise Invalid(
                f"the key {key['kid']} is for {key['alg']}; control planes sign with {' or '.join(_ALGORITHMS)}"
            )
    return keys

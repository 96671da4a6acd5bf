"""What attestation results rest on: whether evidence that was taken would still be taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from app.control import issuer_keys, issuers, standing
from app.control.governance_document import Evidence
from app.control.problems import Problem
from app.control.store import AttestationResult
from app.core.bundle import digest_of
from app.core.strict_json import canonical
from app.core.warrants import Principal

Basis = Mapping[str, Any]


def of_key(kid: str, key: Mapping[str, Any]) -> dict[str, str]:
    """How a basis names the key that signed: by its id, which another one may get, and its digest."""
    return {"kid": kid, "key": digest_of(canonical(dict(key)))}


def holds(session: Session, home: str, row: AttestationResult, rules: Evidence) -> bool:
    """Whether all that a result rests on would still be taken, by these rules and by what is trusted now."""
    return all(_is_taken(session, home, one, rules, row) for one in row.basis)


def _is_taken(session: Session, home: str, basis: Basis, rules: Evidence, row: AttestationResult) -> bool:
    if basis["type"] == "image":
        return _image_is_taken(basis, rules)
    if basis["type"] == "token":
        return _token_is_taken(session, home, basis, rules)
    return _is_attested(basis, rules, row)


def _image_is_taken(basis: Basis, rules: Evidence) -> bool:
    image = rules.image
    if image is None or (image.digests and basis["digest"] not in image.digests):
        return False
    signers = [one.model_dump() for one in image.identities]
    return all(one in signers for one in basis["signers"]) and set(image.required_predicates) <= set(
        basis["predicates"]
    )


def _token_is_taken(session: Session, home: str, basis: Basis, rules: Evidence) -> bool:
    """Its issuer must still have that key and give that name, in a linked domain, and nobody may be in quarantine."""
    accepted = any(
        (one.issuer, one.audience) == (basis["issuer"], basis["audience"])
        and {kind: dict(getattr(one, kind)) for kind in ("node", "region") if getattr(one, kind)} == basis["claims"]
        for one in rules.tokens
    )
    issuer = issuers.find(session, basis["issuer"])
    if not accepted or issuer is None:
        return False
    try:
        standing.require(session, home, [Principal(issuer=basis["issuer"], id=basis["subject"])])
    except Problem:
        return False
    return _is_signed_by(basis, issuers.keys_in_force(session, issuer))


def _is_attested(basis: Basis, rules: Evidence, row: AttestationResult) -> bool:
    """By an EAT or a VSA: its attester must still have that key, be asked the same, and be given as much time."""
    attester = next((one for one in rules.attesters if one.issuer == basis["issuer"]), None)
    if attester is None:
        return False
    asked = (
        attester.verifier == basis["verifier"]
        if basis["type"] == "vsa"
        else {"posture": dict(attester.posture)} == basis["claims"]
    )
    return (
        asked
        and _is_signed_by(basis, issuer_keys.vet(attester.jwks))
        and attester.sidecar == basis["sidecar"]
        and row.expires_at.timestamp() <= basis["issued_at"] + attester.max_age_seconds
    )


def _is_signed_by(basis: Basis, keys: Mapping[str, Mapping[str, Any]]) -> bool:
    """Results of earlier versions do not say by which key: they count no longer."""
    kid = basis.get("kid", "")
    key = keys.get(kid)
    return key is not None and of_key(kid, key)["key"] == basis.get("key")

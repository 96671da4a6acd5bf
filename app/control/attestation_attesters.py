"""What attesters of a system's governance signed about a sidecar: EATs (RFC 9711), and VSAs, each as a JWT."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import jwt
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.control import attestation_basis, issuer_keys
from app.control.attestation_evidence import MAX_VALUE, Appraised, Claims, looked_up, mapped, refused, unverified
from app.control.governance_document import STATUS, AttesterEvidence
from app.control.token_parts import HEADER
from app.core.complaint import complaint, printable

#: `typ` of a VSA as JWT. It says what the claims are, so that none passes for an EAT (RFC 8725, section 3.11).
VSA_TYPE = "vsa+jwt"
#: Seconds that an `iat` may lie ahead: clocks differ.
SKEW = 2

_Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_VALUE, pattern=r"^[ -~]+$")]

#: RFC 3339, as OPA reads it; Python reads more.
_Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")]


class _Part(BaseModel):
    """A part of a statement. Members that are not known are passed over, as in-toto's parsing rules demand."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Digests(_Part):
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Subject(_Part):
    digest: _Digests


class _Verifier(_Part):
    id: _Text


class _Policy(_Part):
    uri: _Text


class _Predicate(_Part):
    verifier: _Verifier
    time_verified: Annotated[_Moment, Field(alias="timeVerified")]
    resource: Annotated[_Text, Field(alias="resourceUri")]
    policy: _Policy
    result: Annotated[Literal["PASSED", "FAILED"], Field(alias="verificationResult")]
    levels: Annotated[list[_Text], Field(alias="verifiedLevels", max_length=16)]


class _Summary(_Part):
    """https://slsa.dev/spec/v1.1/verification_summary, about one image: of two it could not be said which one runs."""

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    predicate_type: Annotated[Literal["https://slsa.dev/verification_summary/v1"], Field(alias="predicateType")]
    subject: Annotated[list[_Subject], Field(min_length=1, max_length=1)]
    predicate: _Predicate


def eat(sidecar: str, rules: list[AttesterEvidence], text: str, step: str) -> Appraised:
    """An EAT (RFC 9711) as JWT, by an attester whose keys stand in the system's governance. Raises `Denied`."""
    rule = _rule(rules, text, step)
    if not rule.posture:
        raise refused("the system takes no EATs of this attester: it names no posture", step)
    if unverified(text, step, part=0).get("typ") == VSA_TYPE:
        raise refused("it is a verification summary, no EAT: send it as vsa", step)
    claims, key = _verified(rule, text, "EAT", step)
    _require_for(sidecar, rule, claims, "EAT", step)
    issued = int(claims["iat"])
    basis = {"type": "eat", **_resting_on(rule, key, issued), "claims": {"posture": dict(rule.posture)}}
    return Appraised({"posture": mapped(claims, rule.posture, step)}, _until(rule, claims, issued), basis)


def summary(sidecar: str, rules: list[AttesterEvidence], text: str, step: str) -> Appraised:
    """A verification summary (VSA) as JWT, by such an attester, for the verifier that it signs for. Raises `Denied`."""
    rule = _rule(rules, text, step)
    if rule.verifier is None:
        raise refused("the system takes no VSAs of this attester: it names no verifier", step)
    if unverified(text, step, part=0).get("typ") != VSA_TYPE:
        raise refused(f"the VSA's header must have the typ {VSA_TYPE}", step)
    claims, key = _verified(rule, text, "VSA", step)
    _require_for(sidecar, rule, claims, "VSA", step)
    found = _read(claims, step)
    said = found.predicate
    if said.verifier.id != rule.verifier:
        raise refused("the VSA names another verifier than the one that this attester signs for", step)
    if said.result != "PASSED" or "FAILED" in said.levels:
        raise refused("the verification summary does not say PASSED", step)
    # One of long ago that is signed anew is as old as it was.
    checked = _moment(said.time_verified, step)
    _require_age(rule, checked, "VSA", step)
    issued = min(int(claims["iat"]), checked)
    image: Claims = {
        STATUS: "affirming",
        "digest": f"sha256:{found.subject[0].digest.sha256}",
        "verifier": said.verifier.id,
        "resource": said.resource,
        "policy": said.policy.uri,
        "levels": said.levels,
    }
    basis = {"type": "vsa", **_resting_on(rule, key, issued), "verifier": rule.verifier}
    return Appraised({"image": image}, _until(rule, claims, issued), basis)


def _rule(rules: list[AttesterEvidence], text: str, step: str) -> AttesterEvidence:
    named = unverified(text, step).get("iss")
    rule = next((one for one in rules if one.issuer == named), None)
    if rule is None:
        raise refused("the system knows no such attester: see evidence.attesters of its governance", step)
    return rule


def _verified(rule: AttesterEvidence, text: str, what: str, step: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The claims, fresh by `iat`, and how a basis names the key that signed them."""
    keys = issuer_keys.vet(rule.jwks)
    header = unverified(text, step, part=0)
    kid = header.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None or not set(header) <= HEADER or header.get("alg") != key["alg"]:
        raise refused(
            f"the {what}'s header must hold alg and kid of a key of the attester, and beside them typ and x5t alone",
            step,
        )
    try:
        claims = jwt.decode(
            text,
            jwt.PyJWK(key),
            algorithms=[key["alg"]],
            options={"require": ["iat"], "verify_aud": False, "verify_sub": False, "verify_iat": False},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise refused(f"the {what} does not verify: {printable(str(error))[:200]}", step) from error
    for name in ("iat", "exp", "nbf"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
            raise refused(f"the {what}'s {name} is no time", step)
    _require_age(rule, claims["iat"], what, step)
    return claims, attestation_basis.of_key(str(kid), key)


def _require_age(rule: AttesterEvidence, issued: float, what: str, step: str) -> None:
    at = time.time()
    if issued > at + SKEW:
        raise refused(f"the {what} was issued in the future", step)
    if issued < at - rule.max_age_seconds:
        raise refused(f"the {what} is older than {rule.max_age_seconds} seconds", step)


def _require_for(sidecar: str, rule: AttesterEvidence, claims: Mapping[str, Any], what: str, step: str) -> None:
    if rule.sidecar is not None and looked_up(claims, rule.sidecar) != sidecar:
        raise refused(f"the {what}'s {rule.sidecar} is not this sidecar, {sidecar}", step)


def _read(claims: Mapping[str, Any], step: str) -> _Summary:
    try:
        return _Summary.model_validate(claims)
    except ValidationError as error:
        raise refused(f"the VSA is no statement of a verification summary: {complaint(error)}", step) from error


def _moment(text: str, step: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError as error:
        raise refused("the VSA's timeVerified is no time", step) from error


def _resting_on(rule: AttesterEvidence, key: Mapping[str, str], issued: int) -> dict[str, Any]:
    """What later decides whether this would still be taken."""
    return {"issuer": rule.issuer, **key, "issued_at": issued, "sidecar": rule.sidecar}


def _until(rule: AttesterEvidence, claims: Mapping[str, Any], issued: int) -> int:
    until = issued + rule.max_age_seconds
    return min(until, int(claims.get("exp", until)))

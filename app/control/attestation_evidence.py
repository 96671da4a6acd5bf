"""Evidence about a sidecar's environment, verified: image signatures and workload tokens.

Each piece becomes an `Appraised`: what it says, by kind of result; until when; and what it rests on, so that the
result can be revoked when that counts no longer. Everything that is wrong is `environment.refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from sqlmodel import Session

from app.control import attestation_basis, identity_tokens, issuers, standing
from app.control import governance_document as accepted
from app.control.governance_document import STATUS
from app.control.plane import Plane
from app.control.problems import Problem
from app.core import statements, strict_json
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.reason_codes import Reason
from app.core.verification_policy import VerificationPolicy

#: A verification summary attestation: https://slsa.dev/spec/v1.0/verification_summary
VSA = "https://slsa.dev/verification_summary/v1"

#: Characters of a claim that is taken.
MAX_VALUE = 256

#: What was found, by kind. Only an image's `levels` are several.
Claims = dict[str, str | list[str]]
Submods = dict[str, Claims]


@dataclass(frozen=True)
class Appraised:
    """One piece of evidence that was accepted."""

    submods: Submods
    #: Seconds since the epoch until which it holds; None: as long as it is accepted.
    until: int | None
    basis: dict[str, Any]


def refused(detail: str, step: str) -> Denied:
    """A refusal."""
    return Denied(Reason.ENVIRONMENT_REFUSED, detail, step=step)


def image(plane: Plane, rules: accepted.ImageEvidence | None, digest: str, bundles: list[str], step: str) -> Appraised:
    """Signed provenance or a VSA about an image, by those whom the system accepts. Raises `Denied`."""
    if rules is None:
        raise refused("the system accepts no evidence about images: set evidence.image in its governance", step)
    if rules.digests and digest not in rules.digests:
        raise refused(f"the image {digest} is not one of those that the system accepts", step)
    policy = VerificationPolicy(identities=rules.identities)
    verified = []
    for number, bundle in enumerate(bundles):
        at = f"{step}.bundles[{number}]"
        try:
            found = plane.verify_statement(bundle.encode(), subject=digest, policy=policy, step=at)
        except Denied as denied:
            raise refused(f"{denied.reason}: {denied.detail}", at) from denied
        _require_passed(found, at)
        verified.append(found)
    predicates = sorted({found.predicate_type for found in verified})
    wanted = rules.required_predicates
    if missing := [one for one in wanted if one not in predicates]:
        raise refused(f"no {missing[0]} about the image", step)
    if not wanted and not {statements.PROVENANCE, VSA} & set(predicates):
        raise refused("neither SLSA provenance nor a verification summary about the image", step)
    signers = list(dict.fromkeys(found.signer for found in verified))
    said: Claims = {
        STATUS: "affirming",
        "digest": digest,
        "signer": signers[0].identity,
        "signer_issuer": signers[0].issuer,
        "predicates": " ".join(predicates),
    }
    basis = {
        "type": "image",
        "digest": digest,
        "signers": [signer.model_dump() for signer in signers],
        "predicates": predicates,
    }
    return Appraised({"image": said}, None, basis)


def token(plane: Plane, rules: list[accepted.TokenEvidence], text: str, step: str) -> Appraised:
    """A workload's token of Kubernetes or a cloud, by an issuer that is trusted and accepted here. Raises `Denied`."""
    named = unverified(text, step).get("iss")
    rule = next((one for one in rules if one.issuer == named), None)
    if rule is None:
        raise refused("the system accepts no tokens of this issuer: see evidence.tokens of its governance", step)
    home = plane.settings.domain
    try:
        with plane.store.read() as session:
            identity = identity_tokens.verify(session, home, text, also_for=rule.audience, what=step)
            standing.require(session, home, [identity.who])
            key = _key_of(session, identity.who.issuer, text, step)
    except Denied as denied:
        raise refused(f"{denied.reason}: {denied.detail}", step) from denied
    except Problem as problem:
        raise refused(str(problem), step) from problem
    audiences = identity.claims["aud"]
    if identity.who.issuer != rule.issuer or rule.audience not in (
        audiences if isinstance(audiences, list) else [audiences]
    ):
        raise refused(f"the token must be for the audience {rule.audience}", step)
    parts = {kind: getattr(rule, kind) for kind in ("node", "region") if getattr(rule, kind)}
    basis = {
        "type": "token",
        "issuer": rule.issuer,
        "audience": rule.audience,
        "subject": identity.who.id,
        **key,
        "claims": {kind: dict(mapping) for kind, mapping in parts.items()},
    }
    submods = {kind: mapped(identity.claims, mapping, step) for kind, mapping in parts.items()}
    return Appraised(submods, int(identity.claims["exp"]), basis)


def _key_of(session: Session, issuer: str, text: str, step: str) -> dict[str, str]:
    """The key that signed a token which was verified."""
    row, kid = issuers.find(session, issuer), str(unverified(text, step, part=0)["kid"])
    assert row is not None, "the token was verified"
    return attestation_basis.of_key(kid, issuers.keys_in_force(session, row)[kid])


def _require_passed(found: VerifiedStatement, step: str) -> None:
    """A summary that says FAILED is signed just as well."""
    if found.predicate_type == VSA and found.statement["predicate"].get("verificationResult") != "PASSED":
        raise refused("the verification summary does not say PASSED", step)


def unverified(text: str, step: str, part: int = 1) -> dict[str, Any]:
    """The claims, or as part 0 the header, before the signature was looked at: good for choosing a rule and a key."""
    try:
        return strict_json.load_object(jwt.utils.base64url_decode(text.split(".")[part]))
    except (IndexError, ValueError) as error:
        raise refused("it is no JWT", step) from error


def mapped(claims: Mapping[str, Any], mapping: Mapping[str, str], step: str) -> Claims:
    """What a mapping takes out of verified claims; each of them must be there."""
    said: Claims = {STATUS: "affirming"}
    for name, path in mapping.items():
        value = looked_up(claims, path)
        if value is None:
            raise refused(f"the claim {path} is missing, or no text, number or boolean", step)
        said[name] = value
    return said


def looked_up(claims: Mapping[str, Any], path: str) -> str | None:
    """The text of a claim; a slash leads into an object, `~1` is a slash in a name (RFC 6901, section 4)."""
    value: Any = claims
    for part in path.split("/"):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part.replace("~1", "/").replace("~0", "~"))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_VALUE and value.isprintable() else None


def at(number: int) -> str:
    """How a piece of evidence is named in refusals."""
    return f"evidence[{number}]"

"""The verifier of environments (RFC 9334): evidence about a sidecar becomes a short-lived signed result.

The result is a JWT of type `ear+jwt`, shaped as an EAT attestation result (draft-ietf-rats-ear): what was appraised
stands in `submods` by kind. It never outlives the evidence that it rests on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from app.control import attestation_basis, attestation_results, governance, keyring, systems
from app.control.attestation_attesters import eat, summary
from app.control.attestation_evidence import Appraised, at, image, refused, token
from app.control.governance_document import Evidence
from app.control.plane import Plane
from app.control.problems import Conflict
from app.control.store import AttestationResult
from app.core.governance import audience_of, control_plane_id, sidecar_id
from app.core.strict_json import canonical

#: `typ` of the header of a result, and its profile.
TYPE = "ear+jwt"
PROFILE = "https://placet.dev/environment/v1"

#: As long as OPA reads one.
MAX_RESULT = 8192
#: Seconds: evidence that ends sooner is not worth a result.
_SHORTEST = 5


@dataclass(frozen=True)
class ImageItem:
    """An image by its digest, and the Sigstore bundles about it, JSON texts."""

    digest: str
    bundles: list[str]


@dataclass(frozen=True)
class TokenItem:
    """A workload's token (`token`), an entity attestation token (`eat`) or a verification summary as JWT (`vsa`)."""

    type: Literal["token", "eat", "vsa"]
    token: str


@dataclass(frozen=True)
class Issued:
    """A result, and when to come again."""

    row: AttestationResult
    result: str
    refresh_after_seconds: int


def attest(plane: Plane, system: str, sidecar: str, items: Sequence[ImageItem | TokenItem]) -> Issued:
    """Appraise evidence about a sidecar. One piece that is not accepted refuses all. Raises `Denied`, `Problem`."""
    with plane.store.read() as session:
        systems.find(session, system)
        before = governance.current(session, system)
        rules = governance.of(session, system).evidence
    subject = sidecar_id(plane.settings.domain, system, sidecar)
    appraised = [_appraise(plane, rules, subject, number, item) for number, item in enumerate(items)]
    row = _row(system, sidecar, subject, appraised, rules)
    claims = _claims(plane.settings.domain, row)
    if len(canonical(claims)) > MAX_RESULT * 3 // 4 - 256:
        raise refused("the evidence says more than fits into one result", "evidence")

    # Under the lock of publications: a change of what is accepted comes before, and is seen, or after, and revokes.
    with plane.store.publish() as session:
        now = governance.current(session, system)
        if (now.version if now else 0) != (before.version if before else 0):
            raise Conflict("the system's governance was changed at the same time; send the evidence again")
        attestation_results.require_room(session, system, sidecar)
        if not attestation_basis.holds(session, plane.settings.domain, row, rules):
            raise refused("what the evidence rests on is no longer trusted", "evidence")
        session.add(row)
        key = keyring.reserve(session, "attestation", claims["exp"])
    result = plane.keyring.jwt(key, claims, TYPE)
    left = claims["exp"] - claims["iat"]
    return Issued(row, result, max(left // 2, 1))


def _appraise(plane: Plane, rules: Evidence, sidecar: str, number: int, item: ImageItem | TokenItem) -> Appraised:
    if isinstance(item, ImageItem):
        return image(plane, rules.image, item.digest, item.bundles, at(number))
    if item.type == "token":
        return token(plane, rules.tokens, item.token, at(number))
    appraise = eat if item.type == "eat" else summary
    return appraise(sidecar, rules.attesters, item.token, at(number))


def _row(system: str, sidecar: str, subject: str, appraised: Sequence[Appraised], rules: Evidence) -> AttestationResult:
    submods: dict[str, dict[str, str | list[str]]] = {}
    for number, one in enumerate(appraised):
        if twice := submods.keys() & one.submods.keys():
            raise refused(f"two pieces of evidence speak about the {min(twice)}: send one of them", at(number))
        submods |= one.submods
    issued = int(time.time())
    ends = min([issued + rules.lifetime_seconds, *(one.until for one in appraised if one.until is not None)])
    if ends - issued < _SHORTEST:
        raise refused(f"the evidence expires within {_SHORTEST} seconds", "evidence")
    return AttestationResult(
        id=secrets.token_hex(16),
        system=system,
        sidecar=sidecar,
        subject=subject,
        submods=submods,
        basis=[one.basis for one in appraised],
        issued_at=datetime.fromtimestamp(issued, UTC),
        expires_at=datetime.fromtimestamp(ends, UTC),
    )


def _claims(domain: str, row: AttestationResult) -> dict[str, Any]:
    issuer = control_plane_id(domain)
    return {
        "iss": issuer,
        "sub": row.subject,
        "sub_id": {"format": "iss_sub", "iss": issuer, "sub": row.subject},
        "aud": audience_of(domain, row.system),
        "iat": int(row.issued_at.timestamp()),
        "exp": int(row.expires_at.timestamp()),
        "jti": row.id,
        "eat_profile": PROFILE,
        "submods": row.submods,
    }

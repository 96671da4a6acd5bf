"""What an attestation says of itself before anything is verified.

Only for sorting: nothing may be allowed because of what stands here.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from app.core import statements, strict_json
from app.core.evidence_form import checked_form


@dataclass(frozen=True)
class Claim:
    """What the statement in a Sigstore bundle says, unverified."""

    predicate_type: str
    #: SHA-256 of its subjects, `sha256:…`.
    subjects: tuple[str, ...]
    #: For a link: the name of its step.
    step: str | None


def claimed(raw: bytes, step: str = "attestation") -> Claim:
    """Read a Sigstore bundle without verifying it. Raises `Denied` when it has not the form of one."""
    payload = base64.b64decode(checked_form(raw, step)["dsseEnvelope"]["payload"])
    try:
        document = strict_json.load_object(payload)
    except strict_json.StrictJSONError:
        return Claim("", (), None)
    kind, predicate, subjects = (document.get(name) for name in ("predicateType", "predicate", "subject"))
    digests = [_sha256(one) for one in (subjects if isinstance(subjects, list) else [])]
    name = predicate.get("name") if kind == statements.LINK and isinstance(predicate, dict) else None
    return Claim(
        kind if isinstance(kind, str) else "",
        tuple(dict.fromkeys(one for one in digests if one)),
        name if isinstance(name, str) else None,
    )


def _sha256(subject: Any) -> str | None:
    digest = subject.get("digest") if isinstance(subject, dict) else None
    found = digest.get("sha256") if isinstance(digest, dict) else None
    return f"sha256:{found}" if isinstance(found, str) else None

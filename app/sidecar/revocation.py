"""What ends an execution while it runs, looked up in the trust state: quarantine, revoked warrants, unlinked domains,
issuers and keys that are trusted no longer.

OPA looks up quarantine and revocations in each decision too. This is for the one answer that the agent gives by itself:
a renewal, at which also what the execution's own token cannot show is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from app.core.reason_codes import Reason


def keys_of(request: Mapping[str, Any]) -> dict[str, str]:
    """The ids of the keys that signed the identity and the root warrant of a request which OPA allowed."""
    identity, chain = request.get("identity"), request.get("warrant")
    found = {
        "identity": _kid(identity.get("token")) if isinstance(identity, Mapping) else None,
        "warrant": _kid(chain[0]) if isinstance(chain, list) and chain else None,
    }
    return {what: kid for what, kid in found.items() if kid is not None}


def ended(claims: Mapping[str, Any], trust: Mapping[str, Any]) -> Reason | None:
    """Why the execution with a token of these (verified) claims has ended; None while it has not."""
    quarantine = trust["quarantine"]
    if claims["exe"] in quarantine["executions"]:
        return Reason.QUARANTINE_EXECUTION
    subjects = quarantine["subjects"]
    if claims["sub"] in subjects.get(claims["sub_iss"], {}):
        return Reason.QUARANTINE_SUBJECT
    if any(name in subjects.get(issuer, {}) for issuer, name in claims["principals"]):
        return Reason.QUARANTINE_ACTOR
    if any(domain in quarantine["domains"] for domain in claims["domains"]):
        return Reason.QUARANTINE_DOMAIN
    if any(domain != trust["domain"] and domain not in trust["links"] for domain in claims["domains"]):
        return Reason.WARRANT_DOMAIN
    if any(warrant in trust["warrant"]["revoked"] for warrant in claims["warrants"]):
        return Reason.WARRANT_REVOKED
    kids, asking = claims.get("kids", {}), claims.get("via", {}).get("issuer", claims["sub_iss"])
    if claims["sub_iss"] not in trust["issuers"] or asking not in trust["issuers"]:
        return Reason.IDENTITY_ISSUER_UNKNOWN
    if "identity" in kids and kids["identity"] not in trust["issuers"][asking]["keys"]:
        return Reason.IDENTITY_KEY_UNKNOWN
    warrants = claims.get("warrant_issuer")
    if warrants is not None and warrants not in trust["warrant"]["issuers"]:
        return Reason.WARRANT_ISSUER_UNKNOWN
    if (
        warrants is not None
        and "warrant" in kids
        and kids["warrant"] not in trust["warrant"]["issuers"][warrants]["keys"]
    ):
        return Reason.WARRANT_KEY_UNKNOWN
    return None


def _kid(token: Any) -> str | None:
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, TypeError):
        return None
    return kid if isinstance(kid, str) else None

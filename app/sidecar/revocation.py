"""What ends an execution while it runs, looked up in the trust state: quarantine, revoked warrants, unlinked domains,
issuers that are trusted no longer.

OPA looks the same things up in each decision. This is for the one answer that the agent gives by itself: a renewal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.reason_codes import Reason


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
    if claims["sub_iss"] not in trust["issuers"]:
        return Reason.IDENTITY_ISSUER_UNKNOWN
    if claims.get("warrant_issuer") is not None and claims["warrant_issuer"] not in trust["warrant"]["issuers"]:
        return Reason.WARRANT_ISSUER_UNKNOWN
    return None

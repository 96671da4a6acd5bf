"""A decision as it is listed: by the API, in exports and in what is forwarded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.control.store import Decision


def listed(decision: Decision) -> dict[str, Any]:
    """The columns of a decision's row."""
    return {
        "decision_id": decision.decision_id,
        "time": rfc3339(decision.time_ns),
        "system": decision.system,
        "sidecar": decision.sidecar,
        "outcome": decision.outcome,
        "reasons": decision.reasons,
        "mode": decision.mode,
        "execution": decision.execution,
        "subject": {"issuer": decision.subject_issuer, "id": decision.subject_id} if decision.subject_id else None,
        "action": decision.action,
        "resource": {"type": decision.resource_type, "id": decision.resource_id},
        "bundles": {"policy": decision.policy, "library": decision.library},
    }


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since 1970 as an RFC 3339 time, all digits kept."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"

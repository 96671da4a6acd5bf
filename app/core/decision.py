"""A decision as its caller must read it: only a whole, well-formed `allow: true` allows.

The result's form is in docs/decision.md. Everything else that OPA, or whatever answers in its place, may say is a
denial with a reason code of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.core.reason_codes import Reason


@dataclass(frozen=True)
class Decision:
    """The answer to one request. When `allow` is true, `reasons` holds at most the policy's own."""

    allow: bool
    reasons: tuple[tuple[str, str], ...] = ()
    obligations: tuple[dict[str, Any], ...] = field(default=())

    @classmethod
    def deny(cls, reason: Reason, message: str) -> Decision:
        """A denial that the client itself states."""
        return cls(False, ((str(reason), message),))


def interpret(answer: Any) -> Decision:
    """Read the body of OPA's 200 answer to `POST /v1/data/placet/decision`."""
    if not isinstance(answer, dict) or answer.get("result") in (None, {}):
        return Decision.deny(Reason.DECISION_UNDEFINED, "OPA gave no decision")
    result = answer["result"]
    if not isinstance(result, dict) or not isinstance(result.get("allow"), bool):
        return _malformed("allow is not a boolean")
    reasons, obligations = result.get("reasons"), result.get("obligations")
    if not isinstance(reasons, list) or not all(_is_reason(reason) for reason in reasons):
        return _malformed("reasons is not a list of reasons")
    if not isinstance(obligations, list) or not all(isinstance(one, dict) for one in obligations):
        return _malformed("obligations is not a list of objects")
    # An "allow" may carry what the policy adds (`policy:…`); every denial has a code of the table.
    if result["allow"] == any(not reason["code"].startswith("policy:") for reason in reasons):
        return _malformed("allow and reasons contradict each other")
    return Decision(
        result["allow"], tuple((reason["code"], reason["message"]) for reason in reasons), tuple(obligations)
    )


def _is_reason(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("code"), str) and isinstance(value.get("message"), str)


def _malformed(detail: str) -> Decision:
    return Decision.deny(Reason.DECISION_MALFORMED, detail)

"""A sidecar's denial, printed: every reason, and the first that the table knows as the error."""

from __future__ import annotations

from typing import Any, NoReturn

from app.core.decision import Decision, interpret
from app.core.errors import Denied
from app.core.reason_codes import Reason
from cli.output import Output, emit, say

_KNOWN = set(Reason)


def judged(decision: Any) -> Decision | None:
    """What a decision of the edge says; None when it gave none."""
    return interpret({"result": decision}) if decision is not None else None


def refuse(decision: Any, output: Output) -> NoReturn:
    """Print why not. Raises `Denied`, always."""
    verdict = judged(decision)
    if verdict is None or verdict.allow or not verdict.reasons:
        raise Denied(Reason.DECISION_MALFORMED, "the sidecar refused, but gave no reasons")
    if output is Output.JSON:
        emit({"execution": None, "decision": decision}, output)
    first = next((reason for reason in verdict.reasons if reason[0] in _KNOWN), None)
    for code, message in verdict.reasons:
        if (code, message) != first:
            say(f"also: {code}: {message}")
    if first is None:
        raise Denied(Reason.POLICY_DENIED, "; ".join(message for _, message in verdict.reasons))
    raise Denied(Reason(first[0]), first[1])

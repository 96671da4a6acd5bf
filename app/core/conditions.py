"""Conditions on what attestations say: Rego queries over a verified statement, evaluated by the pinned OPA.

A condition holds when it has a result and every expression of every result is exactly `true`. Everything else denies:
no result, another value, a conflict, an error, and a query that does not compile or takes too long. It sees the
statement as `input` and nothing else, neither data nor a clock, so that it says the same in later years.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.core import condition_check
from app.core.complaint import printable
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.verification_policy import RequiredPredicate

#: Seconds that one condition may take over one statement.
TIMEOUT = 5

#: Characters of a condition that a denial shows.
_SHOWN = 120


def check(required: Sequence[RequiredPredicate], found: Mapping[str, VerifiedStatement], opa: Opa) -> None:
    """Deny unless every required type is among `found` and every statement of it satisfies the condition.

    Every statement, and not one of them: a failed result is not mended by another that passed. `found` is by the name
    that a denial gives: `signature` or `attestations[2]`.
    """
    for number, one in enumerate(required):
        field = f"required_predicates[{number}]"
        present = {name: verified for name, verified in found.items() if verified.predicate_type == one.type}
        if not present:
            raise Denied(Reason.EVIDENCE_INCOMPLETE, f"no {one.type}", step="required_predicates", field=field)
        if one.condition is None:
            continue
        for name, verified in present.items():
            if wrong := _objection(one.condition, verified.payload, opa):
                raise Denied(
                    Reason.EVIDENCE_CONDITION,
                    f"{name} ({one.type}): {wrong}",
                    step="required_predicates",
                    field=f"{field}.condition",
                )


def _objection(condition: str, statement: bytes, opa: Opa) -> str | None:
    """Why the condition does not hold of a statement; None when it does."""
    try:
        if unfit := condition_check.fault(condition, opa):
            return f"the condition fails: {unfit}"
        answer = condition_check.ask(condition, opa, statement, f"{TIMEOUT}s")
    except Denied as denied:
        return f"the condition fails: {denied.detail}"
    try:
        document = json.loads(answer.stdout)
        if answer.returncode != 0 or "errors" in document:
            return f"the condition fails: {_error(document)}"
        results = [result["expressions"] for result in document.get("result", [])]
        values = [(expression["text"], expression["value"]) for expressions in results for expression in expressions]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "the condition fails: OPA gave no answer"
    if not values:
        return f"the condition is false or undefined: {_shown(condition)}"
    for text, value in values:
        if value is not True:
            return f"the condition gives {_shown(json.dumps(value))}, not true: {_shown(text)}"
    return None


def _error(document: Mapping[str, Any]) -> str:
    first = document["errors"][0]
    location = first.get("location") or {}
    where = f"{location['row']}:{location['col']}: " if "row" in location else ""
    return where + _shown(str(first["message"]))


def _shown(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"

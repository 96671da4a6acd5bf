"""OpenTelemetry spans, where opentelemetry-api is installed (extra `otel`). Attributes never hold tokens or ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from placet_sdk.decision import Decision

try:
    trace: Any = import_module("opentelemetry.trace")
except ImportError:
    trace = None

_LONGEST = 128

Tell = Callable[[Decision], None]


@contextmanager
def span(name: str, action: Any, resource: Any) -> Iterator[Tell]:
    """A span about one question; tell it the decision."""
    if trace is None:
        yield lambda decision: None
        return
    asked = {"placet.action": action.get("name"), "placet.resource.type": resource.get("type")}
    attributes = {key: value[:_LONGEST] for key, value in asked.items() if isinstance(value, str)}
    tracer = trace.get_tracer("placet_sdk")
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes) as current:
        yield lambda decision: current.set_attributes(_attributes(decision))


def _attributes(decision: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {
        "placet.allow": decision.allow,
        "placet.reasons": decision.codes,
        "placet.decision_id": decision.decision_id,
        "placet.mode": decision.mode and decision.mode.kind,
    }
    return {key: value for key, value in told.items() if value is not None}

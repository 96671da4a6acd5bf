import importlib
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from placet_sdk import tracing
from tests.unit.sdk.fake import answer, http, says


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing.trace, "get_tracer", provider.get_tracer)
    return exporter


def test_a_question_is_a_span(client, sidecar, spans):
    reasons = [{"code": "lease.expired", "message": "The lease has expired."}]
    mode = {"kind": "shadow", "id": "m", "reasons": reasons}
    sidecar.behaviour = says(http(200, answer(mode=mode)))
    client.decide("read", ("payment", "p-secret"), {"iban": "DE00"}, warrant=["w.w.w"])
    sidecar.behaviour = says(http(200, answer(False)))
    client.decide({"name": "x" * 500}, {"type": 1, "id": "p-1"})
    client.decide(None, None)
    allowed, denied, refused = spans.get_finished_spans()
    assert allowed.name == "placet.decide"
    assert dict(allowed.attributes) == {
        "placet.action": "read",
        "placet.resource.type": "payment",
        "placet.allow": True,
        "placet.reasons": (),
        "placet.decision_id": "d-1",
        "placet.mode": "shadow",
    }
    assert denied.attributes["placet.reasons"] == ("policy.denied",)
    assert denied.attributes["placet.action"] == "x" * 128
    assert dict(refused.attributes) == {"placet.allow": False, "placet.reasons": ("request.malformed",)}
    for secret in ("a.b.c", "w.w.w", "p-secret", "DE00"):
        assert secret not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_without_opentelemetry_it_works_the_same(client, monkeypatch):
    monkeypatch.setattr(tracing, "trace", None)
    assert client.decide()


def test_it_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    assert importlib.reload(tracing).trace is None
    monkeypatch.undo()
    assert importlib.reload(tracing).trace is not None

"""Executions in a real OPA: started once with everything checked, then carried by one flat token."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.local.tools import installed
from bench import stand

pytestmark = pytest.mark.stack

SUPPORT = "spiffe://example.org/support"
ISSUER = stand.Issuer()
SIDECAR = stand.Issuer(stand.SIDECAR, kid="e1")
CONTROL_PLANE = stand.Issuer(stand.CONTROL_PLANE, kid="w1")
ASKED = stand.request(ISSUER.token(sub=SUPPORT), execution={"id": "e-1"})


def state(**changes: Any) -> dict[str, Any]:
    return stand.trust_state(ISSUER, sidecar=SIDECAR, control_plane=CONTROL_PLANE, **changes)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stand.Server]:
    files = stand.composed(*stand.example("payments"))
    with stand.running(installed("opa"), files, tmp_path_factory.mktemp("opa")) as server:
        yield server


@pytest.fixture
def opa(running: stand.Server) -> stand.Server:
    running.write(state())
    return running


def codes(decision: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in decision["reasons"]]


def inside(token: str, **changes: Any) -> dict[str, Any]:
    return stand.request(None, identity=None, execution={"id": "e-1", "token": token}, **changes)


def started(opa: stand.Server, asked: dict[str, Any]) -> str:
    """The token of an execution that was started with this."""
    answer = opa.start(asked)
    assert answer["decision"]["allow"], codes(answer["decision"])
    return SIDECAR.execution("e-1", answer["claims"])


def test_inside_an_execution_the_answer_is_as_it_was(opa: stand.Server) -> None:
    asked = ASKED | {"warrant": [CONTROL_PLANE.warrant(SUPPORT)]}
    outside = opa.decide(asked)
    assert outside["allow"]
    assert len(outside["warrant"]["ids"]) == 1
    within = opa.decide(inside(started(opa, asked)))
    assert (outside["execution"], within["execution"]) == (None, "e-1")
    assert within | {"expires_at": None, "execution": None} == outside | {"expires_at": None}


def test_the_scope_of_the_warrants_is_the_executions(opa: stand.Server) -> None:
    warrant = CONTROL_PLANE.warrant(SUPPORT, resources=["payment/p-1*"], constraints={"amount": {"at_most": 50}})
    token = started(opa, ASKED | {"warrant": [warrant]})
    assert opa.decide(inside(token))["allow"]
    for changes in (
        {"resource": {"type": "payment", "id": "q-1"}},
        {"context": {"amount": 51, "currency": "EUR"}},
        {"context": {"currency": "EUR"}},
        {"action": {"name": "read"}},
    ):
        assert codes(opa.decide(inside(token, **changes))) == ["execution.scope"]


def test_uses_are_only_counted_by_a_start(opa: stand.Server) -> None:
    asked = ASKED | {"warrant": [CONTROL_PLANE.warrant(SUPPORT, uses=3, jti="counted")]}
    assert codes(opa.decide(asked)) == ["warrant.needs_execution"]
    answer = opa.start(asked)
    assert [(one["jti"], one["uses"]) for one in answer["redeem"]] == [("counted", 3)]
    assert opa.decide(inside(SIDECAR.execution("e-1", answer["claims"])))["allow"]


def test_quarantine_revocation_and_lease_are_checked_each_time(opa: stand.Server) -> None:
    token = started(opa, ASKED | {"warrant": [CONTROL_PLANE.warrant(SUPPORT, jti="w-1")]})
    revoked = {"required": False, "issuers": {}, "revoked": {"w-1": {"expires_at": int(time.time()) + 60}}}
    for changes, code in (
        ({"quarantined": {stand.ISSUER: {SUPPORT: {"reason": "theft"}}}}, "quarantine.subject"),
        ({"quarantine": stand.NOBODY | {"executions": {"e-1": {}}}}, "quarantine.execution"),
        ({"quarantine": stand.NOBODY | {"domains": {stand.DOMAIN: {}}}}, "quarantine.domain"),
        ({"warrant": revoked}, "warrant.revoked"),
        ({"seconds": -1}, "lease.malformed"),
        ({"execution": {"issuer": stand.SIDECAR, "keys": {}}}, "execution.invalid"),
        ({"audience": "spiffe://example.org/system/ledger"}, "execution.invalid"),
    ):
        opa.write(state(**changes))
        assert codes(opa.decide(inside(token))) == [code]
    opa.write(state())
    assert opa.decide(inside(token))["allow"]


def test_an_issuer_that_is_no_longer_trusted_ends_its_executions(opa: stand.Server) -> None:
    token = started(opa, ASKED)
    opa.write(state(issuers={}, headers={}))
    assert codes(opa.decide(inside(token))) == ["segment.boundary"]


def test_a_cached_token_still_expires(opa: stand.Server) -> None:
    claims = opa.start(ASKED)["claims"]
    token = SIDECAR.execution("e-1", claims, seconds=2)
    assert opa.decide(inside(token))["allow"]
    time.sleep(2.1)
    assert codes(opa.decide(inside(token))) == ["execution.expired"]


def test_another_sidecars_token_is_nobodys_here(opa: stand.Server) -> None:
    claims = opa.start(ASKED)["claims"]
    stranger = stand.Issuer(stand.SIDECAR, kid="e1")
    assert codes(opa.decide(inside(stranger.execution("e-1", claims)))) == ["execution.invalid"]
    # The caller's own token, or a warrant, is no execution token either.
    assert codes(opa.decide(inside(ISSUER.token(sub=SUPPORT)))) == ["execution.malformed"]
    assert codes(opa.decide(inside(CONTROL_PLANE.warrant(SUPPORT)))) == ["execution.malformed"]


def test_an_execution_token_is_neither_identity_nor_warrant(opa: stand.Server) -> None:
    token = started(opa, ASKED)
    assert codes(opa.decide(stand.request(token))) == ["identity.malformed"]
    as_warrant = opa.decide(stand.request(ISSUER.token(sub=SUPPORT), warrant=[token]))
    assert codes(as_warrant) == ["warrant.malformed"]


def test_the_record_of_a_start_has_no_token(opa: stand.Server) -> None:
    before = len(opa.records())
    warrant, proof = CONTROL_PLANE.warrant(SUPPORT), "eyJhbGciOiJFZERTQSJ9.e30.c2ln"
    opa.start(ASKED | {"warrant": [warrant], "proof": proof})
    record = opa.records()[before]
    assert record["path"] == "placet/start"
    assert record["result"]["claims"]["sub"] == SUPPORT
    for secret in (ASKED["identity"]["token"], warrant, proof):
        assert secret not in json.dumps(record)


def test_only_the_agent_can_start(opa: stand.Server) -> None:
    answer = opa.client.post("/v1/data/placet/start", json={"input": ASKED})
    assert answer.status_code == 401


def test_a_policy_sees_the_same_inside(tmp_path: Path) -> None:
    module = """package app.authz

decision := {"allow": true, "obligations": [{"subject": data.placet.subject, "granted": data.placet.warrant.granted}]}
"""
    files = stand.composed({"app/authz.rego": module}, "app/authz/decision", ["app"])
    with stand.running(installed("opa"), files, tmp_path) as opa:
        opa.write(state())
        asked = ASKED | {"warrant": [CONTROL_PLANE.warrant(SUPPORT)]}
        [outside] = opa.decide(asked)["obligations"]
        [within] = opa.decide(inside(started(opa, asked)))["obligations"]
    assert within["subject"] == outside["subject"]
    assert outside["granted"]["ids"]
    for member in ("ids", "issuer", "actions", "resources", "constraints"):
        assert within["granted"][member] == outside["granted"][member]

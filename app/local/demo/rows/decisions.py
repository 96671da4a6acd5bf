"""Decisions: what is allowed, what is denied and why, and who may ask OPA for anything else."""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import Any

import httpx
from starlette.applications import Starlette

from app.core.reason_codes import Reason
from app.core.serving import ThreadedServer
from app.local.demo.parts import Sidecar, eventually
from app.local.demo.rows.table import World, denied_with, require, row
from app.local.demo.stack import SUBJECT
from app.local.sample_service import Governed, create_app


@row("allowed request allowed")
def allowed(world: World) -> str:
    """Directly, and by the sample service through opa-python-client."""
    require(world.allows(world.first), "denied")
    decision = _governed(world.first).decide(world.stack.request("read"))
    require(decision.allow, f"the sample service was denied: {decision.reasons}")
    return "directly and by the sample service"


@row("forbidden request denied with its reason")
def forbidden(world: World) -> str:
    """The caller may read, not refund."""
    decision = _governed(world.first).decide(world.stack.request("refund", amount=10, currency="EUR"))
    require(not decision.allow, "allowed")
    codes = [code for code, _ in decision.reasons]
    require(str(Reason.POLICY_DENIED) in codes, f"denied with {codes}")
    return ", ".join(codes)


@row("HTTP API under governance: each call decided for whoever calls")
def http_api(world: World) -> str:
    """The sample service over HTTP: a reader reads, may not refund, and nobody may do anything."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/payments/p-1"
    service: Starlette = create_app(_governed(world.first))
    server = ThreadedServer(service, listener, "payments")
    server.start()
    try:
        headers = {"Authorization": f"Bearer {world.stack.workload_token()}"}
        with httpx.Client(timeout=10, trust_env=False) as caller:
            read = caller.get(address, headers=headers)
            refund = caller.post(f"{address}/refunds", json={"amount": 10}, headers=headers)
            nobody = caller.get(address)
    finally:
        server.stop()
    require(read.status_code == httpx.codes.OK, f"reading gave {read.status_code}: {read.text}")
    for answer, code in ((refund, Reason.POLICY_DENIED), (nobody, Reason.IDENTITY_MALFORMED)):
        require(answer.status_code == httpx.codes.FORBIDDEN, f"it gave {answer.status_code}")
        require(str(code) in answer.text, f"403 without {code}: {answer.text}")
    return "200 to read; 403 to refund, and 403 to a caller without a token"


@row("OPA's API closed: everything but the decision is 401")
def api_closed(world: World) -> str:
    """The user's package, queries, compilation and writes, without a token."""
    everything: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/v1/data/payments/authz/decision", {"input": {}}),
        ("GET", "/v1/data", None),
        ("POST", "/v1/query", {"query": "x = data"}),
        ("POST", "/v1/compile", {"query": "data.payments.authz.allow == true"}),
        ("PUT", "/v1/data/placet_state", {"lease": {}}),
        ("PATCH", "/v1/data/placet_state", []),
        ("DELETE", "/v1/data/system/bundles/placet", None),
        ("PUT", "/v1/policies/mine", {}),
        ("POST", "/v1/data/placet/decision?explain=full", {"input": {}}),
        ("POST", "/v0/data/placet/decision", {}),
        ("GET", "/v1/config", None),
    )
    caller = world.first.caller()
    for method, path, body in everything:
        code = caller.status_of(method, path, json=body)
        require(code == httpx.codes.UNAUTHORIZED, f"{method} {path} gave {code}")
    caller.close()
    return f"{len(everything)} requests"


@row("quarantined subject denied")
def quarantined(world: World) -> str:
    """Within seconds, on every sidecar; and allowed again once it is lifted."""
    stack, issuer = world.stack, world.stack.sigstore.issuer_url
    stack.placet("quarantine", "add", issuer, SUBJECT, "--reason", "demo")
    began = time.monotonic()
    for sidecar in (world.first, world.second):
        eventually("denied", partial(_denies, world, sidecar), within=30)
        denied_with(world.ask(sidecar), Reason.QUARANTINE_SUBJECT)
    took = time.monotonic() - began
    stack.placet("quarantine", "lift", issuer, SUBJECT)
    for sidecar in (world.first, world.second):
        eventually("allowed again", partial(world.allows, sidecar), within=30)
    return f"{Reason.QUARANTINE_SUBJECT} on 2 sidecars after {took:.1f} s"


@row("decision found in the web UI")
def found_in_ui(world: World) -> str:
    """A person logs in, sees the decision in the list, and opens it."""
    answer = world.ask(world.first, "refund", amount=77, currency="EUR")
    assert answer.decision_id is not None
    eventually("shipped", lambda: world.stack.decisions_known({answer.decision_id or ""}))
    with httpx.Client(base_url=world.stack.server, timeout=30, trust_env=False, follow_redirects=True) as browser:
        require("Sign in" in browser.get("/decisions").text, "the page is not behind a login")
        page = browser.post("/login", data={"token": world.stack.admin_token, "next": "/decisions"})
        require(page.is_success, f"login gave {page.status_code}")
        listed = browser.get("/decisions", params={"system": "payments", "outcome": "deny"})
        require(answer.decision_id in listed.text, "the list does not show it")
        whole = browser.get(f"/decisions/{answer.decision_id}")
        for expected in ("policy.denied", world.release, SUBJECT):
            require(expected in whole.text, f"the page does not show {expected}")
    return answer.decision_id


def _governed(sidecar: Sidecar) -> Governed:
    return Governed(sidecar.port, sidecar.ca)


def _denies(world: World, sidecar: Sidecar) -> bool:
    return not world.allows(sidecar)

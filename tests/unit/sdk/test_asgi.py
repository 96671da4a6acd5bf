import json
from typing import Annotated

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI, Header
from pydantic import BaseModel

from placet_sdk import (
    OPEN,
    AsyncPlacet,
    ConfigurationError,
    Decision,
    Denied,
    Placet,
    PlacetMiddleware,
    current_decision,
    request_identity,
)
from tests.unit.sdk import fake
from tests.unit.sdk.fake import answer, http


@pytest.fixture(autouse=True)
def policy(sidecar):
    """Allows reading to whoever has the token "good"."""

    def behave(connection, received):
        allowed = received.input["action"]["name"] == "read" and received.input.get("identity") == {"token": "good"}
        connection.sendall(http(200, answer(allowed)))

    sidecar.behaviour = behave


@pytest.fixture
def placet(sidecar):
    return AsyncPlacet(sidecar.url, identity=request_identity, insecure_loopback=True, timeout=5)


def ask(app, method, path, headers=(), **options):
    async def main():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as browser:
            return await browser.request(method, path, headers=list(headers), **options)

    return anyio.run(main)


GOOD = [("Authorization", "Bearer good")]


def needs(request):
    if request.path == "/health":
        return OPEN
    if request.path.startswith("/payments/"):
        action = {"GET": "read", "WEBSOCKET": "watch"}.get(request.method, "refund")
        context = {"query": request.query, "agent": request.headers.get("user-agent", "")}
        return {"action": action, "resource": ("payment", request.path.split("/")[2]), "context": context}
    return None


def everything(placet):
    """An application in which the middleware asks about everything."""
    app = FastAPI()
    app.add_middleware(PlacetMiddleware, placet=placet, needs=needs)

    @app.get("/health")
    def health():
        return "well"

    @app.get("/payments/{payment}")
    async def read(payment: str):
        return {"payment": payment, "decision": current_decision().decision_id}

    @app.post("/payments/{payment}")
    @app.get("/forgotten")
    def never(payment: str = ""):
        raise AssertionError

    return app


def test_an_allowed_request(placet, sidecar):
    given = ask(everything(placet), "GET", "/payments/p%201?x=%20y", [*GOOD, ("User-Agent", "test")])
    assert (given.status_code, given.json()) == (200, {"payment": "p 1", "decision": "d-1"})
    assert sidecar.received[0].input == {
        "action": {"name": "read"},
        "resource": {"type": "payment", "id": "p 1"},
        "context": {"query": "x=%20y", "agent": "test"},
        "identity": {"token": "good"},
    }


def test_a_denied_request(placet):
    given = ask(everything(placet), "POST", "/payments/p-1", GOOD)
    assert given.status_code == 403
    assert given.headers["content-type"] == "application/problem+json"
    assert given.headers["cache-control"] == "no-store"
    assert given.json() == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "The policy denies the request.",
        "reasons": [{"code": "policy.denied", "message": "The policy denies the request."}],
        "decision_id": "d-1",
    }


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "good")],
        [("Authorization", "Basic good")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer good"), ("Authorization", "Bearer good")],
        [("Authorization", "Bearer good"), ("authorization", "Bearer bad")],
    ],
)
def test_without_one_bearer_token_it_is_asked_without_identity(placet, sidecar, headers):
    """The denial is OPA's, and stands in its records."""
    assert ask(everything(placet), "GET", "/payments/p-1", headers).status_code == 403
    assert "identity" not in sidecar.received[0].input


def test_the_scheme_has_no_case(placet):
    assert ask(everything(placet), "GET", "/payments/p-1", [("authorization", "bEARER  good")]).status_code == 200


def test_what_needs_no_decision(placet, sidecar):
    assert ask(everything(placet), "GET", "/health").text == '"well"'
    assert not sidecar.received


def test_what_was_forgotten_is_denied(placet, sidecar):
    given = ask(everything(placet), "GET", "/forgotten", GOOD)
    assert given.status_code == 403
    assert given.json()["reasons"][0]["code"] == "request.malformed"
    assert given.json()["decision_id"] is None
    assert not sidecar.received


def test_a_header_that_stands_twice(placet, sidecar):
    headers = [*GOOD, ("User-Agent", "a"), ("user-agent", "b")]
    assert ask(everything(placet), "GET", "/payments/p-1", headers).status_code == 200
    assert sidecar.received[0].input["context"]["agent"] == "a, b"


class Refund(BaseModel):
    amount: int


def selective(placet, blocking):
    """An application whose endpoints ask for themselves."""
    app = FastAPI()
    app.add_middleware(PlacetMiddleware)

    @app.get("/governed/{payment}")
    @placet.governed("read", lambda payment: ("payment", payment))
    async def governed(payment: str) -> str | None:
        return current_decision().decision_id

    @app.post("/governed/{payment}")
    @placet.governed("refund", lambda payment: ("payment", payment), lambda body: {"amount": body.amount})
    async def refund(payment: str, body: Refund) -> str:
        raise AssertionError

    allowed = placet.dependency("read", lambda payment: ("payment", payment))

    @app.get("/depends/{payment}")
    async def depends(payment: str, decision: Annotated[Decision, Depends(allowed)]) -> str | None:
        return decision.decision_id

    def context(amount: int, x_reason: Annotated[str, Header()] = "none"):
        return {"amount": amount, "reason": x_reason}

    @app.post("/blocking/{payment}", dependencies=[
        Depends(blocking.dependency(lambda verb: verb, lambda payment: ("payment", payment), context))
    ])  # fmt: skip
    def blocked(payment: str) -> str:
        return payment

    @app.get("/open")
    def free() -> str:
        return "open"

    return app


@pytest.fixture
def app(placet, sidecar):
    return selective(placet, Placet(sidecar.url, identity=request_identity, insecure_loopback=True, timeout=5))


@pytest.mark.parametrize("path", ["/governed/p-1", "/depends/p-1"])
def test_endpoints_that_ask_for_themselves(app, sidecar, path):
    given = ask(app, "GET", path, GOOD)
    assert (given.status_code, given.json()) == (200, "d-1")
    assert sidecar.received[0].input["resource"] == {"type": "payment", "id": "p-1"}
    assert ask(app, "GET", path, [("Authorization", "Bearer bad")]).json()["reasons"][0]["code"] == "policy.denied"


def test_the_body_is_context(app, sidecar):
    given = ask(app, "POST", "/governed/p-1", GOOD, json={"amount": 7})
    assert (given.status_code, given.headers["content-type"]) == (403, "application/problem+json")
    assert sidecar.received[0].input["context"] == {"amount": 7}
    assert ask(app, "POST", "/governed/p-1", GOOD, json={"amount": 2**60}).json()["reasons"][0]["code"] == (
        "request.malformed"
    )


def test_parameters_of_a_blocking_dependency_come_from_the_request(app, sidecar):
    given = ask(app, "POST", "/blocking/p-1?amount=7&verb=read", [*GOOD, ("X-Reason", "why")])
    assert (given.status_code, given.json()) == (200, "p-1")
    assert sidecar.received[0].input["context"] == {"amount": 7, "reason": "why"}
    assert ask(app, "POST", "/blocking/p-1?amount=7&verb=refund", GOOD).status_code == 403
    assert ask(app, "POST", "/blocking/p-1?verb=read", GOOD).status_code == 422


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (http(500, answer()), "evaluation.error"),
        (http(400, answer()), "request.malformed"),
        (http(503, answer()), "decision.malformed"),
        (http(200, b"{}"), "decision.undefined"),
        (http(200, b'{"result":{"allow":true}}'), "decision.malformed"),
        (http(200, answer()[:-1]), "decision.malformed"),
        (b"", "sidecar.unreachable"),
    ],
    ids=["500", "400", "503", "undefined", "half", "cut", "silence"],
)
def test_whatever_is_no_decision_is_403_in_every_way_of_asking(sidecar, raw, code):
    """The middleware, a governed endpoint, a dependency, and a dependency that blocks."""
    placet, blocking = (
        kind(sidecar.url, identity=request_identity, insecure_loopback=True, timeout=0.5 if not raw else 5)
        for kind in (AsyncPlacet, Placet)
    )
    sidecar.behaviour = fake.says(raw) if raw else sidecar.silent
    for app, method, path in (
        (everything(placet), "GET", "/payments/p-1"),
        (selective(placet, blocking), "GET", "/governed/p-1"),
        (selective(placet, blocking), "GET", "/depends/p-1"),
        (selective(placet, blocking), "POST", "/blocking/p-1?amount=7&verb=read"),
    ):
        given = ask(app, method, path, GOOD)
        assert (given.status_code, [one["code"] for one in given.json()["reasons"]]) == (403, [code])

    async def watching(scope, receive, send):
        raise AssertionError

    sent = drive(PlacetMiddleware(watching, placet, needs), socket_scope(), [{"type": "websocket.connect"}])
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": code}]
    assert len(sidecar.received) == 5


def test_what_does_not_ask_is_open(app, sidecar):
    assert ask(app, "GET", "/open").status_code == 200
    assert not sidecar.received


# ---- plain ASGI --------------------------------------------------------------------------------------------------


def drive(app, scope, messages=()):
    """Run an application on a scope; what it sent."""
    sent, incoming = [], list(messages)

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message)

    anyio.run(app, scope, receive, send)
    return sent


def http_scope(**changes):
    return {"type": "http", "method": "get", "path": "/payments/p-1", "headers": [], **changes}


def socket_scope(path="/payments/p-1"):
    return {"type": "websocket", "path": path, "query_string": b"", "headers": [(b"authorization", b"Bearer good")]}


def test_a_denied_websocket_is_never_accepted(placet, sidecar):
    async def app(scope, receive, send):
        raise AssertionError

    sent = drive(PlacetMiddleware(app, placet, needs), socket_scope(), [{"type": "websocket.connect"}])
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "policy.denied"}]
    assert sidecar.received[0].input["action"] == {"name": "watch"}


def test_an_allowed_websocket_is_served(placet):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})

    def watch(request):
        return {"action": "read", "resource": ("payment", request.path)}

    assert drive(PlacetMiddleware(app, placet, watch), socket_scope()) == [{"type": "websocket.accept"}]


def test_a_small_scope_is_enough(placet):
    async def app(scope, receive, send):
        raise AssertionError

    sent = drive(PlacetMiddleware(app, placet, needs), http_scope())
    assert sent[0]["status"] == 403
    assert json.loads(sent[1]["body"])["status"] == 403


def test_lifespan_passes_and_what_is_unknown_does_not(placet):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    drive(PlacetMiddleware(app, placet, needs), {"type": "lifespan"})
    assert seen == ["lifespan"]
    with pytest.raises(ConfigurationError, match="'telepathy'"):
        drive(PlacetMiddleware(app, placet, needs), {"type": "telepathy"})
    assert seen == ["lifespan"]


def test_a_denial_after_the_answer_began_is_an_error():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Denied(Decision.deny("policy.denied", "too late"))

    with pytest.raises(Denied):
        drive(PlacetMiddleware(app), http_scope())


def test_other_errors_pass_and_leave_nothing_behind():
    async def app(scope, receive, send):
        assert request_identity() == "good"
        raise ZeroDivisionError

    async def main():
        with pytest.raises(ZeroDivisionError):
            await PlacetMiddleware(app)(http_scope(headers=[(b"Authorization", b"Bearer good")]), None, None)
        with pytest.raises(Exception, match="no HTTP request"):
            request_identity()

    anyio.run(main)


def test_it_asks_about_everything_or_nothing(placet):
    for options in ({"placet": placet}, {"needs": needs}):
        with pytest.raises(ConfigurationError):
            PlacetMiddleware(None, **options)

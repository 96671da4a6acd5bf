"""What OPA's API gives to whom: a decision to anyone, everything else to the agent alone."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.shipped import shipped
from app.local.tools import installed
from bench import stand

pytestmark = pytest.mark.stack

ISSUER = stand.Issuer()

CLOSED = [
    ("POST", "/v1/data/payments/authz/decision"),
    ("GET", "/v1/data/payments/authz/decision"),
    ("GET", "/v1/data"),
    ("POST", "/v1/data"),
    ("POST", "/v1/data/placet"),
    ("POST", "/v1/data/placet/subject"),
    ("POST", "/v1/data/placet/start"),
    ("GET", "/v1/data/placet/start"),
    ("POST", "/v1/data/placet/begun"),
    ("POST", "/v1/data/placet/decision/allow"),
    ("POST", "/v1/data/placet_state"),
    ("GET", "/v1/data/placet_state"),
    ("GET", "/v1/data/placet/decision"),
    ("PUT", "/v1/data/placet/decision"),
    ("PUT", "/v1/data/placet_state"),
    ("PUT", "/v1/data/placet_state/lease"),
    ("PATCH", "/v1/data/placet_state"),
    ("PATCH", "/v1/data/placet/decision"),
    ("DELETE", "/v1/data/placet_state"),
    ("DELETE", "/v1/data/placet/decision"),
    ("DELETE", "/v1/data/system/bundles/placet"),
    ("PUT", "/v1/data/system/authz"),
    ("POST", "/v1/query"),
    ("GET", "/v1/query?q=data"),
    ("POST", "/v1/compile"),
    ("POST", "/v1/compile/placet/decision"),
    ("GET", "/v1/policies"),
    ("GET", "/v1/policies/x"),
    ("PUT", "/v1/policies/x"),
    ("DELETE", "/v1/policies/x"),
    ("POST", "/v1/batch/data/placet/decision"),
    ("GET", "/v1/config"),
    ("GET", "/v1/status"),
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("GET", "/health?bundles"),
    ("GET", "/health/live"),
    ("GET", "/debug/pprof/"),
    ("GET", "/"),
    ("POST", "/"),
    ("POST", "/v0/data/placet/decision"),
    ("POST", "/v0/data/payments/authz/decision"),
    ("OPTIONS", "/v1/data/placet/decision"),
    ("TRACE", "/v1/data/placet/decision"),
    ("post", "/v1/data/placet"),
    # Parameters change what a decision shows.
    ("POST", "/v1/data/placet/decision?explain=full"),
    ("POST", "/v1/data/placet/decision?explain"),
    ("POST", "/v1/data/placet/decision?pretty"),
    ("POST", "/v1/data/placet/decision?metrics=true"),
    ("POST", "/v1/data/placet/decision?instrument=true"),
    ("POST", "/v1/data/placet/decision?provenance=true"),
    ("POST", "/v1/data/placet/decision?%65xplain=full"),
    # Spellings of the path that some part of a server might read differently.
    ("POST", "/v1/data/placet/decision/x/.."),
    ("POST", "/v1/data/placet%2Fdecision"),
    ("POST", "/v1/data/placet/decision%2fallow"),
    ("POST", "/v1/data/placet/decision%00"),
    ("POST", "/V1/data/placet/decision"),
    ("POST", "/v1/data/placet/decision/%2e%2e/%2e%2e/payments/authz/decision"),
    ("POST", "/v1/data/placet/%2e%2e/payments/authz/decision"),
    ("POST", "/v1/data/placet/../payments/authz/decision"),
    ("POST", "//v1/data/payments/authz/decision"),
    ("POST", "/v1//data/payments/authz/decision"),
    ("POST", "/v1/data/payments/authz/decision/"),
    ("POST", "/./v1/data/payments/authz/decision"),
]


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stand.Server]:
    files = stand.composed(*stand.example("payments"))
    with stand.running(installed("opa"), files, tmp_path_factory.mktemp("opa"), options=["--pprof"]) as server:
        server.write(stand.trust_state(ISSUER))
        yield server


def raw(opa: stand.Server, method: str, target: str, headers: str = "") -> tuple[int, str]:
    """Send a request as it stands: HTTP libraries would tidy the path. Returns status and the answer."""
    body = json.dumps({"input": stand.request(ISSUER.token()), "query": "data"})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(opa.stderr.parent / "opa.sock"))
        connection.sendall(
            f"{method} {target} HTTP/1.1\r\nHost: opa\r\nContent-Length: {len(body)}\r\n{headers}"
            f"Connection: close\r\n\r\n{body}".encode()
        )
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split()[1]), answer.decode()


def follows(answer: str) -> str:
    [location] = [
        line.split(":", 1)[1].strip() for line in answer.split("\r\n") if line.lower().startswith("location:")
    ]
    return location


@pytest.mark.parametrize(("method", "target"), CLOSED)
def test_everything_but_a_decision_needs_the_agents_token(opa: stand.Server, method: str, target: str) -> None:
    status, answer = raw(opa, method, target)
    if status in (301, 307, 308):
        # OPA tidies a path before it authorizes; what it points at is closed as well.
        status, answer = raw(opa, method, follows(answer))
    assert status in (401, 404, 405, 501), answer
    assert '"result"' not in answer
    assert "placet_state" not in answer


@pytest.mark.parametrize("method", ["HEAD", "head"])
def test_head_tells_nothing(opa: stand.Server, method: str) -> None:
    status, answer = raw(opa, method, stand.DECISION)
    assert status in (401, 405)
    assert "decision_id" not in answer


@pytest.mark.parametrize(
    "headers",
    [
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer AGENT_TOKEN_SHA256\r\n",
        "Authorization: Basic YWdlbnQ6YWdlbnQ=\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer a b\r\n",
        "X-HTTP-Method-Override: POST\r\n",
        "X-Original-URL: /v1/data/placet/decision\r\n",
    ],
)
def test_a_wrong_token_opens_nothing(opa: stand.Server, headers: str) -> None:
    assert raw(opa, "GET", "/v1/status", headers)[0] == 401


def test_the_hash_of_the_token_is_not_the_token(opa: stand.Server) -> None:
    hashed = stand.digest(stand.AGENT_TOKEN.encode()).removeprefix("sha256:")
    assert raw(opa, "GET", "/v1/status", f"Authorization: Bearer {hashed}\r\n")[0] == 401


def test_anyone_may_ask_for_a_decision(opa: stand.Server) -> None:
    status, answer = raw(opa, "POST", stand.DECISION)
    assert status == 200
    assert '"result"' in answer


@pytest.mark.parametrize(
    "target",
    [
        "/v1/data/placet/decision/",
        "/v1/data/placet/decision%2f",
        "//v1/data/placet/decision",
        "/v1/data/placet//decision",
        "/v1/data/placet/%64ecision",
        # Go drops a query with a semicolon: there are no parameters, for OPA either.
        "/v1/data/placet/decision?a;explain=full",
    ],
)
def test_untidy_decision_paths_give_no_more_than_a_decision(opa: stand.Server, target: str) -> None:
    status, answer = raw(opa, "POST", target)
    assert status in (200, 301, 307, 308, 401, 404)
    if status in (301, 307, 308):
        assert follows(answer) == stand.DECISION
    if status == 200:
        assert set(json.loads(answer.split("\r\n\r\n", 1)[1])) == {"decision_id", "result"}


@pytest.mark.parametrize(
    "target", ["/v1/status", "/metrics", "/v1/config", "/health", "/v1/policies", "/v1/data/placet_state"]
)
def test_the_agent_may(opa: stand.Server, target: str) -> None:
    assert raw(opa, "GET", target, f"Authorization: Bearer {stand.AGENT_TOKEN}\r\n")[0] == 200


def test_the_template_as_shipped_admits_no_agent(tmp_path: Path) -> None:
    template = (shipped("rego") / "authz" / "authz.rego").read_text()
    assert template.count("AGENT_TOKEN_SHA256") == 2  # the comment and the rule


def test_the_filled_file_is_for_its_owner_alone(opa: stand.Server) -> None:
    written = opa.stderr.parent / "authz.rego"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stand.AGENT_TOKEN not in written.read_text()

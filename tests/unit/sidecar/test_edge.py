"""The edge over real sockets, with what stands behind it replaced. Real OPA and control plane: tests/integration."""

import json
import socket
import ssl
import threading
import time

import httpx
import jwt
import pytest

from app.core.errors import PlacetError
from app.core.reason_codes import Reason
from app.core.verification_policy import VerificationPolicy
from app.local.ports import free_port
from app.sidecar import edge_requests
from app.sidecar.answers import refused
from app.sidecar.authzen_decisions import Decisions
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.edge import Edge
from app.sidecar.edge_requests import MAX_BODY, Workers
from app.sidecar.execution_notes import Noted
from app.sidecar.executions import BadRequest, NotAdmitted, Outcome
from app.sidecar.opa_api import Answer, OpaUnavailable
from app.sidecar.pki import SidecarCA
from tests.unit.sidecar.test_answers import ALLOW, DENY
from tests.unit.sidecar.test_authzen import QUESTION

TOKEN = jwt.encode({"sub": "alice@example.com"}, "k" * 32)
STARTED = {"id": "0123456789abcdef", "token": "a.b.c", "expires_at": "2026-01-01T00:00:00Z"}


class Noting:
    """Steps and ends, as a test sets them."""

    def __init__(self):
        self.asked = []
        self.failure = None
        self.found = Noted(7, 1, "build", "sha256:" + "a" * 64)

    def step(self, execution, body):
        self.asked.append((execution, body))
        if self.failure:
            raise self.failure
        return Noted(7, 1, "build")

    def find(self, execution, number, token):
        self.asked.append((execution, number, token))
        return self.found

    def end(self, execution, body):
        self.asked.append((execution, body))
        return "completed"


class World:
    """What stands behind the edge."""

    def __init__(self, directory):
        files = SidecarFiles(directory)
        files.prepare()
        self.config = SidecarConfig(
            "payments", "prod", "one", "http://127.0.0.1:1", VerificationPolicy(identities=[]), files,
            edge_port=free_port(),
        )  # fmt: skip
        ca = SidecarCA.open(files.private / "ca.key", files.ca)
        self.lease = True
        self.outcome = Outcome(ALLOW, STARTED, "d-1")
        self.failure = None
        self.waiting = threading.Event()
        self.waiting.set()
        self.asked = []
        self.answers = []
        self.steps = Noting()
        self.edge = Edge(self.config, ca, self, Decisions(lambda: self), lambda: self.lease, self.steps)
        self.edge.start()
        context = ssl.create_default_context(cafile=str(files.ca))
        self.http = httpx.Client(
            base_url=f"https://127.0.0.1:{self.config.edge_port}", verify=context, trust_env=False, timeout=20
        )

    def start(self, request, workflow=None):
        self.asked.append(request)
        self.waiting.wait(10)
        if self.failure:
            raise self.failure
        return self.outcome

    def renew(self, execution, token):
        self.asked.append((execution, token))
        return self.outcome

    def ask(self, path, request):
        self.asked.append((path, request))
        if self.failure:
            raise self.failure
        result = (
            self.answers.pop(0) if self.answers else {**ALLOW, "subject": {"issuer": "i", "id": "alice@example.com"}}
        )
        return result if isinstance(result, Answer) else Answer(200, json.dumps({"result": result}).encode())

    def post(self, path, body=None, content=None, **headers):
        content = json.dumps(body).encode() if content is None else content
        given = {"Content-Type": "application/json", **headers}
        return self.http.post(path, content=content, headers=given)

    def evaluate(self, body=QUESTION, path="/access/v1/evaluation", **headers):
        return self.post(path, body, **{"Authorization": f"Bearer {TOKEN}", **headers})


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "sidecar")
    yield world
    world.waiting.set()
    world.http.close()
    world.edge.stop()


def test_a_start(world):
    answer = world.post("/v1/executions", {"input": {"action": {"name": "read"}}})
    assert answer.status_code == 200
    assert answer.json() == {"execution": STARTED, "decision": ALLOW, "decision_id": "d-1"}
    assert world.asked == [{"action": {"name": "read"}}]


def test_a_denied_start(world):
    world.outcome = Outcome(DENY, None, "d-2")
    answer = world.post("/v1/executions", {"input": {}})
    assert (answer.status_code, answer.json()) == (403, {"decision": DENY, "decision_id": "d-2"})


def test_a_renewal(world):
    world.outcome = Outcome(None, STARTED)
    answer = world.post("/v1/executions/0123456789abcdef/renew", {"token": "a.b.c"})
    assert (answer.status_code, answer.json()) == (200, {"execution": STARTED})
    assert world.asked == [("0123456789abcdef", "a.b.c")]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"junk", 400),
        (b"[]", 400),
        (b'{"input": {}, "input": {"a": 1}}', 400),
        (b'{"input": {"a": {"b": 1, "b": 2}}}', 400),
        (b'{"input": {"a": "\xff"}}', 400),
        (b'{"input": {"a": "\\ud800"}}', 400),
        (b'\xef\xbb\xbf{"input": {}}', 400),
        (b'{"input": {"a": NaN}}', 400),
        (b'{"input": {"a": 1e400}}', 400),
        (b'{"input":' + b'{"a":' * 70 + b"1" + b"}" * 71, 400),
        (b'{"input":' + b"[" * 90_000, 400),
        (b'{"input": 1}', 400),
        (b'{"input": {}, "more": 1}', 400),
        (b'{"x": 1}', 400),
        (b'{"input": {"a": "' + b"x" * MAX_BODY + b'"}}', 413),
    ],
)
def test_bad_bodies_reach_nobody(world, content, status):
    for path in ("/v1/executions", "/v1/executions/0123456789abcdef/renew"):
        answer = world.post(path, content=content)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"] == "request.malformed"
    for path in ("/access/v1/evaluation", "/access/v1/evaluations"):
        answer = world.post(path, content=content, Authorization=f"Bearer {TOKEN}")
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/plain")
        assert len(answer.text.splitlines()) == 1
    assert world.asked == []


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": "text/plain"}, {"Content-Type": "application/x-yaml"}, {"Content-Encoding": "gzip"}],
)
def test_other_kinds_of_body(world, headers):
    assert world.post("/v1/executions", {"input": {}}, **headers).status_code == 415
    assert world.asked == []


def test_a_body_in_pieces_is_bounded(world):
    def endless():
        while True:
            yield b" " * 8192

    try:
        answer = world.http.post("/v1/executions", content=endless(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
    except httpx.HTTPError:
        pass  # the connection ended before the answer was read
    assert world.asked == []


def test_a_body_that_does_not_come(world, monkeypatch):
    monkeypatch.setattr(edge_requests, "BODY_TIMEOUT", 0.2)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(world.config.files.edge_socket))
        slow.settimeout(5)
        slow.sendall(
            b"POST /v1/executions HTTP/1.1\r\nHost: edge\r\n"
            b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        received = b""
        while piece := slow.recv(4096):
            received += piece
    assert received.startswith(b"HTTP/1.1 400 ")
    assert world.asked == []


def test_a_request_of_another_form(world):
    world.failure = BadRequest("an execution's id has 16 to 64 letters")
    answer = world.post("/v1/executions", {"input": {}})
    assert (answer.status_code, answer.json()["detail"]) == (400, "an execution's id has 16 to 64 letters")


def test_whatever_fails_denies(world):
    world.failure = RuntimeError("a bug")
    answer = world.post("/v1/executions", {"input": {}})
    assert answer.status_code == 403
    assert answer.json() == {"decision": refused("agent.failed")}
    answer = world.evaluate()
    assert (answer.status_code, answer.text) == (500, "agent.failed: the sidecar failed")


def test_who_comes_when_all_are_busy_comes_again(world):
    world.edge._workers = Workers(2)
    world.waiting.clear()
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(world.post("/v1/executions", {"input": {}}).status_code))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while len(world.asked) < 2:
        time.sleep(0.01)
    answer = world.post("/v1/executions", {"input": {}})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["reason"] == "sidecar.unreachable"
    world.waiting.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    assert world.post("/v1/executions", {"input": {}}).status_code == 200


def test_no_answer_in_time(world, monkeypatch):
    monkeypatch.setattr(edge_requests, "TIMEOUT", 0.2)
    world.edge._workers = Workers(1)
    world.waiting.clear()
    assert world.post("/v1/executions", {"input": {}}).status_code == 503
    assert world.post("/v1/executions", {"input": {}}).json()["detail"] == "the sidecar is busy", "still at work"
    world.waiting.set()
    monkeypatch.setattr(edge_requests, "TIMEOUT", 10.0)
    deadline = time.monotonic() + 5
    while world.post("/v1/executions", {"input": {}}).status_code != 200:
        assert time.monotonic() < deadline


def test_health_is_the_lease(world):
    assert world.http.get("/healthz").status_code == 200
    world.lease = False
    assert world.http.get("/healthz").status_code == 503


def test_other_paths_and_methods(world):
    assert world.http.get("/v1/executions").status_code == 405
    assert world.http.get("/v1/data").status_code == 404
    assert world.http.get("/").status_code == 404


def test_it_is_known_by_the_sidecars_ca_alone(world):
    address = f"https://127.0.0.1:{world.config.edge_port}/healthz"
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)
    with pytest.raises(httpx.HTTPError):
        httpx.get(address.replace("https", "http"), trust_env=False)


def test_the_same_over_the_unix_socket(world):
    path = world.config.files.edge_socket
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://edge") as local:
        assert local.post("/v1/executions", json={"input": {}}).status_code == 200


def test_a_handshake_that_is_not_finished_is_cut(world):
    with socket.create_connection(("127.0.0.1", world.config.edge_port), timeout=60) as idle:
        began = time.monotonic()
        assert idle.recv(1) == b""
        assert time.monotonic() - began < 40, "asyncio's own limit is a minute"


def test_a_port_that_is_taken(world):
    with pytest.raises(PlacetError, match="--edge-port"):
        Edge(world.config, world.edge._ca, world, Decisions(lambda: world), lambda: True).start()


def test_a_stopped_edge_frees_its_port(world):
    world.edge.stop()
    socket.create_server(("127.0.0.1", world.config.edge_port)).close()


# ---- AuthZEN ---------------------------------------------------------------------------------------------------


def test_an_evaluation(world):
    answer = world.evaluate(**{"X-Request-ID": "bfe9eb29"})
    assert (answer.status_code, answer.json()) == (200, {"decision": True})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "bfe9eb29"
    [(path, request)] = world.asked
    assert path == "placet/decision"
    assert request["identity"] == {"token": TOKEN}


def test_a_denial_is_an_answer(world):
    world.answers = [DENY]
    answer = world.evaluate()
    assert (answer.status_code, answer.json()) == (200, {"decision": False, "context": {"reasons": DENY["reasons"]}})


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic YTpi", TOKEN, "Bearer " + "x" * 20_000])
def test_without_a_token(world, authorization):
    for path in ("/access/v1/evaluation", "/access/v1/evaluations"):
        answer = world.evaluate(path=path, **{"Authorization": authorization, "X-Request-ID": "1"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["x-request-id"] == "1"
    assert world.asked == []


def test_a_token_that_is_not_accepted(world):
    reasons = [{"code": "identity.expired", "message": "The token has expired."}]
    denied = {**DENY, "subject": None, "reasons": reasons}
    world.answers = [denied, denied]
    answer = world.evaluate()
    assert (answer.status_code, answer.text) == (401, "identity.expired: The token has expired.")
    batch = {**QUESTION, "evaluations": [{}, {}]}
    assert world.evaluate(batch, "/access/v1/evaluations").status_code == 401


def test_a_required_attribute_is_missing(world):
    answer = world.evaluate({"subject": QUESTION["subject"]}, **{"X-Request-ID": "2"})
    assert (answer.status_code, answer.text) == (400, "request.malformed: action is missing or not an object")
    assert answer.headers["x-request-id"] == "2"
    assert world.asked == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(500, b"{}"), 500),
        (Answer(200, b"{}"), 500),
        (Answer(400, b"{}"), 400),
        ({**ALLOW, "allow": 1}, 500),
        ({**ALLOW, "subject": {"issuer": "i", "id": "somebody else"}}, 500),
        ({**ALLOW, "subject": None}, 500),
    ],
)
def test_doubt_about_the_answer_is_an_error_and_in_a_batch_a_denial(world, answer, status):
    world.answers = [answer]
    assert world.evaluate().status_code == status
    world.answers = [answer]
    batch = world.evaluate({**QUESTION, "evaluations": [{}, {}]}, "/access/v1/evaluations")
    assert batch.status_code == 200
    first, second = batch.json()["evaluations"]
    assert (first["decision"], first["context"]["error"]["status"]) == (False, status)
    assert second == {"decision": True}


def test_opa_is_gone(world):
    world.failure = OpaUnavailable("gone")
    assert world.evaluate().status_code == 500
    batch = world.evaluate({**QUESTION, "evaluations": [{}]}, "/access/v1/evaluations")
    assert batch.json()["evaluations"][0]["decision"] is False


@pytest.mark.parametrize(
    ("semantic", "allowed", "decisions"),
    [
        ("execute_all", [True, False, True], [True, False, True]),
        ("deny_on_first_deny", [True, False, True], [True, False]),
        ("permit_on_first_permit", [False, True, True], [False, True]),
        ("permit_on_first_permit", [False, False, False], [False, False, False]),
        ("deny_on_first_deny", [True, True, True], [True, True, True]),
    ],
)
def test_semantics_of_several(world, semantic, allowed, decisions):
    allow = {**ALLOW, "subject": {"issuer": "i", "id": "alice@example.com"}}
    world.answers = [allow if one else DENY for one in allowed]
    batch = {**QUESTION, "evaluations": [{}, {}, {}], "options": {"evaluations_semantic": semantic}}
    answer = world.evaluate(batch, "/access/v1/evaluations")
    assert [one["decision"] for one in answer.json()["evaluations"]] == decisions
    assert len(world.asked) == len(decisions), "what is not evaluated leaves no record"


def test_several_in_the_single_form(world):
    assert world.evaluate(QUESTION, "/access/v1/evaluations").json() == {"decision": True}


def test_a_malformed_one_among_several_asks_nobody(world):
    batch = {"evaluations": [QUESTION, {"action": {}}, QUESTION]}
    answers = world.evaluate(batch, "/access/v1/evaluations").json()["evaluations"]
    assert [one["decision"] for one in answers] == [True, False, True]
    assert answers[1]["context"]["error"] == {
        "status": 400,
        "message": "request.malformed: subject is missing or not an object",
    }
    assert len(world.asked) == 2


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_configuration_names_the_address_that_was_asked(world, name):
    base = f"https://{name}:{world.config.edge_port}"
    answer = world.http.get(f"{base}/.well-known/authzen-configuration", headers={"X-Request-ID": "3"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "3"
    assert answer.json() == {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
    }


def test_the_configuration_names_nobody_elses_address(world):
    answer = world.http.get("/.well-known/authzen-configuration", headers={"Host": "evil.example"})
    assert answer.json()["policy_decision_point"] == f"https://127.0.0.1:{world.config.edge_port}"


STEPS = "/v1/executions/0123456789abcdef/steps"


def test_steps_and_ends(world):
    body = {"token": "a.b.c", "step": {"name": "build"}}
    answer = world.post(STEPS, body)
    noted = {"execution": "0123456789abcdef", "number": "7", "steps": "1", "name": "build"}
    assert (answer.status_code, answer.json()) == (200, {"step": noted})
    found = world.http.get(f"{STEPS}/7", headers={"Authorization": "Bearer a.b.c"})
    assert (found.status_code, found.json()) == (200, {"step": {**noted, "digest": "sha256:" + "a" * 64}})
    ended = world.post("/v1/executions/0123456789abcdef/end", {"token": "a.b.c", "outcome": "completed"})
    assert ended.json() == {"execution": {"id": "0123456789abcdef", "outcome": "completed"}}
    assert world.steps.asked == [
        ("0123456789abcdef", body),
        ("0123456789abcdef", "7", "a.b.c"),
        ("0123456789abcdef", {"token": "a.b.c", "outcome": "completed"}),
    ]


def test_steps_that_are_refused(world):
    world.steps.failure = NotAdmitted(Reason.EXECUTION_ENDED, {"execution": "0123456789abcdef"})
    answer = world.post(STEPS, {})
    assert (answer.status_code, answer.json()["decision"]["reasons"][0]["code"]) == (403, "execution.ended")
    world.steps.failure = BadRequest("step.name is not of the accepted form")
    answer = world.post(STEPS, {})
    assert (answer.status_code, answer.json()["reason"]) == (400, "request.malformed")
    world.steps.failure = RuntimeError("anything")
    answer = world.post(STEPS, {})
    assert (answer.status_code, answer.json()["decision"]["reasons"][0]["code"]) == (403, "agent.failed")
    world.steps.found = None
    answer = world.http.get(f"{STEPS}/8", headers={"Authorization": "Bearer a.b.c"})
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
    for headers in ({}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
        assert world.http.get(f"{STEPS}/7", headers=headers).status_code == 401


def test_a_start_in_a_workflow(world):
    world.start = lambda request, workflow=None: world.asked.append((request, workflow)) or world.outcome
    assert world.post("/v1/executions", {"input": {}, "workflow": "release"}).status_code == 200
    assert world.asked == [({}, "release")]
    for wrong in ({"input": {}, "workflow": 1}, {"workflow": "release"}, {"input": {}, "flow": "release"}):
        assert world.post("/v1/executions", wrong).status_code == 400

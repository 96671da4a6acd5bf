"""`placet execution` against an edge that says anything: only a whole yes gives a token."""

import http.server
import json
import socketserver
import threading

import pytest

from app.core.errors import Denied, PlacetError, UsageError
from cli import edge, execution
from cli.output import Output

DECISION = {"allow": True, "reasons": [], "obligations": []}
STARTED = {"id": "e-1", "token": "a.b.c", "expires_at": "2026-01-01T00:00:00Z"}
REFUSAL = {
    "allow": False,
    "reasons": [
        {"code": "policy:too_much", "message": "too much"},
        {"code": "warrant.spent", "message": "The warrant has no uses left."},
    ],
    "obligations": [],
}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """Run a start against an edge that answers with this status and body; what was sent stands in `asked`."""
    servers, identity = [], tmp_path / "id.jwt"
    identity.write_text("i.d.t\n")
    asked = []

    def start(status, body, out=None, **more):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def address_string(self):
                return "socket"

            def log_message(self, *_):
                pass

        monkeypatch.chdir(tmp_path)  # a unix socket's path may have 107 bytes at most
        name = f"edge-{len(servers)}.sock"
        server = Server(name, Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        given = {"edge": None, "ca": None, "output": Output.JSON, "context": None, "warrant": None, "key": None}
        given |= {"passphrase_file": None, "execution": None, "identity_token": identity}
        execution.start("read", "payment/p-1", out=out, socket=tmp_path / name, **(given | more))

    start.asked = asked
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_whole_yes_is_printed_and_its_token_kept(answering, tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text("the one before")
    answering(200, {"execution": STARTED, "decision": DECISION}, token)
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"execution": {"id": "e-1", "expires_at": STARTED["expires_at"]}, "decision": DECISION}
    assert token.read_text() == "a.b.c\n"
    assert token.stat().st_mode & 0o777 == 0o600
    sent = {
        "action": {"name": "read"},
        "resource": {"type": "payment", "id": "p-1"},
        "identity": {"token": "i.d.t"},
    }
    assert answering.asked == [("/v1/executions", {"input": sent})]


NO = {
    "a refusal": (403, {"decision": REFUSAL}, Denied, "warrant.spent"),
    "a refusal that says yes": (403, {"decision": DECISION}, Denied, "decision.malformed"),
    "a refusal with a token": (403, {"decision": REFUSAL, "execution": STARTED}, Denied, "warrant.spent"),
    "a yes that says no": (200, {"decision": REFUSAL, "execution": STARTED}, Denied, "warrant.spent"),
    "a yes without an execution": (200, {"decision": DECISION}, Denied, "decision.malformed"),
    "a yes without a token": (200, {"decision": DECISION, "execution": {"id": "e"}}, Denied, "decision.malformed"),
    "a token that is no text": (
        200,
        {"decision": DECISION, "execution": STARTED | {"token": 1}},
        Denied,
        "decision.malformed",
    ),
    "a yes without a decision": (200, {"execution": STARTED}, Denied, "decision.malformed"),
    "nothing": (403, {}, Denied, "decision.malformed"),
    "a decision that is no object": (403, {"decision": [1]}, Denied, "decision.malformed"),
    "a problem with a reason": (503, {"detail": "no OPA", "reason": "opa.stopped"}, Denied, "opa.stopped"),
    "a problem": (400, {"detail": "send {input}"}, PlacetError, "send"),
    "a problem with another reason": (429, {"title": "Too many", "reason": "x"}, PlacetError, "Too many"),
    "text": (200, b"ok", PlacetError, "without a document"),
    "a redirect": (307, b"", PlacetError, "without a document"),
    "members twice": (200, b'{"execution": {}, "execution": {}}', PlacetError, "without a document"),
    "too much": (200, b" " * 600_000, PlacetError, "more than"),
}


@pytest.mark.parametrize(("status", "body", "kind", "said"), NO.values(), ids=NO)
def test_everything_else_is_a_no(answering, tmp_path, status, body, kind, said):
    token = tmp_path / "token"
    with pytest.raises(kind, match=said):
        answering(status, body, token)
    assert not token.exists()


def test_a_policys_own_reasons_are_said_too(answering, capsys):
    with pytest.raises(Denied, match=r"warrant\.spent"):
        answering(403, {"decision": REFUSAL})
    assert "also: policy:too_much: too much" in capsys.readouterr().err


def test_nobody_there_is_one_clear_line(tmp_path):
    with pytest.raises(PlacetError, match="cannot reach the sidecar"), edge.connect(None, None, tmp_path / "no") as no:
        no.post("/v1/executions", {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((None, None, None), "say where"),
        (("https://127.0.0.1:1", None, None), "say where"),
        (("http://127.0.0.1:1", "ca.pem", None), "without TLS"),
        (("https://127.0.0.1:1", "ca.pem", "edge.sock"), "not both"),
        (("https://127.0.0.1:1", "missing.pem", None), "cannot read the CA"),
    ],
)
def test_an_edge_is_named_whole(options, said):
    with pytest.raises(UsageError, match=said):
        edge.connect(*options)


def test_a_request_without_an_identity_is_not_sent(answering, monkeypatch):
    monkeypatch.delenv("PLACET_WORKLOAD_TOKEN", raising=False)
    with pytest.raises(UsageError, match="PLACET_WORKLOAD_TOKEN"):
        answering(200, {}, identity_token=None)
    monkeypatch.setenv("PLACET_WORKLOAD_TOKEN", "from.the.environment")
    answering(200, {"execution": STARTED, "decision": DECISION}, identity_token=None)
    assert answering.asked[-1][1]["input"]["identity"] == {"token": "from.the.environment"}

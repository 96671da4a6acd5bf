"""`placet execution step` and `end` against an edge that says anything."""

import hashlib
import http.server
import json
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.core.errors import Denied, PlacetError, UsageError
from cli import execution_steps
from cli.output import Output

ID = "018f3c5e7a2b4c6d8e"
DIGEST = "sha256:" + "a" * 64
STEP = {"execution": ID, "number": "7", "steps": "1", "name": "build"}
REFUSAL = {
    "allow": False,
    "reasons": [{"code": "workflow.violated", "message": "The execution left its workflow."}],
    "obligations": [],
}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def edge(tmp_path, monkeypatch):
    """Answers with what `says` holds for a method, the last for ever; notes what is asked."""
    monkeypatch.chdir(tmp_path)  # a unix socket's path may have 107 bytes at most
    (tmp_path / "token").write_text("e.x.e\n")
    says = {"POST": [(200, {"step": STEP})], "GET": [(200, {"step": STEP | {"digest": DIGEST}})]}
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            length = int(self.headers.get("Content-Length", 0))
            asked.append((self.path, json.loads(self.rfile.read(length) or "null"), self.headers.get("Authorization")))
            answers = says[self.command]
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = answer

        def address_string(self):
            return "socket"

        def log_message(self, *_):
            pass

    with Server("edge.sock", Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield says, asked
        server.shutdown()


def step(*command, execution=ID, name="build", output=Output.JSON, **more):
    execution_steps.step(
        execution,
        Path("token"),
        name,
        list(command),
        edge=None,
        ca=None,
        socket=Path("edge.sock"),
        output=output,
        **more,
    )


def end(outcome="completed"):
    execution_steps.end(ID, Path("token"), outcome, edge=None, ca=None, socket=Path("edge.sock"), output=Output.JSON)


def sha256(raw):
    return {"sha256": hashlib.sha256(raw).hexdigest()}


def test_a_step(edge, capfd):
    _, asked = edge
    Path("in").write_bytes(b"in")
    step(
        material=["source=in", f"base={DIGEST}"],
        product=["out=in"],
        decision=["d-1"],
        parent=[DIGEST],
        fact=["why=because=so"],
    )
    assert json.loads(capfd.readouterr().out) == STEP
    told = {
        "name": "build",
        "materials": [{"name": "source", "digest": sha256(b"in")}, {"name": "base", "digest": {"sha256": "a" * 64}}],
        "products": [{"name": "out", "digest": sha256(b"in")}],
        "decisions": ["d-1"],
        "parents": [DIGEST],
        "facts": {"why": "because=so"},
    }
    assert asked == [(f"/v1/executions/{ID}/steps", {"token": "e.x.e", "step": told}, None)]


def test_a_command_runs_between_its_materials_and_its_products(edge, capfd):
    _, asked = edge
    Path("data").write_text("old")
    program = "print('said', flush=True); open('data', 'w').write('new'); open('token', 'w').write('n.e.w')"
    step(sys.executable, "-c", program, material=["data=data"], product=["data=data"])
    out, err = capfd.readouterr()
    assert json.loads(out) == STEP
    assert "said" in err
    _, body, _ = asked[0]
    assert body["token"] == "n.e.w", "a renewal while the command ran was not seen"
    assert body["step"]["materials"] == [{"name": "data", "digest": sha256(b"old")}]
    assert body["step"]["products"] == [{"name": "data", "digest": sha256(b"new")}]
    assert body["step"]["command"] == [sys.executable, "-c", program]
    assert body["step"]["facts"] == {"exit_code": "0"}


def test_a_command_that_fails_is_noted_without_what_it_did_not_make(edge, capfd):
    _, asked = edge
    with pytest.raises(PlacetError, match="exit code 3; the step is noted") as caught:
        step(sys.executable, "-c", "raise SystemExit(3)", product=["out=none", f"other={DIGEST}"])
    assert caught.value.exit_code == 1
    assert asked[0][1]["step"]["facts"] == {"exit_code": "3"}
    assert [one["name"] for one in asked[0][1]["step"]["products"]] == ["other"]
    out, err = capfd.readouterr()
    assert json.loads(out) == STEP
    assert "none is not there" in err


def test_a_command_that_a_signal_ends(edge):
    _, asked = edge
    with pytest.raises(PlacetError, match="exit code -9"):
        step(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert asked[0][1]["step"]["facts"] == {"exit_code": "-9"}


def test_a_product_that_was_not_made_is_not_noted(edge):
    _, asked = edge
    with pytest.raises(PlacetError, match="none: No such file or directory; the step is not noted") as caught:
        step(sys.executable, "-c", "", product=["out=none"])
    assert caught.value.exit_code == 1
    assert not asked


def test_waiting_for_the_digest(edge, capfd, monkeypatch):
    says, asked = edge
    monkeypatch.setattr(execution_steps, "_PAUSE", 0.01)
    says["GET"] = [(200, {"step": STEP | {"digest": None}}), *says["GET"]]
    step(wait=True)
    assert json.loads(capfd.readouterr().out) == STEP | {"digest": DIGEST}
    assert asked[1:] == [(f"/v1/executions/{ID}/steps/7", None, "Bearer e.x.e")] * 2


def test_a_digest_that_does_not_come(edge, monkeypatch):
    says, _ = edge
    monkeypatch.setattr(execution_steps, "_PAUSE", 0.01)
    monkeypatch.setattr(execution_steps, "_FINAL_AFTER", 0.1)
    says["GET"] = [(200, {"step": STEP | {"digest": None}})]
    with pytest.raises(PlacetError, match="noted, but was not final"):
        step(wait=True)
    says["GET"] = [(200, {"step": STEP | {"digest": "sha256:00"}})]
    with pytest.raises(Denied, match=r"decision\.malformed"):
        step(wait=True)


WRONG = {
    "no program": (["no-such-program"], {}, "cannot run no-such-program: No such file or directory"),
    "a zero byte": (["a\0b"], {}, "null byte"),
    "an option that is none": (["--materail", "a=b"], {}, "there is no option --materail"),
    "a long command": (["x"] * 65, {}, "up to 64 words"),
    "a missing material": ([], {"material": ["a=none"]}, "cannot read none: No such file"),
    "a directory": ([], {"product": ["a=."]}, "cannot read .: Is a directory"),
    "no name": ([], {"material": ["none"]}, "--material is NAME=FILE"),
    "an empty name": ([], {"product": ["=none"]}, "--product is NAME=FILE"),
    "a name twice": ([], {"material": [f"a={DIGEST}"] * 2}, "each name once"),
    "a name that a terminal obeys": ([], {"material": [f"\x1b[2J={DIGEST}"]}, "a terminal would obey"),
    "a step's name": ([], {"name": "a b"}, "--name"),
    "an id": ([], {"execution": "short"}, "EXECUTION has 16"),
    "a fact": ([], {"fact": ["x"]}, "--fact is NAME=TEXT"),
    "many facts": ([], {"fact": [f"a{at}=" for at in range(17)]}, "up to 16"),
    "the command's fact": (["true"], {"fact": ["exit_code=0"]}, "the command's own"),
}


@pytest.mark.parametrize(("command", "options", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_before_anything_is_noted(edge, command, options, said):
    with pytest.raises(UsageError, match=said):
        step(*command, **options)
    assert not edge[1]


def test_nothing_runs_without_a_token_and_an_edge(edge):
    touch = [sys.executable, "-c", "open('ran', 'w')"]
    Path("token").write_text("")
    with pytest.raises(UsageError, match="token is empty"):
        step(*touch)
    with pytest.raises(UsageError, match="--product is NAME=FILE"):
        step(*touch, product=["out"])
    Path("token").write_text("e.x.e")
    with pytest.raises(UsageError, match="say where the sidecar is"):
        execution_steps.step(ID, Path("token"), "build", touch, edge=None, ca=None, socket=None)
    assert not Path("ran").exists()


NO = {
    "a denial": (403, {"decision": REFUSAL}, Denied, r"workflow\.violated"),
    "a denial that allows": (403, {"decision": REFUSAL | {"allow": True}}, Denied, r"decision\.malformed"),
    "nothing": (403, {}, Denied, r"decision\.malformed"),
    "a problem with a reason": (503, {"detail": "none", "reason": "lineage.unavailable"}, Denied, r"lineage\.unavail"),
    "a bad request": (400, {"detail": "d-9 is not of it"}, PlacetError, "d-9 is not of it"),
    "no step": (200, {}, Denied, r"decision\.malformed"),
    "another execution": (200, {"step": STEP | {"execution": "other"}}, Denied, r"decision\.malformed"),
    "another step": (200, {"step": STEP | {"name": "other"}}, Denied, r"decision\.malformed"),
    "no number": (200, {"step": STEP | {"number": 7}}, Denied, r"decision\.malformed"),
}


@pytest.mark.parametrize(("status", "body", "kind", "said"), NO.values(), ids=NO)
def test_everything_else_is_a_no(edge, capfd, status, body, kind, said):
    edge[0]["POST"] = [(status, body)]
    with pytest.raises(kind, match=said):
        step()
    assert json.loads(capfd.readouterr().out or "null") != STEP


def test_an_end(edge, capfd):
    says, asked = edge
    says["POST"] = [(200, {})]
    end("failed")
    assert json.loads(capfd.readouterr().out) == {"execution": ID, "outcome": "failed"}
    assert asked == [(f"/v1/executions/{ID}/end", {"token": "e.x.e", "outcome": "failed"}, None)]
    says["POST"] = [(403, {"decision": REFUSAL})]
    with pytest.raises(Denied, match=r"workflow\.violated"):
        end()
    says["POST"] = [(503, {"detail": "none", "reason": "lineage.unavailable"})]
    with pytest.raises(Denied, match=r"lineage\.unavailable"):
        end()


def test_the_command_as_people_give_it(edge):
    """What follows `--` is the command's, whatever it looks like; before it a mistyped option runs nothing."""
    placet = Path(sys.executable).with_name("placet")
    options = ["--token", "token", "--socket", "edge.sock"]
    command = [sys.executable, "-c", "import sys; sys.exit(len(sys.argv))", "--name", "x"]
    done = subprocess.run(
        [placet, "execution", "step", ID, "--name", "build", *options, "--", *command], capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert edge[1][0][1]["step"]["command"] == command
    assert edge[1][0][1]["step"]["facts"] == {"exit_code": "3"}
    assert "exit code 3" in done.stderr
    mistyped = [placet, "execution", "step", ID, "--name", "build", "--materail", "a=b", *options, "--", "true"]
    done = subprocess.run(mistyped, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "there is no option --materail" in done.stderr
    assert len(edge[1]) == 1

"""Steps and ends against an edge that says anything: nothing is taken for noted that the sidecar did not say so."""

import hashlib
import json
import time
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from placet_sdk import ConfigurationError, Decision, Denied
from tests.unit.sdk.fake import codes_of, http, in_seconds, result
from tests.unit.sdk.test_execution import TOKEN, run, started

A, B = ("sha256:" + letter * 64 for letter in "ab")


def sha256(raw):
    return hashlib.sha256(raw).hexdigest()


class Edge:
    """Starts, notes and ends, unless told to answer otherwise; the n-th look for a digest finds one."""

    def __init__(self, step=None, look=None, end=None, final_at=1):
        self.answers = {"step": step, "look": look, "end": end}
        self.final_at, self.looks, self.steps = final_at, 0, 0

    def __call__(self, connection, received):
        kind, answer = self.answer(received)
        connection.sendall(self.answers.get(kind) or answer)

    def answer(self, received):
        match received.path.split("/")[3:]:
            case []:
                return "start", started(received)
            case [execution, "steps"]:
                self.steps += 1
                name = json.loads(received.body)["step"]["name"]
                return "step", http(200, json.dumps({"step": self.told(execution, name)}).encode())
            case [execution, "steps", number]:
                self.looks += 1
                told = self.told(execution, "build") | {"number": number}
                digest = A if self.looks >= self.final_at else None
                return "look", http(200, json.dumps({"step": told | {"digest": digest}}).encode())
        return "end", http(200, b"{}")

    def told(self, execution, name):
        return {"execution": execution, "number": str(6 + self.steps), "steps": str(self.steps), "name": name}


def denial(code):
    return http(403, json.dumps({"decision": result(False, reasons=[{"code": code, "message": "no"}])}).encode())


def problem(status, reason, detail="said so"):
    return http(status, json.dumps({"status": status, "reason": reason, "detail": detail}).encode())


def test_a_step(client, sidecar, tmp_path):
    sidecar.behaviour = Edge(final_at=3)
    file = tmp_path / "out.bin"
    file.write_bytes(b"made" * 100_000)
    decision = Decision(True, decision_id="d-2")

    def work(execution, wait):
        first = wait(execution.step("build"))
        second = wait(
            execution.step(
                "build",
                command=["make", "all"],
                materials={"source": A, "text": b"abc"},
                products={"out": file},
                decisions=["d-1", decision],
                parents=[B],
                facts={"exit_code": "0"},
            )
        )
        assert (first.number, first.steps, first.name, first.execution) == ("7", 1, "build", "e-7")
        assert (second.number, second.steps) == ("8", 2)
        assert wait(second.digest()) == A
        assert TOKEN not in repr(second)

    run(client, work, id="e-7")
    _, first, second, *looks, end = sidecar.received
    assert first.path == second.path == "/v1/executions/e-7/steps"
    sent = [json.loads(one.body) for one in (first, second)]
    keys = {one["step"].pop("key") for one in sent}
    assert len(keys) == 2, "each step has its own, unless it is given"
    assert sent[0] == {"token": TOKEN, "step": {"name": "build"}}
    assert sent[1]["step"] == {
        "name": "build",
        "command": ["make", "all"],
        "materials": [
            {"name": "source", "digest": {"sha256": "a" * 64}},
            {"name": "text", "digest": {"sha256": sha256(b"abc")}},
        ],
        "products": [{"name": "out", "digest": {"sha256": sha256(b"made" * 100_000)}}],
        "decisions": ["d-1", "d-2"],
        "parents": [B],
        "facts": {"exit_code": "0"},
    }
    assert {one.path for one in looks} == {"/v1/executions/e-7/steps/8"}
    assert [one.headers["authorization"] for one in looks] == [f"Bearer {TOKEN}"] * 3
    assert end.path == "/v1/executions/e-7/end"


@pytest.mark.parametrize("key", [None, "nightly.7"])
def test_a_step_that_is_not_answered_is_sent_once_more_under_its_key(client, sidecar, key):
    edge = Edge()

    def behaviour(connection, received):
        if received.path.endswith("/steps") and edge.steps == 0:
            edge.answer(received)
            sidecar.hang_up(connection, received)
        else:
            edge(connection, received)

    sidecar.behaviour = behaviour

    def work(execution, wait):
        assert wait(execution.step("build", key=key)).steps == 2  # this edge keeps no keys, and noted both

    run(client, work)
    first, second = (json.loads(one.body) for one in sidecar.received if one.path.endswith("/steps"))
    assert first == second
    assert key is None or first["step"]["key"] == key


def test_a_step_that_is_never_answered_was_sent_twice(client, sidecar):
    edge = Edge()
    sidecar.behaviour = lambda *asked: (sidecar.hang_up if "/steps" in asked[1].path else edge)(*asked)
    refused(client, "sidecar.unreachable")
    assert sum(one.path.endswith("/steps") for one in sidecar.received) == 2


def refused(client, code, *args, message=None, **step):
    """A step that is denied with this code; what it is given, and how the execution ended."""

    def work(execution, wait):
        with pytest.raises(Denied, match=message) as caught:
            wait(execution.step(*(args or ["build"]), **step))
        assert codes_of(caught.value.decision) == [code]
        wait(execution.end("failed"))

    run(client, work)


NO = {
    "a denial": (denial("workflow.violated"), "workflow.violated"),
    "an allow that denies": (http(403, json.dumps({"decision": result()}).encode()), "decision.malformed"),
    "a denial of another form": (http(403, b'{"decision": {}}'), "decision.malformed"),
    "nothing": (http(403, b"{}"), "decision.malformed"),
    "no JSON": (http(403, b"<html>"), "decision.malformed"),
    "a problem": (problem(503, "lineage.unavailable"), "lineage.unavailable"),
    "a problem of 403": (problem(403, "execution.ended"), "execution.ended"),
    "a bad request": (problem(400, "request.malformed", "d-9 is not this execution's"), "request.malformed"),
    "a problem without a reason": (http(400, b"{}"), "request.malformed"),
    "a reason that is none": (problem(400, "<b>"), "request.malformed"),
    "busy": (http(503, b""), "sidecar.unreachable"),
    "not found": (http(404, b""), "decision.malformed"),
    "a redirect": (http(307, b""), "decision.malformed"),
    "accepted": (http(202, b"{}"), "decision.malformed"),
    "a yes without a step": (http(200, b"{}"), "decision.malformed"),
    "no object": (http(200, b"[]"), "decision.malformed"),
}


@pytest.mark.parametrize(("raw", "code"), NO.values(), ids=NO)
def test_what_is_no_yes_was_not_noted(client, sidecar, raw, code):
    sidecar.behaviour = Edge(step=raw)
    refused(client, code)


def test_why_a_request_is_refused_is_said(client, sidecar):
    sidecar.behaviour = Edge(step=NO["a bad request"][0])
    refused(client, "request.malformed", message="d-9 is not this")


@pytest.mark.parametrize(
    "change",
    [{"execution": "e-8"}, {"name": "other"}, {"number": 7}, {"number": "07"}, {"number": None}, {"steps": ""},
     {"steps": "-1"}],
    ids=str,
)  # fmt: skip
def test_a_step_of_another_form_or_another_step(client, sidecar, change):
    told = {"execution": "e-7", "number": "7", "steps": "1", "name": "build"} | change
    sidecar.behaviour = Edge(step=http(200, json.dumps({"step": told}).encode()))

    def work(execution, wait):
        with pytest.raises(Denied, match=r"decision\.malformed"):
            wait(execution.step("build"))
        wait(execution.end("failed"))

    run(client, work, id="e-7")


@pytest.mark.parametrize(
    "step",
    [
        {"materials": {"a": "abc"}},
        {"materials": {"a": "sha256:" + "A" * 64}},
        {"materials": {"a": None}},
        {"materials": {1: A}},
        {"products": {"a": 1}},
        {"decisions": "d-1"},
        {"decisions": [Decision.deny("sidecar.unreachable", "no answer")]},
        {"parents": A},
        {"command": "make"},
        {"facts": {"a": float("nan")}},
        {"facts": {"a": "x" * 70_000}},
    ],
    ids=lambda step: str(step)[:50],
)
def test_what_is_no_step_is_not_sent(client, sidecar, step):
    sidecar.behaviour = Edge()
    refused(client, "request.malformed", **step)
    assert [one.path.rpartition("/")[2] for one in sidecar.received] == ["executions", "end"]


def test_artifacts_are_a_mapping(client, sidecar):
    sidecar.behaviour = Edge()
    with pytest.raises(ConfigurationError, match="mappings"):
        run(client, lambda execution, wait: wait(execution.step("build", materials=[A])))


def test_a_missing_file_is_the_callers_own_error(client, sidecar, tmp_path):
    sidecar.behaviour = Edge()
    with pytest.raises(FileNotFoundError):
        run(client, lambda execution, wait: wait(execution.step("build", products={"x": tmp_path / "no"})))
    assert json.loads(sidecar.received[-1].body)["outcome"] == "failed"


LOOKS = {
    "another step": ({"number": "9"}, "decision.malformed"),
    "another name": ({"name": "other"}, "decision.malformed"),
    "another count": ({"steps": "2"}, "decision.malformed"),
    "a digest of another form": ({"digest": "sha256:00"}, "decision.malformed"),
    "a digest that is no text": ({"digest": 1}, "decision.malformed"),
}


@pytest.mark.parametrize(("change", "code"), LOOKS.values(), ids=LOOKS)
def test_a_digest_is_the_steps_own(client, sidecar, change, code):
    told = {"execution": "e-7", "number": "7", "steps": "1", "name": "build", "digest": A} | change
    sidecar.behaviour = Edge(look=http(200, json.dumps({"step": told}).encode()))

    def work(execution, wait):
        step = wait(execution.step("build"))
        with pytest.raises(Denied) as caught:
            wait(step.digest())
        assert codes_of(caught.value.decision) == [code]

    run(client, work, id="e-7")


def test_a_digest_that_does_not_come(client, sidecar):
    sidecar.behaviour = Edge(final_at=1000)

    def work(execution, wait):
        step, began = wait(execution.step("build")), time.monotonic()
        with pytest.raises(Denied, match=r"sidecar\.unreachable: the step was not final within 0\.4 s"):
            wait(step.digest(0.4))
        assert time.monotonic() - began < 20

    run(client, work)
    assert sidecar.behaviour.looks >= 2


def test_a_digest_is_found_after_the_end_too(client, sidecar):
    sidecar.behaviour = Edge()

    def work(execution, wait):
        step = wait(execution.step("build"))
        wait(execution.end())
        assert wait(step.digest()) == A
        with pytest.raises(Denied, match=r"execution\.expired"):
            wait(execution.step("more"))

    run(client, work)


def test_a_workflow_is_named_at_the_start(client, sidecar):
    sidecar.behaviour = Edge()
    run(client, lambda execution, wait: None, workflow="refund")
    assert json.loads(sidecar.received[0].body)["workflow"] == "refund"


def test_a_workflow_counts_to_the_size_of_a_request(client, sidecar):
    with pytest.raises(Denied, match=r"request\.malformed"):
        run(client, lambda execution, wait: None, workflow="w" * 65_400)
    assert not sidecar.received


# ---- ends --------------------------------------------------------------------------------------------------

ENDS = {
    "none": http(503, b""),
    "unavailable": problem(503, "lineage.unavailable"),
    "denied": denial("workflow.violated"),
    "accepted": http(202, b"{}"),
}


@pytest.mark.parametrize("raw", ENDS.values(), ids=ENDS)
def test_an_end_that_is_not_taken_matters_where_something_was_noted(client, sidecar, raw):
    sidecar.behaviour = Edge(end=raw)
    with pytest.raises(Denied):
        run(client, lambda execution, wait: wait(execution.step("build")))
    with pytest.raises(Denied):
        run(client, lambda execution, wait: None, workflow="refund")
    assert run(client, lambda execution, wait: "no lineage here") == "no lineage here"


@pytest.mark.parametrize("raw", ENDS.values(), ids=ENDS)
def test_an_end_never_hides_the_blocks_own_error(client, sidecar, raw):
    sidecar.behaviour = Edge(end=raw)

    def work(execution, wait):
        wait(execution.step("build"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(client, work)


def test_an_end_is_told_once(client, sidecar):
    sidecar.behaviour = Edge()
    run(client, lambda execution, wait: wait(execution.end("failed")))
    assert [json.loads(one.body).get("outcome") for one in sidecar.received] == [None, "failed"]


def test_an_end_that_was_not_taken_is_told_again(client, sidecar):
    sidecar.behaviour = edge = Edge(end=http(503, b""))

    def work(execution, wait):
        wait(execution.step("build"))
        with pytest.raises(Denied, match=r"sidecar\.unreachable"):
            wait(execution.end())
        edge.answers["end"] = None

    run(client, work)
    assert [one.path.rpartition("/")[2] for one in sidecar.received][-2:] == ["end", "end"]


def test_what_has_expired_is_not_ended(client, sidecar):
    """Its token is worth nothing any more; who noted steps hears it."""
    edge = Edge()

    def behave(connection, received):
        if received.path == "/v1/executions":
            connection.sendall(started(received, expires_at=in_seconds(0.5)))
        else:
            edge(connection, received)

    sidecar.behaviour = behave

    def work(execution, wait):
        wait(execution.step("build"))
        time.sleep(0.6)

    with pytest.raises(Denied, match=r"execution\.expired"):
        run(client, work)
    run(client, lambda execution, wait: time.sleep(0.6))
    assert not [one for one in sidecar.received if one.path.endswith("/end")]


def test_steps_need_the_edge(client):
    execution = client.make().resume("e-1", TOKEN, datetime.now(UTC) + timedelta(seconds=60))

    async def asynchronous(call):
        await call()

    for call in (lambda: execution.step("build"), lambda: execution.end()):
        with pytest.raises(ConfigurationError, match="edge="):
            call() if client.kind == "sync" else anyio.run(asynchronous, call)


def test_another_process_ends_it(client, sidecar):
    sidecar.behaviour = Edge()
    execution = client.make(edge=client.url).resume("e-1", TOKEN, datetime.now(UTC) + timedelta(seconds=60))

    async def asynchronous():
        await execution.step("build")
        await execution.end("failed")

    if client.kind == "sync":
        execution.step("build")
        execution.end("failed")
    else:
        anyio.run(asynchronous)
    assert json.loads(sidecar.received[-1].body)["outcome"] == "failed"

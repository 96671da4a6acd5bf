import json
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from placet_sdk import ConfigurationError, Denied
from tests.unit.sdk import fake
from tests.unit.sdk.fake import codes_of, http, in_seconds, result

TOKEN = "header.claims.signature"


def started(received, *, status=200, decision=None, **changes):
    """The answer to a start; to an end, that it was taken."""
    if received.path.endswith("/end"):
        return http(200, b"{}")
    execution = {"id": received.input["execution"]["id"], "token": TOKEN, "expires_at": in_seconds(60)} | changes
    return http(status, json.dumps({"execution": execution, "decision": decision or result()}).encode())


def edge(connection, received):
    if received.path == "/v1/executions" or received.path.endswith("/end"):
        connection.sendall(started(received))
    else:
        inside = received.input["execution"].get("token") == TOKEN
        connection.sendall(http(200, fake.answer(inside, execution=received.input["execution"]["id"])))


def run(client, work, *args, **options):
    """Start an execution and do `work` in it, given a function that waits for what the client gives."""
    made = client.make(edge=client.url, **options.pop("made", {}))
    question = args or ("refund", ("payment", "p-1"), {"amount": 1})
    if client.kind == "sync":
        with made, made.execution(*question, **options) as execution:
            return work(execution, lambda value: value)

    async def asynchronous():
        async with made, made.execution(*question, **options) as execution:
            # The blocking `work` runs in a thread; what it waits for runs here.
            return await anyio.to_thread.run_sync(
                lambda: work(execution, lambda value: anyio.from_thread.run(lambda: value))
            )

    return anyio.run(asynchronous)


def test_an_execution(client, sidecar):
    sidecar.behaviour = edge

    def work(execution, wait):
        assert execution.decision.allow
        assert execution.alive
        assert wait(execution.decide("refund", ("payment", "p-1"), {"amount": 2}, environment=["r"]))
        return execution, wait(execution.require("read", ("payment", "p-1")))

    execution, decision = run(client, work, warrant=["w1"], id="e-7")
    assert (execution.id, decision.execution) == ("e-7", "e-7")
    start, first, second, end = sidecar.received
    assert (end.path, json.loads(end.body)) == ("/v1/executions/e-7/end", {"token": TOKEN, "outcome": "completed"})
    assert start.path == "/v1/executions"
    assert start.input == {
        "action": {"name": "refund"},
        "resource": {"type": "payment", "id": "p-1"},
        "context": {"amount": 1},
        "identity": {"token": "a.b.c"},
        "warrant": ["w1"],
        "execution": {"id": "e-7"},
    }
    assert first.input == {
        "action": {"name": "refund"},
        "resource": {"type": "payment", "id": "p-1"},
        "context": {"amount": 2},
        "environment": ["r"],
        "execution": {"id": "e-7", "token": TOKEN},
    }
    assert "identity" not in second.input
    assert not execution.alive


def test_each_execution_has_an_id_of_its_own(client, sidecar):
    sidecar.behaviour = edge
    first, second = (run(client, lambda execution, wait: execution.id) for _ in range(2))
    assert first != second


def test_after_its_end_it_denies_without_a_call(client, sidecar):
    sidecar.behaviour = edge
    asked = []

    def work(execution, wait):
        wait(execution.end())
        asked.append(wait(execution.decide("read", ("payment", "p-1"))))
        with pytest.raises(Denied, match=r"execution\.expired"):
            wait(execution.require("read", ("payment", "p-1")))

    run(client, work, id="e-1")
    assert codes_of(asked[0]) == ["execution.expired"]
    assert [one.path for one in sidecar.received] == ["/v1/executions", "/v1/executions/e-1/end"]


def test_it_ends_with_an_exception_too(client, sidecar):
    sidecar.behaviour = edge
    seen = []

    def work(execution, wait):
        seen.append(execution)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(client, work)
    assert not seen[0].alive
    assert json.loads(sidecar.received[-1].body) == {"token": TOKEN, "outcome": "failed"}


def never(execution, wait):
    raise AssertionError("it started")


def refused(client, code, **options):
    with pytest.raises(Denied) as caught:
        run(client, never, **options)
    assert codes_of(caught.value.decision) == [code]


@pytest.mark.parametrize("code", ["warrant.spent", "warrant.unredeemed", "execution.conflict", "policy.denied"])
@pytest.mark.parametrize("status", [403, 200])
def test_a_denied_start(client, sidecar, code, status):
    denial = result(False, reasons=[{"code": code, "message": "no"}])
    body = json.dumps({"decision": denial}).encode()
    sidecar.behaviour = fake.says(http(status, body))
    refused(client, code)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "request.malformed"), (500, "evaluation.error"), (404, "decision.malformed"), (503, "sidecar.unreachable")],
)
def test_statuses(client, sidecar, status, code):
    sidecar.behaviour = lambda connection, received: connection.sendall(started(received, status=status))
    refused(client, code)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": None}, "decision.malformed"),
        ({"token": "x"}, "decision.malformed"),
        ({"token": f"{'x' * 16384}.b.c"}, "decision.malformed"),
        ({"id": "another"}, "decision.malformed"),
        ({"id": None}, "decision.malformed"),
        ({"expires_at": None}, "decision.malformed"),
        ({"expires_at": "soon"}, "decision.malformed"),
        ({"expires_at": in_seconds(-1)}, "execution.expired"),
        ({"status": 403}, "decision.malformed"),
        ({"decision": {"allow": True}}, "decision.malformed"),
        ({"decision": result(obligations=[{"type": "mask"}])}, "obligation.unfulfilled"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_malformed_starts(client, sidecar, changes, code):
    sidecar.behaviour = lambda connection, received: connection.sendall(started(received, **changes))
    refused(client, code)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{}", b'{"decision":null}', json.dumps({"decision": result()}).encode(),
             json.dumps({"decision": result(), "execution": []}).encode()],
)  # fmt: skip
def test_malformed_answers_to_a_start(client, sidecar, body):
    sidecar.behaviour = fake.says(http(200, body))
    refused(client, "decision.malformed")


def test_obligations_of_a_start(client, sidecar):
    sidecar.behaviour = lambda connection, received: connection.sendall(
        started(received, decision=result(obligations=[{"type": "mask"}]))
    )
    assert run(client, lambda execution, wait: execution.decision.obligations, fulfils={"mask"})
    assert run(client, lambda execution, wait: execution.decision.obligations, made={"fulfils": {"mask"}})


def test_a_silent_edge(client, sidecar):
    sidecar.behaviour = sidecar.silent
    refused(client, "sidecar.unreachable", timeout=0.3)


def test_a_start_that_is_not_strict_json(client, sidecar):
    with pytest.raises(Denied, match=r"request\.malformed"):
        run(client, never, "refund", ("payment", "p-1"), {"amount": float("nan")})
    assert not sidecar.received


def test_a_record_id_is_kept_if_there_is_one(client, sidecar):
    def behave(connection, received):
        whole = json.loads(started(received).partition(b"\r\n\r\n")[2]) | {"decision_id": "d-9"}
        connection.sendall(http(200, json.dumps(whole).encode()))

    sidecar.behaviour = behave
    assert run(client, lambda execution, wait: execution.decision.decision_id) == "d-9"
    sidecar.behaviour = edge
    assert run(client, lambda execution, wait: execution.decision.decision_id) is None


def test_executions_need_the_edge(client):
    made = client.make()
    if client.kind == "sync":
        with pytest.raises(ConfigurationError, match="edge="), made.execution("read", ("payment", "p-1")):
            never(None, None)
    else:

        async def start():
            async with made.execution("read", ("payment", "p-1")):
                never(None, None)

        with pytest.raises(ConfigurationError, match="edge="):
            anyio.run(start)


def test_another_process_takes_an_execution_over(client, sidecar):
    sidecar.behaviour = edge
    made = client.make()
    execution = made.resume("e-1", TOKEN, datetime.now(UTC) + timedelta(seconds=60))
    assert execution.decision is None

    async def asynchronous():
        return await execution.decide("read", ("payment", "p-1"))

    decision = execution.decide("read", ("payment", "p-1")) if client.kind == "sync" else anyio.run(asynchronous)
    assert decision.execution == "e-1"


def renewing(answer):
    """An edge that starts executions, and answers to a renewal with `answer` of the request."""

    def behave(connection, received):
        connection.sendall(answer(received) if received.path.endswith("/renew") else started(received))

    return behave


def test_a_renewal(client, sidecar):
    new = {"id": "e-1", "token": "new.er.token", "expires_at": in_seconds(600)}
    sidecar.behaviour = renewing(lambda received: http(200, json.dumps({"execution": new}).encode()))

    def work(execution, wait):
        before = execution.expires_at
        wait(execution.renew())
        assert execution.token == "new.er.token"
        assert execution.expires_at > before
        return execution

    run(client, work, id="e-1")
    assert sidecar.received[1].path == "/v1/executions/e-1/renew"
    assert json.loads(sidecar.received[1].body) == {"token": TOKEN}


DENIAL = json.dumps({"decision": result(False, bundles={}, subject=None, state=None)}).encode()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (http(403, DENIAL), "policy.denied"),
        (http(403, json.dumps({"decision": result()}).encode()), "decision.malformed"),
        (http(403, b"{}"), "decision.malformed"),
        (http(200, b"{}"), "decision.malformed"),
        (http(200, b"[]"), "decision.malformed"),
        (http(200, DENIAL), "decision.malformed"),
        (http(400, DENIAL), "request.malformed"),
        (http(503, DENIAL), "sidecar.unreachable"),
    ],
    ids=range(8),
)
def test_a_renewal_that_is_denied_keeps_the_token(client, sidecar, raw, code):
    sidecar.behaviour = renewing(lambda received: raw)

    def work(execution, wait):
        with pytest.raises(Denied) as caught:
            wait(execution.renew(timeout=2.0))
        assert codes_of(caught.value.decision) == [code]
        assert (execution.token, execution.alive) == (TOKEN, True)

    run(client, work, id="e-1")


def test_what_is_over_is_not_renewed(client, sidecar):
    sidecar.behaviour = edge

    def work(execution, wait):
        wait(execution.end())
        with pytest.raises(Denied, match=r"execution\.expired"):
            wait(execution.renew())

    run(client, work, id="e-1")
    assert [one.path for one in sidecar.received] == ["/v1/executions", "/v1/executions/e-1/end"]


def test_renewing_needs_the_edge(client):
    made = client.make()
    execution = made.resume("e-1", TOKEN, datetime.now(UTC) + timedelta(seconds=60))

    async def asynchronous():
        await execution.renew()

    with pytest.raises(ConfigurationError, match="edge="):
        execution.renew() if client.kind == "sync" else anyio.run(asynchronous)

"""Both clients against a sidecar that does everything wrong."""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import anyio
import pytest

from bench.certificate import self_signed
from placet_sdk import AsyncPlacet, ConfigurationError, Denied, Placet, TokenFile
from placet_sdk.channel import MAX_ANSWER
from tests.unit.sdk import fake
from tests.unit.sdk.fake import DEFAULT, answer, codes_of, http, says


def test_what_is_sent(client, sidecar):
    decision = client.decide("read", ("payment", "p-1"), {"amount": 1})
    assert decision
    assert decision.decision_id == "d-1"
    [received] = sidecar.received
    assert received.path == "/v1/data/placet/decision"
    assert received.input == {
        "action": {"name": "read"},
        "resource": {"type": "payment", "id": "p-1"},
        "context": {"amount": 1},
        "identity": {"token": "a.b.c"},
    }
    assert set(received.headers) == {"host", "content-type", "accept", "user-agent", "content-length"}
    assert received.headers["content-type"] == "application/json"


def test_a_calls_identity_goes_before_the_clients(client, sidecar):
    assert client.decide(identity="d.e.f")
    assert sidecar.received[0].input["identity"] == {"token": "d.e.f"}


def test_none_at_a_call_is_nobody_and_not_the_client(client, sidecar):
    """A service hands on the token of its caller, who may have none: that must not become the service's own."""
    assert client.decide(identity=None)
    assert client.decide(identity=lambda: None)
    assert ["identity" in received.input for received in sidecar.received] == [False, False]


def test_without_identity_it_is_asked_all_the_same(client, sidecar):
    assert client.decide(client={"identity": None})
    assert "identity" not in sidecar.received[0].input


def test_a_missing_token_file_denies_without_a_call(client, sidecar, tmp_path):
    denied = client.decide(client={"identity": TokenFile(tmp_path / "token")})
    assert codes_of(denied) == ["identity.missing"]
    assert not sidecar.received


@pytest.mark.parametrize(
    "context", [{"amount": float("nan")}, {"text": "\ud800"}, {"n": 2**53 + 1}, {1: 2}, {"x": {1}}]
)
def test_what_is_not_strict_json_is_denied_without_a_call(client, sidecar, context):
    assert codes_of(client.decide("read", ("payment", "p-1"), context)) == ["request.malformed"]
    assert not sidecar.connections


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "request.malformed"), (500, "evaluation.error")]
    + [(status, "decision.malformed") for status in (201, 401, 403, 404, 413, 502, 503)],
)
def test_statuses(client, sidecar, status, code):
    sidecar.behaviour = says(http(status, answer()))
    assert codes_of(client.decide()) == [code]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(client, sidecar, status):
    sidecar.behaviour = says(http(status, answer(), f"Location: {sidecar.url}/elsewhere\r\n"))
    assert codes_of(client.decide()) == ["decision.malformed"]
    assert len(sidecar.received) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "decision.malformed"),
        (b"allow", "decision.malformed"),
        (b"\xff\xfe", "decision.malformed"),
        (b"{}", "decision.undefined"),
        (b'{"decision_id":"d-1"}', "decision.undefined"),
        (b'{"result":true}', "decision.malformed"),
        (b'{"decision_id":"d","result":{"allow":true}}', "decision.malformed"),
        (answer()[:-1], "decision.malformed"),
        (answer(state=...), "decision.malformed"),
        (answer().replace(b'"allow": true', b'"allow": false, "allow": true'), "decision.malformed"),
        (answer(obligations=[{"pad": "x" * MAX_ANSWER}]), "decision.malformed"),
    ],
    ids=lambda value: "",
)
def test_malformed_answers(client, sidecar, body, code):
    sidecar.behaviour = says(http(200, body))
    assert codes_of(client.decide()) == [code]


def test_a_compressed_answer_is_not_unpacked(client, sidecar):
    import gzip

    sidecar.behaviour = says(http(200, gzip.compress(answer()), "Content-Encoding: gzip\r\n"))
    assert codes_of(client.decide()) == ["decision.malformed"]


def endless(connection, received):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def test_an_endless_answer_is_not_read_to_its_end(client, sidecar):
    sidecar.behaviour = endless
    assert codes_of(client.decide()) == ["decision.malformed"]


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + answer(),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + answer(),
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_http_answer(client, sidecar, raw):
    def behave(connection, received):
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_RDWR)

    sidecar.behaviour = behave
    assert codes_of(client.decide()) == ["sidecar.unreachable"]


def test_a_closed_connection(client, sidecar):
    sidecar.behaviour = sidecar.hang_up
    assert codes_of(client.decide()) == ["sidecar.unreachable"]


def test_nobody_listens(client):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        client.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert codes_of(client.decide()) == ["sidecar.unreachable"]


def test_silence(client, sidecar):
    sidecar.behaviour = sidecar.silent
    begun = time.monotonic()
    denied = client.decide(timeout=0.3)
    assert codes_of(denied) == ["sidecar.unreachable"]
    assert "within 0.3 s" in denied.reasons[0].message
    assert 0.3 <= time.monotonic() - begun < 10


@pytest.mark.parametrize("what", [http(200, answer()), b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000])
def test_a_byte_now_and_then_does_not_hold_the_caller(client, sidecar, what):
    sidecar.behaviour = sidecar.drip(what)
    begun = time.monotonic()
    assert codes_of(client.decide(timeout=0.5)) == ["sidecar.unreachable"]
    assert time.monotonic() - begun < 10


def test_what_comes_after_the_deadline_is_not_begun():
    import httpcore

    from placet_sdk.deadline import DeadlineBackend, until

    with until(time.monotonic() - 1), pytest.raises(httpcore.ReadTimeout):
        DeadlineBackend().connect_tcp("127.0.0.1", 9)


def test_the_next_question_gets_its_own_answer_after_a_late_one(client, sidecar):
    """The late answer to the first question comes on a connection that nobody reads any more."""

    def late(connection, received):
        if len(sidecar.received) == 1:
            sidecar.stopping.wait(0.6)
            connection.sendall(http(200, answer()))
        else:
            connection.sendall(http(200, answer(False)))

    sidecar.behaviour = late
    first, second = client.each([((), {"timeout": 0.2}), ((), {})])
    assert codes_of(first) == ["sidecar.unreachable"]
    assert codes_of(second) == ["policy.denied"]


def test_an_answer_from_before_a_long_pause_is_too_late(client, monkeypatch):
    """The process slept after it had sent the question, and found the answer when it woke."""
    readings = iter([time.monotonic(), time.monotonic() + 10])
    monkeypatch.setattr("placet_sdk.channel.time", SimpleNamespace(monotonic=lambda: next(readings)))
    decision = client.decide()
    assert codes_of(decision) == ["sidecar.unreachable"]
    assert "within 5 s" in decision.reasons[0].message


def test_connections_are_kept(client, sidecar):
    assert all(client.each([((), {})] * 5))
    assert (len(sidecar.received), sidecar.connections) == (5, 1)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_connections_with_tls_are_kept(kind, tmp_path):
    tls = self_signed(tmp_path)
    with fake.running(tls=tls) as sidecar:
        assert all(fake.Client(kind, sidecar.url).each([((), {})] * 3, {"ca": tls[0]}))
        assert (len(sidecar.received), sidecar.connections) == (3, 1)
        wrong = self_signed(tmp_path)[0]
        decision = fake.Client(kind, sidecar.url).decide(client={"ca": wrong})
        assert codes_of(decision) == ["sidecar.unreachable"]
        assert len(sidecar.received) == 3


def test_a_connection_that_was_closed_meanwhile_is_replaced(client, sidecar):
    closed = threading.Event()

    def behave(connection, received):
        connection.sendall(http(200, answer()))
        if len(sidecar.received) == 1:
            connection.shutdown(socket.SHUT_RDWR)
            closed.set()

    sidecar.behaviour = behave
    made = client.make()

    async def asynchronous():
        async with made:
            assert await made.decide(*DEFAULT)
            await asyncio.to_thread(closed.wait, 5)
            assert await made.decide(*DEFAULT)

    if client.kind == "async":
        asyncio.run(asynchronous())
    else:
        with made:
            assert made.decide(*DEFAULT)
            closed.wait(5)
            assert made.decide(*DEFAULT)
    assert sidecar.connections == 2


def test_when_every_connection_is_in_use_it_waits_no_longer_than_its_time(client, sidecar):
    sidecar.behaviour = sidecar.silent
    made = client.make(connections=1)

    async def asynchronous():
        first = asyncio.create_task(made.decide(*DEFAULT, timeout=3))
        while not sidecar.received:
            await asyncio.sleep(0.01)
        denied = await made.decide(*DEFAULT, timeout=0.2)
        first.cancel()
        return denied

    if client.kind == "async":
        denied = asyncio.run(asynchronous())
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(made.decide, *DEFAULT, timeout=2)
            while not sidecar.received:
                time.sleep(0.01)
            denied = made.decide(*DEFAULT, timeout=0.2)
        assert "every connection was in use" in denied.reasons[0].message
    assert codes_of(denied) == ["sidecar.unreachable"]
    assert (len(sidecar.received), sidecar.connections) == (1, 1)


def test_a_connection_in_use_is_closed_after_its_use(sidecar):
    """`close` does not wait for the questions that are under way; their connections are not kept."""
    asked, go_on = threading.Event(), threading.Event()

    def behave(connection, received):
        asked.set()
        go_on.wait(5)
        connection.sendall(http(200, answer()))
        assert connection.recv(1) == b""
        sidecar.stopping.set()

    sidecar.behaviour = behave
    placet = Placet(sidecar.url, insecure_loopback=True, timeout=5)
    with ThreadPoolExecutor(1) as pool:
        decision = pool.submit(placet.decide, *DEFAULT)
        assert asked.wait(5)
        placet.close()
        go_on.set()
        assert decision.result(5)
    assert sidecar.stopping.wait(5), "the connection was not closed"


def test_a_closed_client_denies(client):
    made = client.make()
    if client.kind == "sync":
        made.close()
        made.close()
        assert codes_of(made.decide(*DEFAULT)) == ["sidecar.unreachable"]
    else:

        async def closed():
            await made.close()
            await made.close()
            return await made.decide(*DEFAULT)

        assert codes_of(anyio.run(closed)) == ["sidecar.unreachable"]


def test_the_environment_says_nothing(client, sidecar, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for spelled in (name, name.lower()):
            monkeypatch.setenv(spelled, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert client.decide()


def test_obligations(client, sidecar):
    sidecar.behaviour = says(http(200, answer(obligations=[{"type": "mask", "fields": ["iban"]}])))
    denied = client.decide()
    assert codes_of(denied) == ["obligation.unfulfilled"]
    assert denied.obligations
    assert client.decide(fulfils={"mask"})
    assert client.decide(client={"fulfils": ["mask", "limit"]})
    assert not client.decide(client={"fulfils": ["mask"]}, fulfils=())


def test_require(client, sidecar):
    sidecar.behaviour = lambda connection, received: connection.sendall(
        http(200, answer(received.input["action"]["name"] == "read"))
    )

    def ask(action):
        made = client.make()
        if client.kind == "sync":
            return made.require(action, ("payment", "p-1"))

        async def asynchronous():
            return await made.require(action, ("payment", "p-1"))

        return anyio.run(asynchronous)

    assert ask("read").decision_id == "d-1"
    with pytest.raises(Denied, match=r"policy\.denied: The policy denies the request\.") as caught:
        ask("refund")
    assert codes_of(caught.value.decision) == ["policy.denied"]


def test_inside_an_execution_no_identity_is_given(client):
    from datetime import UTC, datetime, timedelta

    made = client.make()
    run = made.resume("e-1", "a.b.c", datetime.now(UTC) + timedelta(seconds=60))

    def ask(**options):
        if client.kind == "sync":
            return made.decide(*DEFAULT, execution=run, **options)

        async def asynchronous():
            return await made.decide(*DEFAULT, execution=run, **options)

        return anyio.run(asynchronous)

    assert ask()
    with pytest.raises(ConfigurationError, match="stands for the identity"):
        ask(identity="a.b.c")


def test_a_presented_execution_is_not_mixed_with_the_clients_identity(client, sidecar):
    """What a caller presents is judged alone, never with the identity of the service that asks."""
    assert client.decide(execution=("e-1", "x.y.z"))
    assert "identity" not in sidecar.received[0].input
    assert client.decide(execution=("e-1", "x.y.z"), identity="theirs")  # for OPA to refuse
    assert sidecar.received[1].input["identity"] == {"token": "theirs"}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_unix_sockets(kind, tmp_path):
    with fake.running(tmp_path / "opa.sock") as sidecar:
        assert fake.Client(kind, sidecar.url).decide()
        assert sidecar.received[0].headers["host"] == "placet"
    assert codes_of(fake.Client(kind, f"unix://{tmp_path}/none.sock").decide()) == ["sidecar.unreachable"]


def test_threads_share_a_client(sidecar):
    """Each thread gets the answer to its own question."""

    def echo(connection, received):
        time.sleep(0.002)
        connection.sendall(http(200, answer(execution=received.input["resource"]["id"])))

    sidecar.behaviour = echo
    with (
        Placet(sidecar.url, insecure_loopback=True, timeout=20, connections=4) as placet,
        ThreadPoolExecutor(16) as pool,
    ):
        wanted = [f"p-{number}" for number in range(200)]
        given = list(pool.map(lambda id: placet.decide("read", ("payment", id)).execution, wanted))
    assert given == wanted
    assert sidecar.connections <= 8


def test_tasks_share_a_client(sidecar):
    def echo(connection, received):
        connection.sendall(http(200, answer(execution=received.input["resource"]["id"])))

    sidecar.behaviour = echo
    given = {}

    async def main():
        async with AsyncPlacet(sidecar.url, insecure_loopback=True, timeout=20, connections=4) as placet:

            async def ask(id):
                given[id] = (await placet.decide("read", ("payment", id))).execution

            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(ask, f"p-{number}")

    anyio.run(main)
    assert given == {f"p-{number}": f"p-{number}" for number in range(100)}


def test_a_forked_child_has_connections_of_its_own(client, sidecar):
    """One connection in two processes would give the one the answers to the other."""
    if client.kind == "sync":
        placet = client.make()
        assert placet.decide(*DEFAULT)
        assert in_child(lambda: placet.decide(*DEFAULT).allow)
        assert in_child(lambda: placet.close() is None)
        assert placet.decide(*DEFAULT)
        assert sidecar.connections == 2
    else:

        async def main():
            placet = client.make()
            assert await placet.decide(*DEFAULT)
            assert in_child(lambda: run_elsewhere(placet))
            assert await placet.decide(*DEFAULT)

        anyio.run(main)
        assert sidecar.connections == 2


def run_elsewhere(placet):
    found = []
    # The child's thread has an event loop of its own; the parent's is of no use after a fork.
    thread = threading.Thread(target=lambda: found.append(anyio.run(lambda: placet.decide(*DEFAULT)).allow))
    thread.start()
    thread.join(10)
    return found == [True]


def in_child(question):
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if question() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_another_process_id_means_other_connections(client, sidecar, monkeypatch):
    """As after a fork, seen from inside."""
    process = os.getpid()
    made = client.make()

    async def asynchronous():
        for change in (0, 0, 1, 1):
            monkeypatch.setattr(os, "getpid", lambda change=change: process + change)
            assert await made.decide(*DEFAULT)
        monkeypatch.setattr(os, "getpid", lambda: process)
        await made.close()

    if client.kind == "async":
        anyio.run(asynchronous)
    else:
        for change in (0, 0, 1, 1):
            monkeypatch.setattr(os, "getpid", lambda change=change: process + change)
            assert made.decide(*DEFAULT)
        monkeypatch.setattr(os, "getpid", lambda: process)
        made.close()
    assert sidecar.connections == 2


def test_each_event_loop_has_connections_of_its_own(sidecar):
    placet = AsyncPlacet(sidecar.url, insecure_loopback=True)

    async def twice():
        assert await placet.decide(*DEFAULT)
        assert await placet.decide(*DEFAULT)

    for _ in range(3):
        anyio.run(twice)
    assert sidecar.connections == 3


@pytest.mark.parametrize("kind", [Placet, AsyncPlacet])
def test_a_wrong_address_is_said_at_once(kind):
    with pytest.raises(ConfigurationError):
        kind("http://127.0.0.1:8181")
    with pytest.raises(ConfigurationError):
        kind("unix:///a.sock", edge="https://127.0.0.1:8182")


def test_a_cancelled_question_leaves_no_answer_behind(sidecar):
    def behave(connection, received):
        if received.input["resource"]["id"] == "slow":
            sidecar.stopping.wait(0.5)
            connection.sendall(http(200, answer()))
        else:
            connection.sendall(http(200, answer(False)))

    sidecar.behaviour = behave

    async def main():
        async with AsyncPlacet(sidecar.url, insecure_loopback=True, timeout=5) as placet:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(placet.decide, "read", ("payment", "slow"))
                while not sidecar.received:
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            return await placet.decide(*DEFAULT)

    assert codes_of(anyio.run(main)) == ["policy.denied"]


def test_nothing_of_the_platform_is_needed():
    """In a fresh interpreter the SDK imports httpcore and what that needs; neither the platform nor httpx."""
    import subprocess

    program = "import sys, placet_sdk; print(sorted({name.split('.')[0] for name in sys.modules}))"
    names = json.loads(
        subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, timeout=60)
        .stdout.replace("'", '"')
    )  # fmt: skip
    assert {"placet_sdk", "httpcore"} <= set(names)
    assert not {"app", "cli", "httpx", "fastapi", "starlette", "jwt", "cryptography", "requests"} & set(names)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 1e10, "1", True, [1]])
def test_a_timeout_that_is_none_is_the_callers_mistake(client, sidecar, timeout):
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
        client.decide(timeout=timeout)
    assert not sidecar.received


@pytest.mark.parametrize("timeout", [0, -1, 1e-9])
def test_without_time_there_is_a_denial(client, timeout):
    assert codes_of(client.decide(timeout=timeout)) == ["sidecar.unreachable"]

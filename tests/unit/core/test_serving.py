import socket
import threading
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.core.serving import ThreadedServer


def served(handler, **options):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    return ThreadedServer(Starlette(routes=[Route("/", handler)]), listener, "test", **options), port


async def hello(_):
    return PlainTextResponse("hello")


@pytest.fixture
def server():
    server, port = served(hello)
    server.start()
    yield server, f"http://127.0.0.1:{port}", port
    server.stop()


def test_it_answers_from_a_thread_and_names_no_software(server):
    answer = httpx.get(server[1], trust_env=False)
    assert answer.text == "hello"
    assert "server" not in answer.headers


def test_a_stopped_server_frees_its_port(server):
    httpx.get(server[1], trust_env=False)
    server[0].stop()
    socket.create_server(("127.0.0.1", server[2])).close()


def test_answers_do_not_wait_for_acknowledgements(server):
    with httpx.Client(base_url=server[1], trust_env=False) as http:
        http.get("/")
        took = []
        for _ in range(20):
            began = time.monotonic()
            http.post("/", content=b"x" * 100)
            took.append(time.monotonic() - began)
    assert min(took) < 0.04, "each would take 40 ms"


def test_one_that_never_started_can_be_stopped():
    server, port = served(hello)
    server.stop()
    socket.create_server(("127.0.0.1", port)).close()


def test_a_callback_runs_in_its_thread(server):
    httpx.get(server[1], trust_env=False)
    names, ran = [], threading.Event()
    server[0].call_soon(lambda: (names.append(threading.current_thread().name), ran.set()))
    assert ran.wait(5)
    assert names == ["test"]


def test_before_it_serves_a_callback_is_nothing():
    server, _ = served(hello)
    server.call_soon(lambda: pytest.fail("called"))
    server.stop()


def test_more_connections_than_it_takes_are_told():
    server, port = served(hello, max_connections=2)
    server.start()
    url = f"http://127.0.0.1:{port}"
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    try:
        assert httpx.get(url, trust_env=False).status_code == 503
    finally:
        for one in idle:
            one.close()
        server.stop()

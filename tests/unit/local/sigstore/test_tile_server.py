import socket

import httpx
import pytest

from app.local.sigstore.tile_server import TileServer


@pytest.fixture
def log(tmp_path):
    directory = tmp_path / "rekor"
    for name, content in {
        "checkpoint": b"note\n",
        "tile/0/000": b"full",
        "tile/0/001.p/7": b"partial",
        "tile/entries/x001/234": b"entries",
        ".state/treeState": b"secret",
        "tile/notes": b"secret",
        "tile/0/000.bak": b"secret",
    }.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "outside").write_bytes(b"secret")
    return directory


@pytest.fixture
def get(log):
    listener = socket.create_server(("127.0.0.1", 0))
    server = TileServer(log, listener)
    server.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client(trust_env=False) as client:
        # The path as it is: httpx would resolve the dots.
        yield lambda path, method="GET": client.send(
            httpx.Request(method, base, extensions={"target": path.encode()})
        )  # fmt: skip
    server.stop()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("tile/0/000", b"full"),
        ("tile/0/001.p/7", b"partial"),
        ("tile/entries/x001/234", b"entries"),
    ],
)
def test_tiles_may_be_kept_for_ever(get, path, content):
    answer = get(f"/api/v2/{path}")
    assert (answer.status_code, answer.content) == (200, content)
    assert "immutable" in answer.headers["cache-control"]


def test_a_checkpoint_must_not_be_kept(get):
    answer = get("/api/v2/checkpoint")
    assert (answer.status_code, answer.content) == (200, b"note\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


def test_a_tile_that_is_not_there_yet_is_asked_for_again(get):
    answer = get("/api/v2/tile/0/009")
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/.state/treeState",
        "/api/v2/tile/../.state/treeState",
        "/api/v2/tile/..%2f.state%2ftreeState",
        "/api/v2/tile/../../outside",
        "/api/v2/tile/notes",
        "/api/v2/tile/0/000.bak",
        "/api/v2/tile/0",
        "/api/v2/tile/0/",
        "/api/v2/tile/0/001.p",
        "/checkpoint",
        "/",
    ],
)
def test_nothing_else_is_served(get, path):
    answer = get(path)
    assert answer.status_code in (307, 404)
    assert b"secret" not in answer.content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nobody_writes(get, method):
    assert get("/api/v2/checkpoint", method).status_code == 405

import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from app.core import merkle
from app.core.errors import Denied, UsageError
from app.core.log_source import DirectorySource, HttpSource, LogUnavailable, log_source
from app.core.log_tiles import LogTiles, newest, tile_path
from app.core.serving import ThreadedServer

from .log_kit import Authority, MadeLog, flip, some

#: More than a full tile of a level above: 256 * 256 leaves would be slow to make by hand in each test.
LARGE = 66_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def log(tmp_path_factory, authority):
    made = MadeLog(tmp_path_factory.mktemp("log"), authority)
    made.publish(*some(700))
    return made


@pytest.fixture(scope="module")
def large(tmp_path_factory, authority):
    made = MadeLog(tmp_path_factory.mktemp("large"), authority)
    made.publish(*some(LARGE))
    return made


def test_names_of_tiles():
    assert tile_path("0", 0) == "tile/0/000"
    assert tile_path("entries", 1234067) == "tile/entries/x001/x234/067"
    assert tile_path("1", 1000) == "tile/1/x001/000"


def test_entries_and_leaves(log):
    tiles = log.tiles()
    for index in (0, 1, 255, 256, 511, 512, 699):
        assert tiles.entry(index) == log.entries[index]
        assert tiles.leaf(index) == log.leaves[index]
    for index in (-1, 700):
        with pytest.raises(ValueError, match="there is no entry"):
            tiles.entry(index)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(size=st.integers(0, 700), data=st.data())
def test_proofs_are_those_of_the_whole_tree(log, size, data):
    tiles, leaves = log.tiles(), log.leaves[:size]
    root = merkle.root(leaves)
    assert tiles.root(size) == root
    if size:
        index = data.draw(st.integers(0, size - 1))
        path = tiles.inclusion(index, size)
        assert path == merkle.path(leaves, index)
        assert merkle.root_from_path(leaves[index], index, size, path) == root
    first = data.draw(st.integers(0, size))
    before = merkle.root(leaves[:first])
    proof = tiles.consistency(first, size)
    assert merkle.consistent(first, before, size, root, proof)


def test_a_tree_of_three_levels_of_tiles(large):
    tiles = large.tiles()
    leaves = large.leaves
    assert tiles.root() == merkle.root(leaves) == large.checkpoint().root
    assert tiles.inclusion(65_535) == merkle.path(leaves, 65_535)
    for first in (1, 256, 65_535, 65_536, 65_537, LARGE - 1):
        proof = tiles.consistency(first)
        assert merkle.consistent(first, merkle.root(leaves[:first]), LARGE, merkle.root(leaves), proof)


def test_sizes_beyond_the_tree(log):
    tiles = log.tiles(600)
    for wrong in (lambda: tiles.root(601), lambda: tiles.inclusion(1, 601), lambda: tiles.inclusion(600),
                  lambda: tiles.consistency(601), lambda: tiles.consistency(-1), lambda: tiles.tile(0, 3)):  # fmt: skip
        with pytest.raises(ValueError):
            wrong()


def test_a_full_tile_takes_the_place_of_a_partial_one(tmp_path, authority):
    log = MadeLog(tmp_path, authority)
    log.publish(*some(300))
    before = log.checkpoint()
    log.publish(*some(300, "later"), partial=False)
    tiles = log.tiles(before.size)  # as somebody who still has the earlier checkpoint
    assert tiles.root() == before.root
    assert tiles.entry(299) == log.entries[299]
    with pytest.raises(ValueError):
        tiles.entry(300)


def test_that_an_entry_is_in_the_tree(log):
    tiles, checkpoint = log.tiles(), log.checkpoint()
    tiles.require_entry(5, log.entries[5], checkpoint)
    with pytest.raises(Denied, match=r"log\.missing: at 5 the log holds another entry"):
        tiles.require_entry(5, b"another", checkpoint)
    with pytest.raises(Denied, match=r"log\.missing: the log has 700 entries, and none at 700"):
        tiles.require_entry(700, log.entries[5], checkpoint)


@pytest.mark.parametrize(("level", "number", "index"), [(0, 0, 1), (0, 2, 699), (1, 0, 300)])
def test_a_tile_with_another_bit(tmp_path, authority, level, number, index):
    log = MadeLog(tmp_path, authority)
    log.publish(*some(700))
    log.tiles().require_entry(index, log.entries[index], log.checkpoint())
    flip(log.file(level, number), 10)
    with pytest.raises(Denied, match=rf"log\.invalid: the log's tiles do not lead from entry {index}"):
        log.tiles().require_entry(index, log.entries[index], log.checkpoint())


@pytest.mark.parametrize("level", ["0", "entries"])
def test_a_tile_that_is_cut_short_or_too_long(tmp_path, authority, level):
    log = MadeLog(tmp_path, authority)
    log.publish(*some(10))
    path = log.file(level)
    whole = path.read_bytes()
    read = (lambda: log.tiles().leaf(0)) if level == "0" else (lambda: log.tiles().entry(0))
    for raw in (b"", whole[:-1], whole[:32], whole + b"\0", whole + whole):
        path.write_bytes(raw)
        with pytest.raises(Denied, match=r"log\.invalid"):
            read()
    path.unlink()
    with pytest.raises(Denied, match=r"log\.missing: tile/.* is not there, although the log says that it has 10"):
        read()


@pytest.mark.parametrize("level", ["0", "entries"])
def test_a_tile_that_is_too_large_or_no_file_is_invalid_and_not_waited_for(tmp_path, authority, level):
    log = MadeLog(tmp_path, authority)
    log.publish(*some(10))
    path = log.file(level)

    def read():
        with pytest.raises(Denied, match=rf"log\.invalid: .*tile/{level}/000\.p/10") as denied:
            log.tiles().leaf(0) if level == "0" else log.tiles().entry(0)
        assert denied.value.field == f"tile/{level}/000.p/10"
        return denied.value.detail

    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert "more than the" in read()
    path.unlink()
    path.mkdir()
    assert read().endswith("it is no regular file")
    path.rmdir()
    path.symlink_to("nowhere")
    assert read().endswith("it is a link that leads nowhere")
    path.unlink()
    path.symlink_to(path.name)
    assert read().endswith("it is a link that leads to itself")


def test_a_checkpoint_that_is_too_large_or_no_file_is_invalid(tmp_path, authority):
    log = MadeLog(tmp_path, authority)
    log.publish(*some(1))
    log.show("x" * 1_000_000)
    with pytest.raises(Denied, match=r"log\.invalid: .*checkpoint has more than"):
        newest(DirectorySource(tmp_path), authority.trust, at=datetime.now(UTC))
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "checkpoint").symlink_to("nowhere")
    with pytest.raises(Denied, match=r"log\.invalid: .*leads nowhere"):
        newest(DirectorySource(tmp_path), authority.trust, at=datetime.now(UTC))


# ---- where it is read from ---------------------------------------------------------------------------------


@pytest.fixture
def served():
    """Serves routes on loopback."""
    running = []

    def serve(*routes):
        listener = socket.create_server(("127.0.0.1", 0))
        server = ThreadedServer(Starlette(routes=routes), listener, "test")
        running.append(server)
        server.start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for server in running:
        server.stop()


def test_over_http_it_is_the_same(served, log):
    async def file(request):
        path = log.directory / request.path_params["path"]
        return Response(path.read_bytes()) if path.is_file() else Response(status_code=404)

    url = served(Route("/a/b/{path:path}", file))
    with HttpSource(f"{url}/a/b/") as source:
        found = newest(source, log.authority.trust, at=datetime.now(UTC))
        assert found == log.checkpoint()
        assert LogTiles(source, found.size).root() == found.root
        assert source.read("tile/9/000", 100) is None


def test_what_an_http_server_may_not_answer(served):
    async def large(_):
        return PlainTextResponse("x" * 1000)

    async def failing(_):
        return PlainTextResponse("no", status_code=503)

    async def elsewhere(_):
        return RedirectResponse("/large")

    async def packed(_):
        return Response(b"x", headers={"content-encoding": "gzip"})

    routes = {"large": large, "failing": failing, "elsewhere": elsewhere, "packed": packed}
    url = served(*(Route(f"/{name}", route) for name, route in routes.items()))
    with HttpSource(url) as source:
        assert source.read("large", 1000) == b"x" * 1000
        with pytest.raises(LogUnavailable, match="more than the 999 bytes"):
            source.read("large", 999)
        for name in ("failing", "elsewhere", "packed"):
            with pytest.raises(LogUnavailable, match="not with a plain file"):
                source.read(name, 1000)


def test_a_log_that_is_down():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with HttpSource(f"http://127.0.0.1:{port}") as source, pytest.raises(LogUnavailable) as caught:
        source.read("checkpoint", 100)
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith("log.unavailable: ")


def test_a_server_that_hangs(monkeypatch):
    monkeypatch.setattr("app.core.log_source.READ_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listener.accept, daemon=True).start()
        with HttpSource(f"http://127.0.0.1:{listener.getsockname()[1]}") as source, pytest.raises(LogUnavailable):
            source.read("checkpoint", 100)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_drips(monkeypatch, head):
    monkeypatch.setattr("app.core.log_source.TOTAL_TIMEOUT", 0.5)
    over = threading.Event()

    def drip(listener):
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(head)
            while not over.wait(0.05):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip, args=[listener], daemon=True)
        server.start()
        late = threading.Timer(30, over.set)  # so that it ends without the deadline, too
        late.start()
        begun = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with HttpSource(url) as source, pytest.raises(LogUnavailable, match="did not answer in"):
            source.read("checkpoint", 10_000)
        assert time.monotonic() - begun < 20
        late.cancel()
        over.set()
        server.join()


def test_a_directory(tmp_path, log):
    source = log_source(str(log.directory))
    assert isinstance(source, DirectorySource)
    assert source.read("tile/7/000", 10) is None
    with pytest.raises(LogUnavailable, match="more than the 10 bytes"):
        source.read("checkpoint", 10)
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(LogUnavailable, match="cannot read checkpoint"):
        log_source(str(tmp_path)).read("checkpoint", 10)


@pytest.mark.parametrize(
    "where", ["/nowhere/at/all", "ftp://example.org/", "http://", "https://a/b?c", str(Path(__file__))]
)
def test_what_names_no_log(where):
    with pytest.raises(UsageError):
        log_source(where)


def test_a_log_without_checkpoint(tmp_path, authority):
    with pytest.raises(LogUnavailable, match="has no checkpoint"):
        newest(DirectorySource(tmp_path), authority.trust, at=datetime.now(UTC))

from pathlib import Path

import platformdirs
import pytest

from app.core.errors import PlacetError
from app.local.tools import cache as tool_cache
from app.local.tools import installed


@pytest.fixture
def add(cache, opa):
    def add(content: bytes = b"binary", go: tuple[int, ...] = (1, 26, 8)) -> Path:
        directory = tool_cache.build_directory(opa, go)
        directory.mkdir(parents=True)
        binary = directory / "scratch"
        binary.write_bytes(content)
        binary.chmod(0o755)
        return tool_cache.add(opa, binary, go).path

    return add


def test_the_cache_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("PLACET_CACHE_DIR", raising=False)
    assert tool_cache.cache_directory() == platformdirs.user_cache_path("placet")
    monkeypatch.setenv("PLACET_CACHE_DIR", str(tmp_path))
    assert tool_cache.cache_directory() == tmp_path


def test_what_is_not_built_says_what_to_run(cache):
    with pytest.raises(PlacetError, match="placet tools install opa"):
        installed("opa")


def test_what_is_built_is_found_without_go(add, monkeypatch):
    path = add()
    monkeypatch.setenv("PATH", "/nowhere")
    assert installed("opa") == path


def test_the_newest_go_wins(add):
    add(go=(1, 9, 0))
    newest = add(go=(1, 27, 10))
    add(go=(1, 27, 9))
    assert installed("opa") == newest


@pytest.mark.parametrize(
    "damage",
    [
        lambda binary: binary.unlink(),
        lambda binary: binary.write_bytes(b"bin"),
        lambda binary: binary.chmod(0o644),
        lambda binary: binary.with_name("opa.json").unlink(),
        lambda binary: binary.with_name("opa.json").write_text('{"go": [1, 26'),
        lambda binary: binary.with_name("opa.json").write_text("[]"),
        lambda binary: binary.with_name("opa.json").write_text("{}"),
    ],
    ids=["gone", "short", "not executable", "no receipt", "half a receipt", "a list", "an empty receipt"],
)
def test_a_damaged_build_is_none(add, damage):
    damage(add())
    with pytest.raises(PlacetError, match="not built"):
        installed("opa")

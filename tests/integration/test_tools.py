"""The tools as `make test` built them, and a real Go build of a small program."""

import json
import subprocess
import sys

import pytest

from app.core.errors import PlacetError
from app.local import tools
from app.local.tools import cache, pins
from app.local.tools.pins import TOOLS, Tool

pytestmark = pytest.mark.stack


def placet(*arguments, **options):
    code = "import sys; from cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, **options
    )


@pytest.fixture
def small_tool(tmp_path, monkeypatch):
    """A program without dependencies, in a directory that nobody may write, as the only tool."""
    sources = tmp_path / "tools" / "small"
    sources.mkdir(parents=True)
    (sources / "go.mod").write_text("module placet.dev/small\n\ngo 1.26.0\n\nrequire placet.dev/none v1.0.0\n")
    (sources / "go.sum").write_text("")
    (sources / "main.go").write_text('package main\n\nfunc main() { println("small") }\n')
    for path in (*sources.iterdir(), sources):
        path.chmod(0o555 if path.is_dir() else 0o444)
    tool = Tool("small", "small", "placet.dev/small", "placet.dev/none")
    monkeypatch.setattr(pins, "shipped", lambda name: tmp_path / name)
    monkeypatch.setitem(TOOLS, "small", tool)
    monkeypatch.setenv("PLACET_CACHE_DIR", str(tmp_path / "cache"))
    yield sources
    sources.chmod(0o755)


def test_opa_is_the_pinned_version(opa_binary):
    answer = subprocess.run([opa_binary, "version"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"Version: {TOOLS['opa'].version.removeprefix('v')}\n" in answer


@pytest.mark.parametrize("name", tools.NEEDED)
def test_every_tool_is_built_and_unaltered(name):
    built = cache.find(TOOLS[name])
    assert built is not None
    assert cache.file_digest(built.path) == built.digest


@pytest.mark.parametrize("name", tools.NEEDED)
def test_every_tool_is_linked_statically_and_names_no_directory(name, tool):
    content = tool(name).read_bytes()
    assert b"-trimpath=true" in content
    assert b"CGO_ENABLED=0" in content


def test_list_is_one_json_document():
    done = placet("tools", "list", "--output", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["name"] for row in rows] == list(TOOLS)
    needed = [row for row in rows if row["name"] in tools.NEEDED]
    assert {row["state"] for row in needed} == {"built"}
    assert all(row["digest"].startswith("sha256:") for row in needed)


def test_install_of_what_is_there_builds_nothing():
    done = placet("tools", "install", "--output", "json")
    assert done.returncode == 0
    assert "building" not in done.stderr
    assert [row["name"] for row in json.loads(done.stdout)] == list(tools.NEEDED)


def test_install_of_an_unknown_tool_is_wrong_usage():
    done = placet("tools", "install", "cosine")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"placet: there is no tool 'cosine'; the tools are {', '.join(TOOLS)}\n"


def test_builds_from_a_checkout_that_is_read_only(small_tool):
    before = {path.name: path.read_bytes() for path in small_tool.iterdir()}
    binary = tools.install(["small"])["small"]
    answer = subprocess.run([binary], capture_output=True, text=True, timeout=10, check=True)
    assert answer.stderr == "small\n"
    assert {path.name: path.read_bytes() for path in small_tool.iterdir()} == before


def test_the_same_pins_give_the_same_bytes(small_tool, tmp_path, monkeypatch):
    first = tools.install(["small"])["small"].read_bytes()
    monkeypatch.setenv("PLACET_CACHE_DIR", str(tmp_path / "other"))
    assert tools.install(["small"])["small"].read_bytes() == first


def test_a_program_that_does_not_compile_shows_why(small_tool):
    (small_tool / "main.go").chmod(0o644)
    (small_tool / "main.go").write_text("package main\n\nfunc main() { missing() }\n")
    with pytest.raises(PlacetError, match=r"^small does not build: .*undefined: missing$"):
        tools.install(["small"])


def test_an_altered_go_sum_stops_the_build(small_tool):
    """What is downloaded must match go.sum: a module that is not in it is not fetched."""
    (small_tool / "main.go").chmod(0o644)
    (small_tool / "main.go").write_text('package main\n\nimport _ "placet.dev/none"\n\nfunc main() {}\n')
    with pytest.raises(PlacetError, match=r"^small does not build: .*missing go\.sum entry"):
        tools.install(["small"])

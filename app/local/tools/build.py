"""Builds the tools that are missing, one process at a time."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Protocol

from app.core.errors import PlacetError
from app.core.file_lock import file_lock
from app.local.children import Children
from app.local.tools import cache, pins
from app.local.tools.go import Go, available, environment, find_go
from app.local.tools.pins import NEEDED, Tool

#: Seconds within which one tool must build. All five take about five minutes on two cores, with downloads.
BUILD_TIMEOUT = 3600.0

_TICK = 0.5


class Progress(Protocol):
    """Is told what happens, so that a person can see it."""

    def note(self, text: str) -> None:
        """Something that happened: one line."""

    def building(self, tool: Tool, packages: int, seconds: float) -> None:
        """Twice a second: how many packages of `tool` are compiled so far, after how many seconds."""


class Silence:
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def building(self, tool: Tool, packages: int, seconds: float) -> None:
        """Ignore it."""


def install(names: Iterable[str] = NEEDED, progress: Progress | None = None) -> dict[str, Path]:
    """Build those of the tools `names` that are missing, or that an older Go built; where each lies.

    Waits while another process builds. May be interrupted at any moment: what is built stays, the rest leaves
    nothing. Raises `PlacetError` with Go's last words when a tool does not build, `UsageError` for a wrong name.
    """
    progress = progress or Silence()
    wanted = [pins.tool(name) for name in dict.fromkeys(names)]
    present = {tool.name: path for tool in wanted if (path := _present(tool))}
    if len(present) == len(wanted):
        return present  # without the lock: nobody waits for a build that does not concern him
    directory = cache.tools_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with file_lock(
            directory / "lock", waiting=lambda: progress.note("waiting for another placet tools install to finish")
        ):
            return {tool.name: _install(tool, progress) for tool in wanted}
    except OSError as error:
        raise PlacetError(
            f"the tools cannot be kept in {directory}: {error}; PLACET_CACHE_DIR names another"
        ) from error


def _present(tool: Tool) -> Path | None:
    built = cache.find(tool)
    return built.path if built is not None and built.go_version >= available(tool.go_version) else None


def _install(tool: Tool, progress: Progress) -> Path:
    if present := _present(tool):
        return present
    go = find_go(tool.go_version, progress.note)
    directory = cache.build_directory(tool, go.version)
    directory.mkdir(parents=True, exist_ok=True)
    for abandoned in directory.glob(".build-*"):  # of a process that was killed; we hold the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    progress.note(f"building {tool.name} {tool.version} with {go}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=directory, prefix=".build-") as scratch:
        binary = _build(tool, go, Path(scratch), progress)
        built = cache.add(tool, binary, go.version)
    progress.note(f"built {tool.name} in {time.monotonic() - began:.0f} s")
    return built.path


def _build(tool: Tool, go: Go, scratch: Path, progress: Progress) -> Path:
    binary, log = scratch / "binary", scratch / "log"
    # -buildvcs=false: git refuses to answer in a checkout that belongs to somebody else.
    command: list[str | Path] = [go.binary, "build", "-v", "-trimpath", "-buildvcs=false", "-o", binary, tool.package]
    children = Children()
    began = time.monotonic()
    try:
        with log.open("wb") as output:
            build = children.start(command, output=output, environment=environment(scratch), directory=tool.directory)
        while (seconds := time.monotonic() - began) < BUILD_TIMEOUT:
            try:
                code = build.wait(timeout=_TICK)
                break
            except TimeoutExpired:
                progress.building(tool, _read(log).count("\n"), seconds)
        else:
            raise PlacetError(f"{tool.name} was not built within {BUILD_TIMEOUT:.0f} s; run this again")
    finally:
        children.stop()
    if code != 0:
        raise PlacetError(f"{tool.name} does not build: {_last_words(_read(log))}")
    return binary


def _read(log: Path) -> str:
    return log.read_text(errors="replace")


def _last_words(log: str) -> str:
    """The end of what Go said, without the packages that `-v` names and the downloads."""
    lines = [line.strip() for line in log.splitlines()]
    telling = [line for line in lines if line and not re.fullmatch(r"[\w./~-]+|go: downloading .*", line)]
    return " / ".join(telling[-5:]) or "go build said nothing"

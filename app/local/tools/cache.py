"""The per-user cache of built tools.

`TOOLS/MODULE/DIGEST-goVERSION/NAME`, with a receipt `NAME.json` beside each binary, written last: what has no
receipt is not there. Another pin or a newer Go has another directory, so nothing that runs is ever replaced.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from app.core import strict_json
from app.core.errors import PlacetError
from app.core.files import write_atomically
from app.local.tools import pins
from app.local.tools.pins import Tool


@dataclass(frozen=True)
class Built:
    """A binary in the cache."""

    path: Path
    go_version: tuple[int, ...]
    #: `sha256:…` of the binary when it was built.
    digest: str


def cache_directory() -> Path:
    """`PLACET_CACHE_DIR`, else the user's cache directory."""
    chosen = os.environ.get("PLACET_CACHE_DIR")
    return Path(chosen).absolute() if chosen else platformdirs.user_cache_path("placet")


def tools_directory() -> Path:
    """Where the tools are built."""
    return cache_directory() / "tools"


def installed(name: str) -> Path:
    """The binary of the tool `name`, built from the pins of this version of Placet.

    Raises `PlacetError` that says what to do when it is not built, `UsageError` when there is no such tool.
    """
    built = find(pins.tool(name))
    if built is None:
        raise PlacetError(f"{name} is not built yet; run: placet tools install {name}")
    return built.path


def find(tool: Tool) -> Built | None:
    """The build of `tool` from its present pins by the newest Go, or None."""
    receipts = tools_directory().glob(f"{tool.module}/{tool.digest}-go*/{tool.name}.json")
    builds = (_read(tool, receipt) for receipt in receipts)
    return max((built for built in builds if built is not None), key=lambda built: built.go_version, default=None)


def build_directory(tool: Tool, go_version: tuple[int, ...]) -> Path:
    """Where `tool` belongs when that Go builds it."""
    return tools_directory() / tool.module / f"{tool.digest}-go{'.'.join(map(str, go_version))}"


def add(tool: Tool, binary: Path, go_version: tuple[int, ...]) -> Built:
    """Move a finished `binary` of the same file system into the cache."""
    directory = build_directory(tool, go_version)
    digest = file_digest(binary)
    _sync(binary)
    path = directory / tool.name
    binary.rename(path)
    receipt = {
        "name": tool.name,
        "version": tool.version,
        "go": list(go_version),
        "digest": digest,
        "size": path.stat().st_size,
        "built_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_atomically(directory / f"{tool.name}.json", json.dumps(receipt, indent=2).encode(), mode=0o644)
    return Built(path, go_version, digest)


def file_digest(path: Path) -> str:
    """`sha256:…` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _read(tool: Tool, receipt: Path) -> Built | None:
    """What the receipt says, if it is whole and its binary is as long as it was: a damaged build is none."""
    binary = receipt.with_suffix("")
    try:
        content = strict_json.load_object(receipt.read_bytes())
        built = Built(binary, tuple(int(part) for part in content["go"]), str(content["digest"]))
        whole = binary.stat().st_size == content["size"] and os.access(binary, os.X_OK)
    except (OSError, strict_json.StrictJSONError, KeyError, TypeError, ValueError):
        return None
    return built if whole else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

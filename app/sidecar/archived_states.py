"""Trust states as the agent archived them, each under its digest."""

from __future__ import annotations

from pathlib import Path

from app.core.bundle import digest_of


def read(states: Path, digest: str) -> bytes | None:
    """The state of this digest; None when it is lost, or is another one."""
    path = path_of(states, digest)
    document = path.read_bytes() if path.exists() else b""
    return document if digest_of(document) == digest else None


def path_of(states: Path, digest: str) -> Path:
    """Where the state of this digest lies."""
    return states / f"{digest.removeprefix('sha256:')}.json"

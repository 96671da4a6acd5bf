import os
from pathlib import Path

import pytest

from app.local.tools import pins


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("PLACET_CACHE_DIR", str(directory))
    return directory


@pytest.fixture
def fake_go(tmp_path, monkeypatch):
    """Put a `go` on the PATH whose `build` runs a shell script with OUT set; returns a function that makes it."""

    def make(build: str = 'printf built > "$OUT"; chmod +x "$OUT"', version: str = "go1.99.1") -> Path:
        directory = tmp_path / "fake-go"
        directory.mkdir(exist_ok=True)
        go = directory / "go"
        go.write_text(
            f'#!/bin/sh\nif [ "$1" = env ]; then echo {version}; exit; fi\n'
            'while [ "$1" != -o ]; do shift; done; OUT="$2"\n'
            f"{build}\n"
        )
        go.chmod(0o755)
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        return go

    return make


@pytest.fixture
def opa():
    """The pin of OPA."""
    return pins.tool("opa")

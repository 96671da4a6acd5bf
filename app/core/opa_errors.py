"""What OPA says when it fails, as one line."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any


def errors_in(answer: CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """The errors that OPA told as JSON, on whichever stream; empty when it told none."""
    for stream in (answer.stderr, answer.stdout):
        try:
            errors = json.loads(stream)["errors"]
        except (ValueError, KeyError, TypeError):
            continue
        if errors:
            return list(errors)
    return []


def first_error(answer: CompletedProcess[bytes], base: Path | None = None) -> str:
    """OPA's first error, `file:line:column: message`, with paths below `base` as the author knows them."""
    if errors := errors_in(answer):
        return _line(errors[0], base)
    text = (answer.stderr or answer.stdout).decode(errors="replace").strip() or f"exit code {answer.returncode}"
    return text.splitlines()[0][:500]


def _line(error: dict[str, Any], base: Path | None) -> str:
    location = error.get("location") or {}
    file = str(location.get("file", "")).removeprefix(f"{base}/")
    where = f"{file}:{location['row']}:{location['col']}: " if file and "row" in location else ""
    said = str(error.get("message", "unknown error")).replace(f"{base}/", "")  # other places, named in passing
    return f"{where}{said}".splitlines()[0][:500]

"""Regal's lint of a policy, for those who have it: it is not one of the tools that Placet pins."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.core.complaint import printable
from app.core.errors import PlacetError
from app.core.policy_check import Finding
from app.core.policy_project import Project

#: Seconds that it may take.
_TIMEOUT = 120

#: Regal's rules that `check` has its own word for: the format, the entrypoint that .manifest names, and references
#: to data.json and to data.placet, which Regal does not see.
_OURS = frozenset({"opa-fmt", "no-defined-entrypoint", "unresolved-reference"})


def lint(project: Project) -> list[Finding]:
    """What `regal lint` says, where it is on the PATH. It takes its own configuration from the policy's directory.

    Its errors are faults, its warnings are only shown. Raises `PlacetError` when it does not run.
    """
    regal = shutil.which("regal")
    if regal is None:
        return []
    try:
        answer = subprocess.run(
            [regal, "lint", "--format", "json", "."],
            cwd=project.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise PlacetError(f"{regal} does not run: {error}; take it off the PATH to go without") from error
    try:
        violations = json.loads(answer.stdout)["violations"] or []
    except (ValueError, KeyError, TypeError) as error:
        said = (answer.stderr or answer.stdout).decode(errors="replace").strip().splitlines()
        raise PlacetError(f"regal lint failed: {said[0][:300] if said else answer.returncode}") from error
    return [_finding(project, one) for one in violations if one.get("title") not in _OURS]


def _finding(project: Project, found: Mapping[str, Any]) -> Finding:
    location = found.get("location") or {}
    file = Path(str(location.get("file", "")))
    if file.is_absolute() and file.is_relative_to(project.directory.resolve()):
        file = file.relative_to(project.directory.resolve())
    links = [str(one.get("ref")) for one in found.get("related_resources") or [] if one.get("ref")]
    title = f"{found.get('category')}/{found.get('title')}"
    return Finding(
        project.location(file.as_posix()),
        int(location.get("row") or 1),
        int(location.get("col") or 1),
        "lint",
        printable(f"{found.get('description')} ({title})"),
        printable(links[0]) if links else f"regal's documentation explains {title}",
        fatal=found.get("level") == "error",
    )

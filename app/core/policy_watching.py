"""What to test again when a policy's files change: only the tests that could notice."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from app.core.policy_project import Project

_PACKAGE = re.compile(rb"^package ([\w.]+)", re.MULTILINE)
_REFERENCE = re.compile(rb"\bdata((?:\.\w+)+)")

#: A file's time of change (ns) and size.
Stamp = tuple[int, int]


def stamps(directory: Path) -> dict[str, Stamp]:
    """The files that belong to a policy, each with its stamp. One that vanishes meanwhile is left out."""
    found: dict[str, Stamp] = {}
    for here, below, files in os.walk(directory):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            if name.endswith((".rego", ".json", ".yaml", ".yml")) or name == ".manifest":
                path = Path(here, name)
                try:
                    status = path.stat()
                except OSError:
                    continue  # an editor has just replaced it
                found[path.relative_to(directory).as_posix()] = (status.st_mtime_ns, status.st_size)
    return found


def changed(before: Mapping[str, Stamp], after: Mapping[str, Stamp]) -> set[str]:
    """The paths that came, went or changed."""
    return {path for path in {*before, *after} if before.get(path) != after.get(path)}


def pattern(project: Project, paths: set[str]) -> str | None:
    """What `opa test --run` takes to run the tests that the changed paths can matter to; None: all of them.

    A test can notice a package that its own refers to, itself or through others. Where that cannot be told from the
    text (data, settings, a file that went, a reference by variable), everything is tested.
    """
    sources = {**project.modules, **project.tests}
    if not paths <= set(sources):
        return None
    packages = {path: hit[1].decode() for path, raw in sources.items() if (hit := _PACKAGE.search(raw))}
    if any(path not in packages for path in paths) or any(b"data[" in raw for raw in sources.values()):
        return None
    names = set(packages.values())
    asks: dict[str, set[str]] = {name: set() for name in names}
    for path, name in packages.items():
        for hit in _REFERENCE.finditer(sources[path]):
            asked = hit[1].decode()[1:]
            asks[name] |= {one for one in names if f"{asked}.".startswith(f"{one}.") or one.startswith(f"{asked}.")}
    affected = {packages[path] for path in paths}
    while more := {name for name in names - affected if asks[name] & affected}:
        affected |= more
    return "|".join(rf"^data\.{re.escape(name)}\.[^.]+$" for name in sorted(affected))

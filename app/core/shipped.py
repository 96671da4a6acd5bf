"""Where the files lie that ship with the code but are not Python: the Rego library, migrations, tool pins."""

from __future__ import annotations

from pathlib import Path

import app

_PACKAGE = Path(app.__file__).resolve().parent


def shipped(name: str) -> Path:
    """The directory `name` (`rego`, `migrations`, `tools` or `bundles`), in a wheel or in a checkout."""
    inside_wheel = _PACKAGE / "shipped" / name
    directory = inside_wheel if inside_wheel.is_dir() else _PACKAGE.parent / name
    if not directory.is_dir():
        raise FileNotFoundError(f"this installation of placet is incomplete: {directory} is missing")
    return directory

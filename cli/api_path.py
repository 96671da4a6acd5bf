"""Addresses of the APIs, in which a name from the command line is one segment, whatever is in it.

Servers take `%2F` for a slash, so no name with one could be meant.
"""

from __future__ import annotations

from urllib.parse import quote

from app.core.errors import UsageError


def below(root: str, *parts: object) -> str:
    """The address of `parts` below `root`, such as `/api/v1/systems/payments/modes`. Raises `UsageError`."""
    segments = [str(part) for part in parts]
    for one in segments:
        if one in ("", ".", "..") or "/" in one:
            raise UsageError(f"{one!r} is no name" + (": it has a slash" if "/" in one else ""))
    try:
        return "/".join((root, *(quote(one, safe="") for one in segments)))
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!r} is no UTF-8") from error


def api(*parts: object) -> str:
    """An address of the control plane's. Raises `UsageError`."""
    return below("/api/v1", *parts)


def system_path(system: str, *parts: object) -> str:
    """An address of a system's. Raises `UsageError`."""
    return api("systems", system, *parts)

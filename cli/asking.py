"""Asking a person before something is done that cannot be taken back."""

from __future__ import annotations

import sys

import typer

from app.core.errors import PlacetError, UsageError


def confirm(question: str, yes: bool, look: str) -> None:
    """Ask, unless `yes` was said already. `look`: what to look at before, where nobody can be asked.

    Raises `UsageError` where nobody can be asked, and `PlacetError` for an answer that is no yes.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"nobody can be asked here; look at {look}, then give --yes")
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C or Ctrl-D: the line of the question is still open
        sys.stderr.write("\n")
        agreed = False
    if not agreed:
        raise PlacetError("nobody said yes; nothing was done")

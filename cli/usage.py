"""Wrong usage that the parser of the command line finds, as one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer


def complain(error: typer.TyperException, root: typer.Typer, arguments: Sequence[str]) -> str | None:
    """What is wrong, and which help says what is right. None where help was all that was asked for, and is printed."""
    context = getattr(error, "ctx", None)
    said = error.format_message()
    if context is not None and said == context.get_help():  # of a noun alone, such as `placet bundle`
        sys.stderr.write(f"{said}\n")
        return None
    # Pydantic's words, which Typer puts before its own of a choice.
    text = said.replace(": Value error, ", ": ").rstrip(".")
    return f"{text[:1].lower()}{text[1:]} (see: {_named(root, arguments)} --help)"


def _named(root: typer.Typer, arguments: Sequence[str]) -> str:
    """The command that the arguments name, as far as there is such a one; not every error knows its own."""
    command, path = typer.main.get_command(root), ["placet"]
    for word in arguments:
        below = getattr(command, "commands", {})
        if word not in below:
            break
        command = below[word]
        path.append(word)
    return " ".join(path)

"""How commands print: one document on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from app.core.complaint import printable

#: For messages and progress; stdout is for the result alone.
messages = Console(stderr=True, highlight=False, soft_wrap=True)


class Output(StrEnum):
    """The forms in which a command prints its result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="How to print the result.")]


def emit(document: Any, output: Output, *, columns: Sequence[str] | None = None) -> None:
    """Print a result: `document` as JSON, or as a table.

    A list of objects becomes one row each, with `columns` (default: the keys of the first); an object becomes
    one row a key.
    """
    if output is Output.JSON:
        sys.stdout.write(json_text(document, indent=2) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no width: nothing is cut
    if isinstance(document, list):
        names = list(columns or (document[0] if document else []))
        if not document:
            messages.print("none")
            return
        table = Table(box=None, pad_edge=False)
        for name in names:
            table.add_column(name, overflow="fold")
        for row in document:
            table.add_row(*(_cell(row.get(name)) for name in names))
        _print(console, table)
        return
    table = Table("name", Column(overflow="fold"), show_header=False, box=None, pad_edge=False)
    for name, value in document.items():
        table.add_row(name, _cell(value))
    _print(console, table)


def _print(console: Console, table: Table) -> None:
    """A table. Into a pipe its lines end where their text does: one long cell makes no other row longer."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def json_text(document: Any, indent: int | None = None) -> str:
    """JSON with readable letters, of which nothing is obeyed by a terminal: what it might obey is escaped."""
    return escaped(json.dumps(document, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    """The same JSON. It has such characters in its strings alone, where an escape means the same; newlines stay."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(one if one.isprintable() or one in "\n\x7f" else json.dumps(one)[1:-1] for one in text).replace(
        "\x7f", "\\u007f"
    )


def say(text: str) -> None:
    """A message, of which nothing is markup, nor obeyed by a terminal."""
    messages.print(printable(text), markup=False)


def _cell(value: Any) -> Text:
    """As it stands: what comes from outside may hold markup, or control a terminal."""
    if value is None:
        return Text()
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, dict | list):
        return Text(printable(json.dumps(value, ensure_ascii=False)))
    return Text(printable(str(value)))

"""`placet retention`: how long the records of a system are kept."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from app.core.errors import UsageError
from cli import client
from cli.api_path import system_path
from cli.output import Output, OutputOption, emit

app = typer.Typer(
    epilog="Examples: placet retention set payments --records 90d --columns 365d  ·  placet retention show payments"
)

SystemArgument = Annotated[str, typer.Argument(help="The system.", show_default=False)]


@app.command("set", epilog="Example: placet retention set payments --records 90d --columns 365d")
def set_(
    system: SystemArgument,
    records: Annotated[str, typer.Option(help="How long raw records are kept since their receipt, such as 90d.")],
    columns: Annotated[
        str | None,
        typer.Option(help="How long the columns are that searches use. Default: for ever.", show_default=False),
    ] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set how long records are kept. What is older is erased from now on, but for what a hold covers."""
    body = {"records_days": _days(records), "columns_days": None if columns is None else _days(columns)}
    with client.connect(server, token_file) as plane:
        emit(plane.put(system_path(system, "retention"), json=body), output)


@app.command(epilog="Example: placet retention show payments --output json")
def show(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how long the records of a system are kept."""
    with client.connect(server, token_file) as plane:
        emit(plane.get(system_path(system, "retention")), output)


@app.command(epilog="Example: placet retention remove payments")
def remove(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep what is there for ever."""
    with client.connect(server, token_file) as plane:
        emit(plane.delete(system_path(system, "retention")), output)


def _days(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,4})d", text)
    if match is None:
        raise UsageError(f"{text!r} is no number of days, such as 90d")
    return int(match[1])

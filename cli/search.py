"""`placet search`: filters of decisions under a name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.core.errors import UsageError
from cli import client
from cli.api_path import api
from cli.filter_options import Filters, with_filters
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(epilog="Examples: placet search save refused-today --outcome deny --since 1d  ·  placet search list")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The search's name.", show_default=False)]
SystemOption = Annotated[str | None, typer.Option(help="The one of this system. Default: of all.", show_default=False)]


@app.command(
    epilog="Example: placet search save large-refusals --outcome deny --where input.context.currency=EUR --since 7d"
)
@with_filters
def save(
    name: NameArgument,
    filters: Filters,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Save a filter under a name: of a system with --system, else of all. Spans such as 7d count from each run."""
    members = {key: value for key, value in filters.items() if value is not None}
    system = members.pop("system", None)
    if "saved" in members:
        raise UsageError("a search is made of filters, not of another search")
    with client.connect(server, token_file) as plane:
        found = plane.put(_path(name, system), json={"filter": members})
    say(f"Saved; run it: placet decision list --saved {name}" + (f" --system {system}" if system else ""))
    emit(found, output)


@app.command("list", epilog="Example: placet search list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List saved searches."""
    with client.connect(server, token_file) as plane:
        found: list[dict[str, Any]] = plane.get("/api/v1/searches")
    emit(found, output, columns=["name", "system", "filter", "saved_by", "saved_at"])


@app.command(epilog="Example: placet search delete large-refusals")
def delete(
    name: NameArgument,
    system: SystemOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete a saved search."""
    with client.connect(server, token_file) as plane:
        plane.delete(_path(name, system))
    emit({"deleted": name}, output)


def _path(name: str, system: str | None) -> str:
    from urllib.parse import urlencode

    return api("searches", name) + (f"?{urlencode({'system': system})}" if system else "")

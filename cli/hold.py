"""`placet hold`: records that nobody may erase, and that retention leaves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.core.errors import UsageError
from cli import client
from cli.api_path import api
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(
    epilog="Examples: placet hold place --system payments --since 2026-10-01T00:00:00Z --reason 'case 2026-17'  ·  "
    "placet hold list"
)

_COLUMNS = ["id", "system", "issuer", "subject", "execution", "since_ns", "until_ns", "placed_by", "reason"]


@app.command(
    epilog="Example: placet hold place --system payments --since 2026-10-01T00:00:00Z --reason 'case 2026-17'  ·  "
    "placet hold place --subject https://tokens.example.org job-17 --reason 'incident 31'"
)
def place(
    reason: Annotated[str, typer.Option(help="Why. It is kept, with the name of your token.")],
    system: Annotated[str | None, typer.Option(help="Records of this system.", show_default=False)] = None,
    subject: Annotated[
        tuple[str, str] | None, typer.Option(metavar="ISSUER ID", help="Records of this subject.", show_default=False)
    ] = None,
    execution: Annotated[str | None, typer.Option(help="Records of this execution.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="Records from this time on (RFC 3339).", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="Records until this time.", show_default=False)] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hold the records that all of these fit: they are neither erased nor deleted until somebody releases the hold."""
    issuer, name = subject or (None, None)
    given = {
        "system": system,
        "issuer": issuer,
        "subject": name,
        "execution": execution,
        "since": since,
        "until": until,
    }
    body = {member: value for member, value in given.items() if value is not None}
    if not body:
        raise UsageError("say what to hold: --system, --subject, --execution, --since or --until")
    with client.connect(server, token_file) as plane:
        emit(plane.post("/api/v1/holds", json=body | {"reason": reason}), output)


@app.command(epilog="Example: placet hold release 3 --reason 'case 2026-17 is closed'")
def release(
    identifier: Annotated[int, typer.Argument(metavar="ID", help="The hold, as `placet hold list` names it.", min=1)],
    reason: Annotated[str, typer.Option(help="Why. It is kept, with the name of your token.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Release a hold. What is past its time of retention is erased soon after."""
    with client.connect(server, token_file) as plane:
        released: dict[str, Any] = plane.post(api("holds", identifier, "release"), json={"reason": reason})
    say(f"Released by {released['released_by']}; the hold stays on record")
    emit(released, output)


@app.command("list", epilog="Example: placet hold list --system payments")
def list_(
    system: Annotated[str | None, typer.Option(help="Those that can cover this system.", show_default=False)] = None,
    released: Annotated[bool, typer.Option("--released", help="Those that were released.")] = False,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the holds in force."""
    with client.connect(server, token_file) as plane:
        found = plane.get("/api/v1/holds", system=system, released="true" if released else None)
    emit(found, output, columns=[*_COLUMNS, "released_by", "release_reason"] if released else _COLUMNS)

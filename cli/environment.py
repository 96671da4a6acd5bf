"""`placet environment`: attestation results about sidecars."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import client
from cli.api_path import system_path
from cli.output import Output, OutputOption, emit

app = typer.Typer(epilog="Example: placet environment list --system payments")

SystemOption = Annotated[str, typer.Option("--system", help="The system.", show_default=False)]


@app.command("list", epilog="Example: placet environment list --system payments")
def list_(
    system: SystemOption,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the attestation results of a system's sidecars that have not expired."""
    columns = ["id", "sidecar", "submods", "issued_at", "expires_at", "revoked_because"]
    with client.connect(server, token_file) as plane:
        emit(plane.get(system_path(system, "environment")), output, columns=columns)


@app.command(
    epilog="Example: placet environment revoke 0c9d27a1b8e3465f --system payments", context_settings=client.TAKES_AN_ID
)
def revoke(
    result: Annotated[str, typer.Argument(help="The result's id.", show_default=False)],
    system: SystemOption,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke an attestation result: sidecars stop counting it at their next refresh.

    The sidecar may get a new one with the same evidence; change what the governance accepts to prevent that.
    """
    with client.connect(server, token_file) as plane:
        emit(plane.delete(system_path(system, "environment", result)), output)

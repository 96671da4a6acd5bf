"""`placet token`: API tokens of the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.core.errors import UsageError
from cli import client, outputs
from cli.api_path import api
from cli.output import Output, OutputOption, emit, messages

app = typer.Typer(
    epilog="Examples: placet token create reviewer --scope decision:read --out reviewer.token  ·  placet token list"
)


@app.command(
    epilog="Example: placet token create payments-one --scope record:write --scope execution:write "
    "--scope environment:write --system payments --sidecar one -o one.token"
)
def create(
    name: Annotated[str, typer.Argument(help="What the token is for.", show_default=False)],
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it may do: admin, system:read, system:write, release:write, channel:write, quarantine:write, "
            "issuer:write, governance:write, warrant:read, warrant:issue, warrant:revoke, execution:write, "
            "environment:write, token:write, decision:read, record:write or metrics:read. Repeatable."
        ),
    ],
    system: Annotated[str | None, typer.Option(help="The only system that it may act for.")] = None,
    sidecar: Annotated[
        str | None,
        typer.Option(
            help="The only sidecar of that system that it may act for; with record:write, execution:write and "
            "environment:write at most."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write the token to this file, mode 0600, and do not print it.")
    ] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a token. It is shown once; the control plane keeps only its hash."""
    if sidecar is not None and system is None:
        raise UsageError("--sidecar needs --system: a sidecar's name means something in its system alone")
    wanted = {"name": name, "scopes": scope}
    wanted |= {"system": system} if system else {}
    wanted |= {"sidecar": sidecar} if sidecar else {}
    with outputs.place(out, new=True) as place, client.connect(server, token_file) as plane:
        token = plane.post("/api/v1/tokens", json=wanted)
        if place is None:
            emit(token, output)
            return
        secret = token.pop("token")
        try:
            place.keep(secret.encode() + b"\n")
        finally:
            emit(token, output)
        messages.print(f"The token is in {out}", markup=False)


@app.command("list", epilog="Example: placet token list")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the tokens in force."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/tokens"), output, columns=["id", "name", "scopes", "system", "sidecar", "created_at"])


@app.command(epilog="Example: placet token revoke 3f9a0c1d2e4b")
def revoke(
    token_id: Annotated[str, typer.Argument(help="The id, as `placet token list` shows it.", show_default=False)],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke a token; it ends at once."""

    with client.connect(server, token_file) as plane:
        plane.delete(api("tokens", token_id))
    emit({"revoked": token_id}, output)

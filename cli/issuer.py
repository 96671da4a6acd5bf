"""`placet issuer`: issuers of workload identities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.core import strict_json
from app.core.errors import UsageError
from app.core.files import read_bounded
from cli import client
from cli.output import Output, OutputOption, emit

app = typer.Typer()

IssuerArgument = Annotated[str, typer.Argument(help="The issuer, as in the token's iss.", show_default=False)]

_MAX_JWKS = 256 * 1024


@app.command(epilog="Example: placet issuer add https://tokens.example.org --jwks keys.json --audience payments")
def add(
    issuer: IssuerArgument,
    jwks: Annotated[Path, typer.Option(help="Its public keys, a JWK set (RFC 7517).")],
    audience: Annotated[list[str], typer.Option(help="An audience that its tokens must name. Repeatable.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Trust an issuer, or replace its keys and audiences. Every key is vetted first."""
    try:
        keys = strict_json.load_object(read_bounded(jwks, _MAX_JWKS, "the JWK set"))
    except strict_json.StrictJSONError as error:
        raise UsageError(f"{jwks} is not a JWK set: {error}") from error
    body = {"issuer": issuer, "audiences": audience, "jwks": keys}
    with client.connect(server, token_file) as plane:
        emit(plane.post("/api/v1/issuers", json=body), output)


@app.command(epilog="Example: placet issuer remove https://tokens.example.org")
def remove(
    issuer: IssuerArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Trust an issuer no longer: its tokens are denied."""
    with client.connect(server, token_file) as plane:
        plane.delete("/api/v1/issuers", issuer=issuer)
    emit({"removed": issuer}, output)


@app.command("list", epilog="Example: placet issuer list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the trusted issuers."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/issuers"), output, columns=["issuer", "audiences", "keys"])

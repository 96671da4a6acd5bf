"""`placet system`: sets of OPAs that take the same policy."""

from __future__ import annotations

from typing import Annotated

import typer

from app.core.errors import UsageError
from cli import client
from cli.output import Output, OutputOption, emit

app = typer.Typer()


@app.command(
    epilog="Example: placet system create payments --certificate-identity dev@example.org "
    "--certificate-oidc-issuer https://accounts.example.org --horizon 60"
)
def create(
    name: Annotated[str, typer.Argument(help="A DNS label, such as payments.", show_default=False)],
    certificate_identity: Annotated[
        list[str], typer.Option("--certificate-identity", help="Who may sign. Repeat it with its issuer for more.")
    ],
    certificate_oidc_issuer: Annotated[
        list[str], typer.Option("--certificate-oidc-issuer", help="The issuer of the identity at the same place.")
    ],
    require: Annotated[
        list[str] | None, typer.Option("--require", help="A predicate type that releases must attest. Repeatable.")
    ] = None,
    horizon: Annotated[
        int, typer.Option(min=1, max=30 * 86400, help="Seconds that sidecars go on without fresh metadata.")
    ] = 60,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a system and say who may sign its releases."""
    if len(certificate_identity) != len(certificate_oidc_issuer):
        raise UsageError("give each --certificate-identity its --certificate-oidc-issuer, in the same order")
    pairs = zip(certificate_identity, certificate_oidc_issuer, strict=True)
    system = {
        "name": name,
        "identities": [{"identity": identity, "issuer": issuer} for identity, issuer in pairs],
        "required_predicates": require or [],
        "horizon_seconds": horizon,
    }
    with client.connect(server, token_file) as plane:
        emit(plane.post("/api/v1/systems", json=system), output)


@app.command("list", epilog="Example: placet system list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the systems."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/systems"), output, columns=["name", "identities", "horizon_seconds"])

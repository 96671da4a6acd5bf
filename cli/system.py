"""`placet system`: sets of OPAs that take the same policy."""

from __future__ import annotations

from typing import Annotated

import typer

from app.core.errors import UsageError
from cli import client
from cli.output import Output, OutputOption, emit

app = typer.Typer()

ShadowOption = Annotated[
    list[str] | None, typer.Option("--shadow-signer", help="IDENTITY#ISSUER who may declare shadow. Repeatable.")
]
BreakGlassOption = Annotated[
    list[str] | None,
    typer.Option("--break-glass-signer", help="IDENTITY#ISSUER who may declare break-glass, two of them. Repeatable."),
]


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
    shadow_signer: ShadowOption = None,
    break_glass_signer: BreakGlassOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a system and say who may sign its releases."""
    system = {
        "name": name,
        "identities": _pairs(certificate_identity, certificate_oidc_issuer),
        "shadow": _signers(shadow_signer, "--shadow-signer"),
        "break_glass": _signers(break_glass_signer, "--break-glass-signer"),
        "required_predicates": require or [],
        "horizon_seconds": horizon,
    }
    with client.connect(server, token_file) as plane:
        emit(plane.post("/api/v1/systems", json=system), output)


@app.command(
    epilog="Example: placet system update payments --shadow-signer 'lead@example.org#https://accounts.example.org'"
)
def update(
    name: Annotated[str, typer.Argument(help="The system.", show_default=False)],
    certificate_identity: Annotated[
        list[str] | None, typer.Option("--certificate-identity", help="Who may sign, in place of all before.")
    ] = None,
    certificate_oidc_issuer: Annotated[
        list[str] | None,
        typer.Option("--certificate-oidc-issuer", help="The issuer of the identity at the same place."),
    ] = None,
    shadow_signer: ShadowOption = None,
    break_glass_signer: BreakGlassOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say anew who may sign for a system, or who may declare its modes. What is left out stays as it is.

    Sidecars go by their own verification policies: change those too.
    """
    given = {
        "identities": _pairs(certificate_identity or [], certificate_oidc_issuer or []),
        "shadow": _signers(shadow_signer, "--shadow-signer"),
        "break_glass": _signers(break_glass_signer, "--break-glass-signer"),
    }
    body = {member: signers for member, signers in given.items() if signers}
    if not body:
        raise UsageError("say what to change, such as --shadow-signer")
    with client.connect(server, token_file) as plane:
        emit(plane.put(f"/api/v1/systems/{name}/signers", json=body), output)


@app.command("list", epilog="Example: placet system list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the systems."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/systems"), output, columns=["name", "identities", "horizon_seconds", "modes"])


def _pairs(identities: list[str], issuers: list[str]) -> list[dict[str, str]]:
    if len(identities) != len(issuers):
        raise UsageError("give each --certificate-identity its --certificate-oidc-issuer, in the same order")
    return [{"identity": identity, "issuer": issuer} for identity, issuer in zip(identities, issuers, strict=True)]


def _signers(written: list[str] | None, option: str) -> list[dict[str, str]]:
    found = []
    for one in written or []:
        identity, _, issuer = one.partition("#")
        if not identity or not issuer:
            raise UsageError(f"{option} is IDENTITY#ISSUER, such as lead@example.org#https://accounts.example.org")
        found.append({"identity": identity, "issuer": issuer})
    return found

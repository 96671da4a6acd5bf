"""`placet quarantine`: deny a subject everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import client
from cli.output import Output, OutputOption, emit, messages

app = typer.Typer()

IssuerArgument = Annotated[
    str, typer.Argument(help="The issuer that vouches for the subject, as in the token's iss.", show_default=False)
]
SubjectArgument = Annotated[str, typer.Argument(help="The subject, as in the token's sub.", show_default=False)]


@app.command(epilog="Example: placet quarantine add https://tokens.example.org job-17 --reason 'odd calls since 09:00'")
def add(
    issuer: IssuerArgument,
    subject: SubjectArgument,
    reason: Annotated[str, typer.Option(help="Why; sidecars and reviewers see it.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deny a subject everything. It is published when this returns; sidecars follow at their next refresh."""
    entry = {"issuer": issuer, "subject": subject, "reason": reason}
    with client.connect(server, token_file) as plane:
        added = plane.post("/api/v1/quarantine", json=entry)
    if not added["issuer_trusted"]:
        messages.print(f"warning: no trusted issuer is called {issuer}, so this denies nobody; see: placet issuer list")
    emit(added, output)


@app.command(epilog="Example: placet quarantine lift https://tokens.example.org job-17")
def lift(
    issuer: IssuerArgument,
    subject: SubjectArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a subject's quarantine."""
    with client.connect(server, token_file) as plane:
        emit(plane.delete("/api/v1/quarantine", issuer=issuer, subject=subject), output)


@app.command("list", epilog="Example: placet quarantine list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List everyone in quarantine."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/quarantine"), output, columns=["issuer", "subject", "reason", "since"])

"""`placet grant`: what subjects may do beyond asking for themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli import client
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(
    epilog="Examples: placet grant add https://tokens.example.org spiffe://example.org/gateway "
    "--grant assert-subject  ·  "
    "placet grant list"
)

IssuerArgument = Annotated[
    str, typer.Argument(help="The issuer that vouches for the subject, as in the token's iss.", show_default=False)
]
SubjectArgument = Annotated[str, typer.Argument(help="The subject, as in the token's sub.", show_default=False)]


class GrantName(StrEnum):
    """What can be granted."""

    ASSERT_SUBJECT = "assert-subject"
    FORWARD_CERTIFICATE = "forward-certificate"


@app.command(
    epilog="Example: placet grant add https://tokens.example.org spiffe://example.org/gateway "
    "--grant forward-certificate"
)
def add(
    issuer: IssuerArgument,
    subject: SubjectArgument,
    grant: Annotated[
        list[GrantName],
        typer.Option(
            help="assert-subject: name another subject of the same issuer without its token. "
            "forward-certificate: forward the X.509-SVID of its client. Repeatable."
        ),
    ],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a subject speak for others. Records say so of every such request."""
    body = {"issuer": issuer, "subject": subject, "grants": [str(one) for one in grant]}
    with client.connect(server, token_file) as plane:
        added = plane.post("/api/v1/grants", json=body)
    if not added["issuer_trusted"]:
        say(f"warning: no trusted issuer is called {issuer}, so this grants nobody anything; see: placet issuer list")
    emit(added, output)


@app.command(epilog="Example: placet grant remove https://tokens.example.org spiffe://example.org/gateway")
def remove(
    issuer: IssuerArgument,
    subject: SubjectArgument,
    grant: Annotated[GrantName | None, typer.Option(help="Take this one alone. Default: all.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take grants from a subject."""
    chosen = str(grant) if grant else None
    with client.connect(server, token_file) as plane:
        plane.delete("/api/v1/grants", issuer=issuer, subject=subject, grant=chosen)
    emit({"removed": subject, "issuer": issuer, "grant": chosen or "all"}, output)


@app.command("list", epilog="Example: placet grant list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List every grant."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/grants"), output, columns=["issuer", "subject", "grants", "since"])

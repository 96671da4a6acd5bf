"""`placet quarantine`: deny a subject, an execution, a segment or a domain everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from app.core.errors import UsageError
from cli import client
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(
    epilog="Examples: placet quarantine add https://tokens.example.org job-17 --reason 'odd calls since 09:00'  ·  "
    "placet quarantine list"
)

IssuerArgument = Annotated[
    str | None, typer.Argument(help="The issuer that vouches for the subject, as in the token's iss.")
]
SubjectArgument = Annotated[str | None, typer.Argument(help="The subject, as in the token's sub.")]
ExecutionOption = Annotated[str | None, typer.Option(help="In place of a subject: an execution, by its id.")]
SegmentOption = Annotated[str | None, typer.Option(help="In place of a subject: a segment, in every system.")]
DomainOption = Annotated[str | None, typer.Option(help="In place of a subject: a trust domain, with all of it.")]


@app.command(
    epilog="Example: placet quarantine add https://tokens.example.org job-17 --reason 'odd calls since 09:00'  ·  "
    "placet quarantine add --domain partner.example --reason 'its keys leaked'"
)
def add(
    reason: Annotated[str, typer.Option(help="Why; sidecars and reviewers see it.")],
    issuer: IssuerArgument = None,
    subject: SubjectArgument = None,
    execution: ExecutionOption = None,
    segment: SegmentOption = None,
    domain: DomainOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deny something everywhere. It is published when this returns; sidecars follow at their next refresh."""
    entry = _named(issuer, subject, execution, segment, domain) | {"reason": reason}
    with client.connect(server, token_file) as plane:
        added = plane.post("/api/v1/quarantine", json=entry)
    if not added.get("issuer_trusted", True):
        say(f"warning: no trusted issuer is called {issuer}, so this denies nobody; see: placet issuer list")
    if not added.get("segment_known", True):
        say(f"warning: no system has a segment {segment}, so this denies nobody; see: placet governance show")
    emit(added, output)


@app.command(
    epilog="Example: placet quarantine lift https://tokens.example.org job-17  ·  "
    "placet quarantine lift --execution 0b6f2a"
)
def lift(
    issuer: IssuerArgument = None,
    subject: SubjectArgument = None,
    execution: ExecutionOption = None,
    segment: SegmentOption = None,
    domain: DomainOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a quarantine."""
    named = _named(issuer, subject, execution, segment, domain)
    with client.connect(server, token_file) as plane:
        emit(plane.delete("/api/v1/quarantine", **named), output)


@app.command("list", epilog="Example: placet quarantine list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List everything in quarantine."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/quarantine"), output, columns=["kind", "name", "issuer", "reason", "since"])


def _named(
    issuer: str | None, subject: str | None, execution: str | None, segment: str | None, domain: str | None
) -> dict[str, str]:
    """The one thing that the arguments name."""
    others = {"execution": execution, "segment": segment, "domain": domain}
    given = {name: value for name, value in others.items() if value is not None}
    if issuer is not None and subject is not None and not given:
        return {"issuer": issuer, "subject": subject}
    if issuer is None and subject is None and len(given) == 1:
        return given
    raise UsageError("name one: ISSUER SUBJECT, or --execution ID, or --segment NAME, or --domain DOMAIN")

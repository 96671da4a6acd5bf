"""`placet sidecar allow`, `disallow` and the lists: workloads that enrol as sidecars by their own identities."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import client
from cli.api_path import system_path
from cli.enrolment import SystemArgument
from cli.output import Output, OutputOption, emit

app = typer.Typer()


@app.command(
    epilog="Example: placet sidecar allow payments 'api-*' --issuer https://kubernetes.default.svc "
    "--subject system:serviceaccount:payments:api"
)
def allow(
    system: SystemArgument,
    name: Annotated[
        str, typer.Argument(help="The sidecar's name, or how it begins, with one trailing *.", show_default=False)
    ],
    issuer: Annotated[str, typer.Option(help="Who vouches for the workload (placet issuer list).")],
    subject: Annotated[str, typer.Option(help="The workload, as its token's sub says, letter by letter.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a workload be a sidecar, by its own identity token: `sidecar run --identity-token`.

    The token must be for this control plane alone: its audience is spiffe://DOMAIN/control-plane.
    """
    body = {"sidecar": name, "issuer": issuer, "subject": subject}
    with client.connect(server, token_file) as plane:
        made = plane.post(system_path(system, "allowances"), json=body)
    shown = ("id", "system", "sidecar", "issuer", "subject", "not_before", "new")
    emit({name: made[name] for name in shown}, output)


@app.command(epilog="Example: placet sidecar disallow payments 3")
def disallow(
    system: SystemArgument,
    allowance: Annotated[int, typer.Argument(help="The number that the list shows.", show_default=False, min=1)],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a workload enrol no more. Its sidecars that have enrolled go on: evict those that must not."""
    with client.connect(server, token_file) as plane:
        emit(plane.delete(system_path(system, "allowances", str(allowance))), output)


@app.command(epilog="Example: placet sidecar allowances payments")
def allowances(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List which workloads may be a system's sidecars, and which were refused."""
    columns = ["id", "sidecar", "issuer", "subject", "status", "allowed_by", "refusals", "refused_at", "refused_from"]
    with client.connect(server, token_file) as plane:
        emit(plane.get(system_path(system, "allowances")), output, columns=columns)


@app.command(epilog="Example: placet sidecar enrolments payments")
def enrolments(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a system's newest enrolments by workload identity: who, when, from where, and allowed by whom."""
    columns = ["sidecar", "issuer", "subject", "enrolled_at", "enrolled_from", "allowed_by", "api_token"]
    with client.connect(server, token_file) as plane:
        emit(plane.get(system_path(system, "enrolments")), output, columns=columns)

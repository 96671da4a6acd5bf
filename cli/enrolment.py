"""`placet sidecar invite`, `evict`, `readmit` and the lists: how sidecars come and go at the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import client, outputs, warrant_options
from cli.api_path import system_path
from cli.output import Output, OutputOption, emit, messages, say

app = typer.Typer()

SystemArgument = Annotated[str, typer.Argument(help="The system that it belongs to.", show_default=False)]
NameArgument = Annotated[str, typer.Argument(help="The sidecar's name in its system.", show_default=False)]


@app.command(epilog="Example: placet sidecar invite payments one --expires 10m -o join.token")
def invite(
    system: SystemArgument,
    name: NameArgument,
    expires: Annotated[str, typer.Option(help="How long it lasts, at most 24h.")] = "10m",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write the join token to this file, mode 0600, and do not print it."),
    ] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a join token, which one sidecar exchanges once for its own API token: `sidecar run --join-token`.

    It is shown once; the control plane keeps only its hash.
    """
    seconds = warrant_options.duration(expires, "--expires")
    shown = ["id", "system", "sidecar", "expires_at", *(["join_token"] if out is None else [])]
    with outputs.place(out, new=True) as place, client.connect(server, token_file) as plane:
        made = plane.post(system_path(system, "sidecars", name, "invitations"), json={"expires_in_seconds": seconds})
        try:
            if place is not None:
                place.keep(made["join_token"].encode() + b"\n")
        finally:
            emit({name: made[name] for name in shown}, output)
        if place is not None:
            messages.print(f"The join token is in {out}", markup=False)


@app.command(epilog="Example: placet sidecar evict payments one --reason 'its host was broken into'")
def evict(
    system: SystemArgument,
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why; reviewers see it.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Evict a sidecar: it gets no identity any more, and no token of it counts when this returns."""
    with client.connect(server, token_file) as plane:
        found = plane.post(system_path(system, "sidecars", name, "eviction"), json={"reason": reason})
    if not found["known"]:
        say(
            f"{system} never had a sidecar {name}: it is evicted before it comes. If the name is wrong: "
            f"placet sidecar list {system}, and placet sidecar readmit {system} {name}"
        )
    emit(found, output)


@app.command(epilog="Example: placet sidecar readmit payments one")
def readmit(
    system: SystemArgument,
    name: NameArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End an eviction. Its old tokens stay void: invite it anew."""
    with client.connect(server, token_file) as plane:
        ended = plane.delete(system_path(system, "sidecars", name, "eviction"))
    messages.print(
        f"Invite it anew: placet sidecar invite {system} {name}; or placet sidecar allow its workload", markup=False
    )
    emit(ended, output)


@app.command("list", epilog="Example: placet sidecar list payments")
def list_(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a system's sidecars: how each stands, and who was evicted, why and by whom."""
    columns = ["sidecar", "condition", "age_seconds", "channel", "release", "reasons", "evicted"]
    with client.connect(server, token_file) as plane:
        emit(plane.get(system_path(system, "sidecars")), output, columns=columns)


@app.command(epilog="Example: placet sidecar invitations payments")
def invitations(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a system's newest join tokens: which were used, from where, and which were refused to somebody."""
    columns = [
        "id",
        "sidecar",
        "status",
        "expires_at",
        "used_at",
        "used_from",
        "refusals",
        "refused_at",
        "refused_from",
    ]
    with client.connect(server, token_file) as plane:
        emit(plane.get(system_path(system, "invitations")), output, columns=columns)

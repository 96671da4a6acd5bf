"""`placet channel`: which release a system's sidecars run, and the way back to an older one."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import client
from cli.api_path import system_path
from cli.output import Output, OutputOption, emit
from cli.progress import busy

app = typer.Typer(epilog="Examples: placet channel show payments  ·  placet channel releases payments")

SystemArgument = Annotated[str, typer.Argument(help="The system.", show_default=False)]


@app.command(epilog="Example: placet channel show payments")
def show(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a system's channels, and the release that each points to."""
    with client.connect(server, token_file) as plane:
        found = plane.get(system_path(system, "channels"))
    emit(found, output, columns=["channel", "release", "sequence", "set_at"])


@app.command(epilog="Example: placet channel releases payments")
def releases(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a system's releases, newest first, for `channel point`."""
    with client.connect(server, token_file) as plane:
        found = plane.get(system_path(system, "releases"))
    if output is Output.TABLE:
        found = [one | {"signer": one["signer"]["identity"]} for one in found]
    emit(found, output, columns=["digest", "signed_at", "signer", "entrypoint"])


@app.command(
    epilog="Example: placet channel point payments prod sha256:9a8b…  ·  digests are listed by: placet channel releases"
)
def point(
    system: SystemArgument,
    channel: Annotated[str, typer.Argument(help="The channel, such as prod.", show_default=False)],
    release: Annotated[str, typer.Argument(help="The release's digest, sha256:….", show_default=False)],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Point a channel at a release that was published before, older or newer. Sidecars follow at their next refresh.

    The release must satisfy the system's policy as it is now. To point where it points already changes nothing.
    """
    with client.connect(server, token_file) as plane, busy("verifying"):
        pointer = plane.put(system_path(system, "channels", channel), json={"release": release})
    emit(pointer, output)

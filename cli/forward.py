"""`placet forward`: sinks to which the control plane forwards records."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import client
from cli.api_path import api
from cli.output import Output, OutputOption, emit

app = typer.Typer(
    epilog="Examples: placet forward add archive --to s3://bucket/placet --from-the-first  ·  placet forward list"
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The sink's name.", show_default=False)]


@app.command(
    epilog="Examples: placet forward add archive --to s3://bucket/placet --from-the-first  ·  placet forward add siem "
    "--to kafka://broker-1:9092,broker-2:9092/placet-records --system payments  ·  placet forward add collector --to "
    "otlp+https://collector.example.org/v1/logs"
)
def add(
    name: NameArgument,
    to: Annotated[str, typer.Option(metavar="URL", help="Where to. It holds no secret: see PLACET_FORWARD_NAME.")],
    system: Annotated[str | None, typer.Option(help="Records of this system alone.", show_default=False)] = None,
    from_the_first: Annotated[bool, typer.Option("--from-the-first", help="What is stored already, too.")] = False,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Forward records as they were stored, masked, at least once each: file, s3, gs, az, kafka, otlp+http(s).

    Secrets of a sink stand in a JSON file, mode 0600, where the control plane runs; PLACET_FORWARD_NAME names it.
    """
    body = {"name": name, "target": to, "system": system, "from_the_first": from_the_first}
    with client.connect(server, token_file) as plane:
        emit(plane.post("/api/v1/forwards", json=body), output)


@app.command("list", epilog="Example: placet forward list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List sinks, what each took, and what it has not taken yet."""
    with client.connect(server, token_file) as plane:
        found = plane.get("/api/v1/forwards")
    columns = ["name", "target", "system", "queued_batches", "delivered_records", "delivered_at", "failures", "problem"]
    emit(found, output, columns=columns)


@app.command(epilog="Example: placet forward remove siem")
def remove(
    name: NameArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove a sink. What it has not taken is forgotten; what it took stays there."""
    with client.connect(server, token_file) as plane:
        plane.delete(api("forwards", name))
    emit({"removed": name}, output)

"""`placet lineage`: breaks of sidecars' signed histories, and who lets them go on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.core.errors import PlacetError
from app.core.files import write_atomically
from cli import client, lineage_execution, lineage_export, lineage_monitor
from cli.api_path import api
from cli.fsck import fsck
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(
    epilog="Examples: placet lineage executions --system payments  ·  "
    "placet lineage show refunds-of-today-01  ·  "
    "placet lineage breaks --system payments"
)


app.command(epilog=lineage_monitor.MONITOR_EPILOG)(lineage_monitor.monitor)
app.command(epilog=lineage_monitor.ENTRIES_EPILOG)(lineage_monitor.entries)
app.command(epilog="Example: placet lineage fsck --dir ./control --log /var/lib/rekor")(fsck)
app.command(epilog=lineage_export.EXAMPLE, context_settings=client.TAKES_AN_ID)(lineage_export.export)
app.command(epilog=lineage_execution.EXECUTIONS_EPILOG)(lineage_execution.executions)
app.command(epilog=lineage_execution.SHOW_EPILOG, context_settings=client.TAKES_AN_ID)(lineage_execution.show)
app.command(epilog=lineage_execution.GRAPH_EPILOG, context_settings=client.TAKES_AN_ID)(lineage_execution.graph)


@app.command(epilog="Example: placet lineage breaks --system payments")
def breaks(
    system: Annotated[str | None, typer.Option(help="Of this system alone.", show_default=False)] = None,
    cleared: Annotated[
        bool, typer.Option("--cleared", help="Those that were cleared last, with who did and why.")
    ] = False,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List batches that were refused: those that stop their sidecar first."""
    with client.connect(server, token_file) as plane:
        found = plane.get("/api/v1/lineage/breaks", system=system, cleared="true" if cleared else None)
    columns = ["id", "system", "sidecar", "kind", "stops", "stops_at", "opened_at", "detail"]
    emit(found, output, columns=[*columns, "cleared_by", "reason"] if cleared else columns)


@app.command(epilog="Example: placet lineage batch 12 -o refused.json")
def batch(
    identifier: Annotated[
        int, typer.Argument(metavar="ID", help="The break, as `placet lineage breaks` names it.", min=1)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the batch.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Fetch the batch that was refused and kept with a break, as it came. It holds records: it is for you alone."""
    with client.connect(server, token_file) as plane:
        body = plane.get_bytes(api("lineage", "breaks", identifier, "batch"))
    if body is None:
        raise PlacetError(f"there is no break {identifier}, or none that keeps its batch")
    write_atomically(out, body)
    emit({"break": identifier, "batch": str(out), "bytes": len(body)}, output)


@app.command(
    epilog="Example: placet lineage clear 12 --reason 'disk of host 7 restored from a backup; see incident 31'"
)
def clear(
    identifier: Annotated[
        int, typer.Argument(metavar="ID", help="The break, as `placet lineage breaks` names it.", min=1)
    ],
    reason: Annotated[str, typer.Option(help="What was found. It is kept, with the name of your token.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a sidecar go on after a break. Its next batch must still follow the last one that was taken."""
    with client.connect(server, token_file) as plane:
        found = plane.post(api("lineage", "breaks", identifier, "clear"), json={"reason": reason})
    say(f"Cleared by {found['cleared_by']}; the break stays on record")
    emit(found, output)

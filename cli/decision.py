"""`placet decision`: search recorded decisions, read them, and make them again."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.complaint import many
from app.core.errors import PlacetError, UsageError
from cli import client
from cli.decision_export import export
from cli.decision_tail import follow_decisions
from cli.filter_options import Filters, chosen, with_filters
from cli.impact import impact
from cli.output import Output, OutputOption, emit, escaped, json_text, say
from cli.progress import counted

if TYPE_CHECKING:
    from app.core.replayed import Replayed

app = typer.Typer(
    epilog="Examples: placet decision list --system payments --outcome deny  ·  "
    "placet decision replay --system payments --since 1h"
)

_COLUMNS = ["decision_id", "time", "system", "outcome", "action", "resource", "reasons"]


@app.command(
    "list",
    epilog="Examples: placet decision list --system payments --outcome deny --output json  ·  "
    "placet decision list --text 'invoice in-7' --where input.context.amount=40 --since 7d  ·  "
    "placet decision list --where labels.version=1.22.2 --since 24h  ·  "
    "placet decision list --saved refusals --follow",
)
@with_filters
def list_(
    filters: Filters,
    limit: Annotated[
        int | None, typer.Option(help="At most so many. Default: 50, and all that --follow sees.", min=1)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what arrives, until Ctrl-C.")] = False,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List decisions, newest first; or as they arrive. As JSON, each is a line of its own."""
    from cli.decision_sources import FromControlPlane

    if follow:
        try:
            with client.connect(server, token_file) as plane:
                follow_decisions(plane, filters, limit, output)
        except KeyboardInterrupt:
            say("stopped")
        return
    with client.connect(server, token_file) as plane:
        found = FromControlPlane(plane).pages(filters, limit or 50)
        if output is Output.JSON:
            for one in found:
                sys.stdout.write(json_text(one) + "\n")
        else:
            emit(list(found), output, columns=_COLUMNS)


@app.command(epilog="Example: placet decision show 4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e --record")
def show(
    decision: Annotated[str, typer.Argument(metavar="ID", help="The decision's id.", show_default=False)],
    record: Annotated[bool, typer.Option("--record", help="Print the record alone, byte for byte.")] = False,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print one decision with its record."""
    from cli.decision_sources import FromControlPlane

    with client.connect(server, token_file) as plane:
        whole = FromControlPlane(plane).whole(decision)
    found = json.loads(whole)
    if record:
        sys.stdout.buffer.write(found["raw"].encode("utf-8", "surrogatepass") + b"\n")
    elif output is Output.JSON:
        sys.stdout.buffer.write(whole + b"\n")  # as it came: numbers keep their text
    else:
        emit({name: value for name, value in found.items() if name != "raw"}, output)


@app.command(
    epilog="Examples: placet decision replay 4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e  ·  placet decision replay "
    "--system payments --since 2026-11-01T00:00:00Z  ·  placet decision replay --from-files records.log "
    "--bundle payments.tar.gz --states states/"
)
@with_filters
def replay(
    filters: Filters,
    decision: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Decisions, by id.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many of the newest.", min=1, show_default=False)] = None,
    from_files: Annotated[
        Path | None, typer.Option("--from-files", metavar="RECORDS", help="Records in a file, and no server.")
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option(help="With --from-files: a policy bundle, a .tar.gz. Repeatable.")
    ] = None,
    states: Annotated[
        Path | None, typer.Option(help="With --from-files: the directory of archived trust states.")
    ] = None,
    library: Annotated[
        list[Path] | None,
        typer.Option(
            help="A governance library of another version: its file, or the directory of its modules. Repeatable."
        ),
    ] = None,
    allow_unavailable: Annotated[
        bool, typer.Option("--allow-unavailable", help="Exit with 0 although some could not be replayed.")
    ] = False,
    opa: Annotated[Path | None, typer.Option("--opa", help="Another OPA than the pinned build.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make recorded decisions again in OPA, by the bundle and trust state that each names, and compare.

    Prints what is not the same, as JSON a line for every record; then counts on stderr. Exit code 3 when a result
    differs, 1 when some record could not be replayed.
    """
    from cli.decision_sources import FromControlPlane, FromFiles

    asked = chosen({**filters, "limit": limit})
    if from_files is not None:
        if asked:
            raise UsageError(
                f"--{asked[0].replace('_', '-')} asks a control plane; with --from-files name decisions by their ids"
            )
        files = FromFiles(bundle or [], states, library or [])
        counts = _replay(files, files.records(from_files, set(decision or [])), opa, output)
        if files.others:
            say(f"left out, as they are no decision records: {many(files.others, 'line')}")
    else:
        if bundle or states:
            raise UsageError("--bundle and --states go with --from-files")
        if bool(decision) == bool(asked):
            raise UsageError("name decisions by their ids, or give a filter, such as --system payments")
        with client.connect(server, token_file) as plane:
            stored = FromControlPlane(plane, library)
            records = stored.records(iter(decision)) if decision else stored.feed(filters, limit)
            counts = _replay(stored, records, opa, output)
    _judge(counts, allow_unavailable)


app.command(
    epilog="Examples: placet decision export --system payments --since 7d --format parquet -o week.parquet  ·  "
    "placet decision export --outcome deny --format jsonl --records -o denials.jsonl"
)(with_filters(export))
app.command(
    epilog="Examples: placet decision impact --system payments --release sha256:… --since 7d --record  ·  "
    "placet decision impact --system payments --bundle payments.tar.gz --since 24h --max-changed 2%"
)(impact)


def _replay(parts: Any, records: Iterable[bytes], opa: Path | None, output: Output) -> Counter[str]:
    """Replay the records, print what comes of them, and count it."""
    from app.core.opa import Opa
    from app.core.replay import Replay
    from app.local import tools
    from app.local.replay_opa import Opas
    from cli.decision_sources import say_what_decided

    counts: Counter[str] = Counter()
    began = time.monotonic()
    asked = Opa(opa or tools.installed("opa"))
    with Opas(asked) as opas:
        replay = Replay(parts, opas.engine)
        for one in counted(replay.replay(records), "record"):
            counts[str(one.verdict)] += 1
            _print(one, output)
    say_what_decided(replay, parts, asked)
    spent = time.monotonic() - began
    total = counts.total()
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("same", "differs", "unavailable"))
    say(f"{many(total, 'record')} in {spent:.1f} s ({total / spent:.0f}/s): {found}")
    return counts


def _print(one: Replayed, output: Output) -> None:
    if output is Output.JSON:
        sys.stdout.write(escaped(one.line()) + "\n")
    elif one.reason is not None:
        emit(
            {
                "decision": one.decision_id,
                "reason": str(one.reason),
                "detail": one.detail,
                **({"recorded": one.recorded, "replayed": one.replayed} if one.recorded else {}),
            },
            output,
        )


def _judge(counts: Counter[str], allow_unavailable: bool) -> None:
    """The exit code, with one line that says why."""
    from app.core.errors import Denied
    from app.core.reason_codes import Reason

    if counts["differs"]:
        raise Denied(Reason.REPLAY_DIFFERS, f"{counts['differs']} of {counts.total()} records give another result now")
    if counts["unavailable"] and not allow_unavailable:
        raise PlacetError(f"{Reason.REPLAY_UNAVAILABLE}: {many(counts['unavailable'], 'record')} could not be replayed")
    if not counts:
        raise PlacetError("there was no decision record to replay")

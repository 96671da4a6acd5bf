"""`placet record`: erase records, and see what was erased, by whom and why."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from app.core.complaint import many
from app.core.errors import Denied, UsageError
from app.core.reason_codes import Reason
from cli import client
from cli.api_path import api
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(
    epilog="Examples: placet record erase --subject https://tokens.example.org ann --reason 'request 2026-17'  ·  "
    "placet record list"
)

#: Seconds between two looks at how far an erasure is, and between two lines that say so.
_POLL, _SAY = 0.5, 2.0

_COLUMNS = ["id", "kind", "system", "decisions", "asked_by", "asked_at", "done_at", "reason"]


@app.command(
    epilog="Example: placet record erase --subject https://tokens.example.org ann --reason 'request 2026-17'  ·  "
    "placet record erase --decision 4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e --reason 'incident 31' --yes"
)
def erase(
    reason: Annotated[
        str, typer.Option(help="Why. It is kept, with the name of your token: name a case, not a person.")
    ],
    subject: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="ISSUER ID", help="All records of this subject.", show_default=False),
    ] = None,
    decision: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A decision's record; may be repeated.", show_default=False)
    ] = None,
    system: Annotated[str | None, typer.Option(help="Of this system alone.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this it only says how many there are.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the last of it is gone.")] = True,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Erase records. The log, the batches and proofs of others stay valid; that something was there stays provable."""
    if (subject is None) == (not decision):
        raise UsageError("name one: --subject ISSUER ID, or --decision ID")
    issuer, name = subject or (None, None)
    body: dict[str, Any] = {"reason": reason, "dry_run": not yes, "system": system, "decisions": decision or []}
    if subject is not None:
        body |= {"issuer": issuer, "subject": name}
    with client.connect(server, token_file) as plane:
        answer = plane.post("/api/v1/erasures", json=body)
        if not yes:
            say("nothing was erased; with --yes it is, and cannot be taken back")
        elif wait:
            answer = _carried_out(plane, answer)
    emit(answer, output)


@app.command(epilog="Example: placet record show 3 --output json")
def show(
    identifier: Annotated[
        int, typer.Argument(metavar="ID", help="The erasure, as `placet record list` names it.", min=1)
    ],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one erasure: who ordered it, why, how far it is, and which entries of which batches it took."""
    with client.connect(server, token_file) as plane:
        found = plane.get(api("erasures", identifier))
    if output is Output.TABLE:
        found["entries"] = f"of {many(len(found['entries']), 'batch', 'batches')}; --output json names them"
    emit(found, output)


@app.command("list", epilog="Example: placet record list --system payments")
def list_(
    system: Annotated[str | None, typer.Option(help="Of this system alone.", show_default=False)] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List erasures, newest first, with those of retention."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/erasures", system=system), output, columns=_COLUMNS)


def _carried_out(plane: client.ControlPlane, order: dict[str, Any]) -> dict[str, Any]:
    """Wait until it is done. Raises `Denied` when a hold keeps what is left."""
    said = time.monotonic()
    while order["done_at"] is None:
        if order["held_by"] and order["batches_done"] + len(order["held_by"]) >= order["batches"]:
            detail = (
                f"hold {order['held_by'][0]} was placed meanwhile; erasure {order['id']} goes on when it is released"
            )
            raise Denied(Reason.HOLD_ACTIVE, detail, step="erasure")
        if time.monotonic() - said > _SAY:
            said = time.monotonic()
            say(f"erasure {order['id']}: {order['batches_done']} of {many(order['batches'], 'batch', 'batches')}")
        time.sleep(_POLL)
        order = plane.get(api("erasures", order["id"]))
    order.pop("entries", None)
    return order

"""`placet execution`: start and renew governed executions at a sidecar, note their steps, end them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.errors import Denied, UsageError
from app.core.reason_codes import Reason
from cli import client, execution_steps, outputs
from cli import edge as edges
from cli import warrant_options as options
from cli.api_path import system_path
from cli.output import Output, OutputOption, emit, say
from cli.refusal import judged, refuse

app = typer.Typer(
    epilog="Examples: placet execution list --system payments  ·  "
    "placet execution end refunds-of-today-01 --token execution.token --outcome completed"
)
app.command(epilog=execution_steps.STEP_EXAMPLE, context_settings=client.TAKES_AN_ID)(execution_steps.step)
app.command(epilog=execution_steps.END_EXAMPLE, context_settings=client.TAKES_AN_ID)(execution_steps.end)

TokenOutOption = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write the execution's token to this file, mode 0600.")
]


@app.command(
    epilog="Example: placet execution start --edge https://127.0.0.1:8182 --ca ca.pem --identity-token id.jwt "
    "--warrant job-17.warrant --action refund --resource payment/p-1 -o execution.token"
)
def start(
    action: Annotated[str, typer.Option(help="The action that it starts with.", show_default=False)],
    resource: Annotated[str, typer.Option(help="Its resource, TYPE/ID.", show_default=False)],
    identity_token: Annotated[
        Path | None,
        typer.Option(help="A file with the caller's own workload token. Default: the variable PLACET_WORKLOAD_TOKEN."),
    ] = None,
    warrant: Annotated[
        list[Path] | None, typer.Option(help="A file of warrants, root first; - reads stdin. Repeatable.")
    ] = None,
    context: Annotated[Path | None, typer.Option(help="A JSON file: what else the policy needs to know.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="The holder's private key (PEM), when the last warrant names one.")
    ] = None,
    passphrase_file: options.PassphraseOption = None,
    execution: Annotated[
        str | None, typer.Option("--id", help="The execution's id, to try again with. Default: the agent chooses.")
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(help="The workflow that it follows, one that the system's governance declares.")
    ] = None,
    out: TokenOutOption = None,
    edge: edges.EdgeOption = None,
    ca: edges.CaOption = None,
    socket: edges.SocketOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start an execution: the warrants are verified and redeemed once, and it gets one short-lived token.

    Exit code 3 with the reasons when it is denied.
    """
    document = _input(action, resource, options.json_file(context, "the context") if context else None)
    document["identity"] = {"token": _workload_token(identity_token)}
    if warrant:
        document["warrant"] = options.tokens(warrant)
    if key is not None:
        document["proof"] = _proof(key, passphrase_file, document)
    if execution is not None:
        document["execution"] = {"id": execution}
    body = {"input": document} if workflow is None else {"input": document, "workflow": workflow}
    with outputs.place(out) as place, edges.connect(edge, ca, socket) as sidecar:
        status, answer = sidecar.post("/v1/executions", body)
        if status == 200 and "decision" not in answer:
            raise Denied(Reason.DECISION_MALFORMED, "the sidecar gave no decision")
        _deliver(status, answer, place, output)


@app.command(
    epilog="Example: placet execution renew refunds-of-today-01 --token execution.token --edge https://127.0.0.1:8182 "
    "--ca ca.pem -o execution.token",
    context_settings=client.TAKES_AN_ID,
)
def renew(
    execution: Annotated[str, typer.Argument(help="The execution's id.", show_default=False)],
    token: Annotated[Path, typer.Option(help="A file with its present token.", show_default=False)],
    out: TokenOutOption = None,
    edge: edges.EdgeOption = None,
    ca: edges.CaOption = None,
    socket: edges.SocketOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Get a new token for a running execution, before the present one ends. Exit code 3 when it may not go on."""
    body = {"token": options.token(token, "the execution's token")}
    with outputs.place(out) as place, edges.connect(edge, ca, socket) as sidecar:
        status, answer = sidecar.post(execution_steps.path_of(execution, "renew"), body)
        _deliver(status, answer, place, output)


@app.command("list", epilog="Example: placet execution list --system payments")
def list_(
    system: options.SystemOption,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many, newest first.")] = 50,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the executions whose warrants count uses. Others are known by their decisions alone."""
    with client.connect(server, token_file) as plane:
        found = plane.get(system_path(system, "executions"), limit=limit)["items"]
    if not found:
        say("None. Only executions whose warrants count uses are known here; others stand in the sidecars' decisions.")
    emit(found, output, columns=["execution", "subject", "sidecar", "warrants", "started_at"])


def _input(action: str, resource: str, context: dict[str, Any] | None) -> dict[str, Any]:
    kind, slash, identifier = resource.partition("/")
    if not slash or not kind or not identifier:
        raise UsageError(f"--resource is TYPE/ID, not {resource!r}")
    document: dict[str, Any] = {"action": {"name": action}, "resource": {"type": kind, "id": identifier}}
    return document if context is None else {**document, "context": context}


def _workload_token(file: Path | None) -> str:
    if file is not None:
        return options.token(file, "the workload token")
    token = os.environ.get("PLACET_WORKLOAD_TOKEN", "").strip()
    if not token:
        raise UsageError("no workload token: give --identity-token FILE, or set PLACET_WORKLOAD_TOKEN")
    return token


def _proof(key: Path, passphrase_file: Path | None, document: dict[str, Any]) -> str:
    from app.core.holder_keys import proof

    holder, resource = options.private_key(key, passphrase_file), document["resource"]
    return proof(holder, document["action"]["name"], resource["type"], resource["id"], nonce=secrets.token_urlsafe(16))


def _deliver(status: int, answer: dict[str, Any], place: outputs.Place | None, output: Output) -> None:
    """Print the execution and keep its token, or say why not. Only a whole yes is one."""
    decision = answer.get("decision")
    verdict = judged(decision)
    execution = answer.get("execution")
    if status != 200 or (verdict is not None and not verdict.allow):
        refuse(decision, output)
    if not isinstance(execution, dict) or not all(isinstance(execution.get(name), str) for name in ("id", "token")):
        raise Denied(Reason.DECISION_MALFORMED, "the sidecar gave no execution with id and token")
    try:
        if place is not None:  # before anything is printed: who reads that may be gone
            place.keep(execution.pop("token").encode() + b"\n")
    finally:
        if output is Output.JSON:
            emit({"execution": execution, "decision": decision}, output)
        else:
            emit(execution | {"obligations": list(verdict.obligations) or None if verdict else None}, output)
    if place is not None:
        say(f"The execution's token is in {place.path}")

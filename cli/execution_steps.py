"""`placet execution step` and `end`: what was done in an execution, noted at the sidecar with its digests."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason
from cli import edge as edges
from cli import warrant_options as options
from cli.api_path import below
from cli.output import Output, OutputOption, emit, messages
from cli.progress import busy
from cli.refusal import refuse

if TYPE_CHECKING:
    from pydantic import TypeAdapter

STEP_EXAMPLE = (
    "Example: placet execution step refunds-of-today-01 --token execution.token --name build --material source=main.c "
    "--product program=main --decision 4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e --edge https://127.0.0.1:8182 --ca ca.pem "
    "-- cc -o main main.c"
)
END_EXAMPLE = (
    "Example: placet execution end refunds-of-today-01 --token execution.token --outcome completed "
    "--edge https://127.0.0.1:8182 --ca ca.pem"
)

ExecutionArgument = Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id.", show_default=False)]
TokenOption = Annotated[
    Path, typer.Option(help="A file with its token. It is read when the step is noted.", show_default=False)
]

#: Seconds until a step is final: its decisions' batch is cut, and every statement before it.
_FINAL_AFTER = 30.0
_PAUSE = 0.3
#: Bytes of a file beyond which it takes long enough to say so.
_LARGE = 256 * 1024 * 1024

_NAMED = "FILE or NAME=sha256:…"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def step(
    execution: ExecutionArgument,
    token: TokenOption,
    name: Annotated[str, typer.Option(help="What the step is called.", show_default=False)],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="After --: run this as the step; what it prints goes to stderr."),
    ] = None,
    material: Annotated[
        list[str] | None, typer.Option(help="What goes in: NAME=FILE, or NAME=sha256:…. Repeatable.")
    ] = None,
    product: Annotated[
        list[str] | None, typer.Option(help="What comes out, likewise. Files are read after the command. Repeatable.")
    ] = None,
    decision: Annotated[
        list[str] | None, typer.Option(help="The id of a decision that allowed it. Repeatable.")
    ] = None,
    parent: Annotated[
        list[str] | None, typer.Option(help="sha256:… of a step that it goes on from, of any execution. Repeatable.")
    ] = None,
    fact: Annotated[list[str] | None, typer.Option(help="NAME=TEXT: what else is to be kept. Repeatable.")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Your own name for this very step: sent again with the same, it is noted once."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the statement is final, and print its digest.")
    ] = False,
    edge: edges.EdgeOption = None,
    ca: edges.CaOption = None,
    socket: edges.SocketOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Note a step of a running execution, with a command also run it first.

    What is noted is signed and logged, and cannot be taken back: give no secrets. Exit code 1 when the command failed
    (the step is noted, with its exit code), 3 when the sidecar does not note it.
    """
    facts, run = _pairs(fact, "--fact", "TEXT"), list(command or [])
    used, made = (_pairs(given, option, _NAMED) for given, option in ((material, "--material"), (product, "--product")))
    _check(execution, name, run, facts, [*used, *made])
    if key is not None:
        _require_word(key, "--key has up to 64 letters, digits, -, _ and dots")
    options.token(token, "the execution's token")  # before anything runs
    with edges.connect(edge, ca, socket) as sidecar:
        materials = _artifacts(used)
        code = _run(run) if run else 0
        products = _artifacts(made, made=bool(run), may_lack=code != 0)
        given = {
            "command": run,
            "materials": materials,
            "products": products,
            "decisions": decision or [],
            "parents": parent or [],
            "facts": {**facts, "exit_code": str(code)} if run else facts,
        }
        given |= {"key": key} if key is not None else {}
        told = {"name": name, **{member: value for member, value in given.items() if value}}
        # Read again: a renewal may have put a newer token there while the command ran.
        held = options.token(token, "the execution's token")
        status, answer = sidecar.post(path_of(execution, "steps"), {"token": held, "step": told})
        noted = _noted(status, answer, execution, name, output)
        if wait:
            noted["digest"] = _digest(sidecar, noted, held, output)
    emit(noted, output)
    if code:
        raise PlacetError(f"the command ended with exit code {code}; the step is noted, with this fact")


def end(
    execution: ExecutionArgument,
    token: TokenOption,
    outcome: Annotated[Literal["completed", "failed"], typer.Option(help="How it ended.", show_default=False)],
    edge: edges.EdgeOption = None,
    ca: edges.CaOption = None,
    socket: edges.SocketOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End an execution: nothing more is decided, noted or renewed in it. Exit code 3 when its workflow is not done."""
    body = {"token": options.token(token, "the execution's token"), "outcome": outcome}
    with edges.connect(edge, ca, socket) as sidecar:
        status, answer = sidecar.post(path_of(execution, "end"), body)
    if status != 200:
        refuse(answer.get("decision"), output)
    emit({"execution": execution, "outcome": outcome}, output)


def path_of(execution: str, *parts: str) -> str:
    """Of an execution at the edge."""
    return below("/v1/executions", execution, *parts)


def _check(execution: str, name: str, command: Sequence[str], facts: dict[str, str], artifacts: Sequence[str]) -> None:
    """What the sidecar would refuse, before a command is run for nothing."""
    from pydantic import TypeAdapter

    from app.core import link_form

    if command and command[0].startswith("-"):
        raise UsageError(f"there is no option {command[0]}; a command stands after --")
    _require(TypeAdapter(link_form.ExecutionId), execution, "EXECUTION has 16 to 64 letters, digits, - and _")
    _require_word(name, "--name has up to 64 letters, digits, -, _ and dots")
    _require(TypeAdapter(link_form.Command), list(command), "a command has up to 64 words of up to 4096 characters")
    told = facts | ({"exit_code": ""} if command else {})
    if command and "exit_code" in facts:
        raise UsageError("the fact exit_code is the command's own")
    _require(TypeAdapter(link_form.Facts), told, "facts: up to 16, with names as of steps and up to 1024 characters")
    for one in artifacts:
        complaint = f"the name {one!r} is too long, or holds what a terminal would obey"
        _require(TypeAdapter(link_form.ResourceName), f"artifact/{one}", complaint)


def _require_word(value: str, complaint: str) -> None:
    from pydantic import TypeAdapter

    from app.core import link_form

    _require(TypeAdapter(link_form.Word), value, complaint)


def _require(form: TypeAdapter[Any], value: Any, complaint: str) -> None:
    from pydantic import ValidationError

    try:
        form.validate_python(value, strict=True)
    except ValidationError as error:
        raise UsageError(complaint) from error


def _pairs(given: Sequence[str] | None, option: str, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given or []:
        name, separator, value = one.partition("=")
        if not separator or not name or name in found:
            raise UsageError(f"{option} is NAME={what}, each name once, not {one!r}")
        found[name] = value
    return found


def _artifacts(given: Mapping[str, str], *, made: bool = False, may_lack: bool = False) -> list[dict[str, Any]]:
    """Names and digests. `made`: by a command that ran. `may_lack`: leave out files that are not there."""
    found = []
    for name, value in given.items():
        if _DIGEST.fullmatch(value):
            digest = value.removeprefix("sha256:")
        elif may_lack and not Path(value).exists():
            messages.print(f"{value} is not there; it is left out", markup=False)
            continue
        else:
            digest = _sha256(Path(value), PlacetError if made else UsageError)
        found.append({"name": name, "digest": {"sha256": digest}})
    return found


def _sha256(file: Path, kind: type[PlacetError]) -> str:
    try:
        with file.open("rb") as content:
            if file.stat().st_size < _LARGE:
                return hashlib.file_digest(content, "sha256").hexdigest()
            with busy(f"reading {file}"):
                return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise kind(f"cannot read {file}: {error.strerror}; the step is not noted") from error


def _run(command: Sequence[str]) -> int:
    """The command's exit code, or minus the signal that ended it."""
    try:
        return subprocess.run(command, stdout=sys.stderr.fileno(), check=False).returncode
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot run {command[0]}: {said}") from error


def _noted(status: int, answer: dict[str, Any], execution: str, name: str, output: Output) -> dict[str, Any]:
    if status != 200:
        refuse(answer.get("decision"), output)
    step = answer.get("step")
    if not isinstance(step, dict) or (step.get("execution"), step.get("name")) != (execution, name):
        raise Denied(Reason.DECISION_MALFORMED, "the sidecar did not say that it noted this step")
    if not isinstance(step.get("number"), str):
        raise Denied(Reason.DECISION_MALFORMED, "the sidecar gave the step no number")
    return step


def _digest(sidecar: edges.Edge, noted: dict[str, Any], token: str, output: Output) -> str:
    """The digest of the step's statement, once it is final."""
    path, until = (
        path_of(noted["execution"], "steps", noted["number"]),
        time.monotonic() + _FINAL_AFTER,
    )
    with busy("waiting until the statement is final"):
        while True:
            status, answer = sidecar.get(path, token)
            digest = _noted(status, answer, noted["execution"], noted["name"], output).get("digest")
            if isinstance(digest, str) and _DIGEST.fullmatch(digest):
                return digest
            if digest is not None:
                raise Denied(Reason.DECISION_MALFORMED, "the sidecar gave a digest that is none")
            if time.monotonic() > until:
                raise PlacetError(f"step {noted['number']} is noted, but was not final within {_FINAL_AFTER:.0f} s")
            time.sleep(_PAUSE)

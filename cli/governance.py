"""`placet governance`: what holds for one system: warrants, freshness, environment, segments, approval, exchange."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core import strict_yaml
from app.core.errors import UsageError
from app.core.files import read_bounded
from cli import client
from cli.api_path import system_path
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(
    epilog="Examples: placet governance show payments > governance.yaml  ·  "
    "placet governance set payments --file governance.yaml --dry-run"
)

SystemArgument = Annotated[str, typer.Argument(help="The system.", show_default=False)]

_MAX_FILE = 256 * 1024


@app.command(epilog="Example: placet governance show payments > governance.yaml")
def show(
    system: SystemArgument,
    versions: Annotated[bool, typer.Option("--versions", help="List what was set, newest first.")] = False,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a system's governance as the YAML that `set` takes, with the version that is in force."""
    with client.connect(server, token_file) as plane:
        if versions:
            found = plane.get(system_path(system, "governance", "versions"))
            emit(found, output, columns=["version", "set_at", "set_by"])
            return
        in_force = plane.get(system_path(system, "governance"))
    if output is Output.JSON:
        emit(in_force, output)
        return
    sys.stdout.write(_written(in_force["version"], in_force["document"]))


@app.command("set", epilog="Example: placet governance set payments --file governance.yaml --dry-run")
def set_(
    system: SystemArgument,
    file: Annotated[Path, typer.Option("--file", help="The document, YAML; members that are left out are defaults.")],
    version: Annotated[
        int | None,
        typer.Option(min=0, help="The version that you changed. Default: the file's member version, else 0."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check it and its version, and show what would change; set nothing.")
    ] = False,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set a system's governance. It is refused when somebody else set another version meanwhile."""
    raw = read_bounded(file, _MAX_FILE, "the governance document")
    document = _read(raw, file)
    if not isinstance(document, dict):
        raise UsageError(f"{file} does not hold a governance document; start from: placet governance show {system}")
    noted = document.pop("version", 0)
    body = {"document": document, "version": noted if version is None else version, "dry_run": dry_run}
    with client.connect(server, token_file) as plane:
        try:
            answer = plane.put(system_path(system, "governance"), json=body)
        except client.Refused as refused:
            raise UsageError(f"{_place(raw, file, refused.field)}: {refused}") from refused
    if dry_run:
        _show_difference(answer, output)
        return
    emit(answer if output is Output.JSON else {name: answer[name] for name in ("system", "version", "changed")}, output)


def _read(raw: bytes, file: Path) -> Any:
    try:
        return strict_yaml.load(raw)
    except strict_yaml.StrictYAMLError as error:
        raise UsageError(f"{file} is {error}") from error


def _place(raw: bytes, file: Path, field: str | None) -> str:
    """The file, with line and column of the member that the control plane named."""
    if not field:
        return str(file)
    path = field.removeprefix("body.").split(".")
    row, column = strict_yaml.member(raw, [int(part) if part.isdecimal() else part for part in path])
    return f"{file}:{row}:{column}"


def _show_difference(answer: dict[str, Any], output: Output) -> None:
    """What `set` would change, line by line."""
    before, after = (strict_yaml.dump(answer[name]).splitlines() for name in ("document", "proposed"))
    names = (f"version {answer['version']}", "proposed")
    lines = list(difflib.unified_diff(before, after, *names, lineterm="", n=2))
    if output is Output.JSON:
        emit({"version": answer["version"], "changed": bool(lines), "diff": lines}, output)
    elif lines:
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        say("nothing would change")


def _written(version: int, document: dict[str, Any]) -> str:
    return strict_yaml.dump({"version": version, **document})

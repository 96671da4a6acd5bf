"""`placet policy`: write a policy, check it, test it, ask it."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.core.complaint import many
from app.core.policy_template import Template
from cli.output import Output, OutputOption, emit, say
from cli.pinned_opa import OpaOption, pinned_opa
from cli.policy_ask import bench, evaluate, explain
from cli.policy_options import DirectoryArgument
from cli.policy_tests import run_policy
from cli.policy_watch import watch
from cli.progress import busy

app = typer.Typer(epilog="Example: placet policy new order-api --template http-api  ·  placet policy check order-api")


@app.command(epilog="Example: placet policy new order-api --template http-api")
def new(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, hyphens.", show_default=False)],
    template: Annotated[Template, typer.Option("--template", help="What to start from.")] = Template.HTTP_API,
    directory: Annotated[Path, typer.Option("--dir", help="Where its directory is made.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a working policy with tests, data, placet.yaml and a pre-commit hook. Nothing is ever overwritten."""
    from app.core.policy_template import create

    made = create(name, template, directory)
    emit({"policy": str(made), "template": template.value}, output)
    say(f"next: placet policy test {made}  ·  placet policy check {made}")


@app.command(
    epilog="Examples: placet policy check policies/payments --output json  ·  "
    "placet policy check dice --allow-builtin rand.intn"
)
def check(
    directory: DirectoryArgument = Path(),
    allow_builtin: Annotated[
        list[str] | None,
        typer.Option(
            help="A builtin that the system's verification policy allows. Repeatable. More: placet.yaml's.",
            show_default=False,
        ),
    ] = None,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say everything that is wrong with a policy, with file, line, column and remedy.

    OPA's strict compiler, the builtins that a policy may call, schema, format, determinism, and what the verifier
    demands of a bundle; and Regal's lint, when `regal` is on the PATH. Exit code 1 when there is a fault, and 3 when
    the directory cannot be taken as it is, such as with a link.
    """
    from app.core.errors import Denied
    from app.core.policy_check import check as check_all
    from app.core.policy_check import unreadable
    from app.core.policy_lint import lint
    from app.core.policy_project import load

    refused = True
    try:
        project = load(directory)
        refused = False  # as a whole; what is found below is a fault in it
        with busy("checking"):
            findings = sorted([*check_all(project, pinned_opa(opa), allow_builtin or ()), *lint(project)])
    except Denied as denied:
        findings = [unreadable(directory, denied)]
    if output is Output.JSON:
        emit([one.as_dict() for one in findings], output)
    for one in findings if output is Output.TABLE else []:
        sys.stdout.write(f"{one}\n    {one.remedy}\n")
    faults = sum(one.fatal for one in findings)
    warnings = len(findings) - faults
    said = many(faults, "fault") if faults else "no faults"
    say(f"{said}, {many(warnings, 'warning')}" if warnings else said)
    if faults:
        raise typer.Exit(Denied.exit_code if refused else 1)


def _shown(line: str) -> str:
    """A line of a file with its white space, of which a terminal obeys nothing."""
    return "".join(one if one.isprintable() or one in "\t\n" else one.encode("unicode_escape").decode() for one in line)


@app.command(epilog="Examples: placet policy fmt  ·  placet policy fmt --check  ·  placet policy fmt --diff")
def fmt(
    directory: DirectoryArgument = Path(),
    only_check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a file differs.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a policy's Rego as `opa fmt` does. Each file is replaced whole, or not at all."""
    import tempfile

    from app.core.files import write_together
    from app.core.policy_check import formatted
    from app.core.policy_project import load

    project = load(directory)
    sources = {**project.modules, **project.tests}
    with tempfile.TemporaryDirectory(prefix="placet-fmt-") as scratch:
        wanted = formatted(sources, pinned_opa(opa), Path(scratch), project.prefix)
    changed = {path: content for path, content in wanted.items() if content != sources[path]}
    if not (only_check or diff):
        for path, content in changed.items():
            target = project.directory / path
            write_together({target: content}, mode=target.stat().st_mode & 0o777)
    if output is Output.JSON:
        emit({"changed": [project.location(path) for path in changed], "written": not (only_check or diff)}, output)
    for path, content in changed.items() if output is Output.TABLE else []:
        if diff:
            name = project.location(path)
            was, becomes = sources[path].decode(errors="replace"), content.decode(errors="replace")
            lines = difflib.unified_diff(was.splitlines(True), becomes.splitlines(True), name, f"{name} (formatted)")
            sys.stdout.writelines(map(_shown, lines))
        else:
            sys.stdout.write(project.location(path) + "\n")
    if changed and only_check:
        raise typer.Exit(1)


app.command(
    "test", epilog="Examples: placet policy test --threshold 90 --junit report.xml  ·  placet policy test --run refund"
)(run_policy)
app.command("eval", epilog="Example: placet policy eval policies/payments --input input.json --subject subject.json")(
    evaluate
)
app.command(epilog="Example: placet policy bench policies/payments --input input.json")(bench)
app.command(epilog="Example: placet policy explain inputs/denied/input.json policies/payments")(explain)
app.command(epilog="Example: placet policy watch policies/payments")(watch)

"""`placet policy eval`, `bench` and `explain`: ask a policy before anybody else does."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.complaint import printable
from cli.output import Output, OutputOption, emit, json_text, say
from cli.pinned_opa import OpaOption, pinned_opa
from cli.policy_options import (
    DirectoryArgument,
    InputOption,
    SubjectOption,
    documents,
    given,
    question,
    subject,
)
from cli.progress import busy

if TYPE_CHECKING:
    from app.core.policy_trace import Rule

QueryOption = Annotated[
    str | None,
    typer.Option(
        "--query", "-q", help="What to ask, such as data.payments. Default: the entrypoint.", show_default=False
    ),
]

#: Characters of a value in an explanation; JSON has it whole.
_MAX_SHOWN = 100


def evaluate(
    directory: DirectoryArgument = Path(),
    query: QueryOption = None,
    input_file: InputOption = None,
    subject_file: SubjectOption = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="More data, a JSON file; may be given again.", show_default=False),
    ] = None,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what a policy answers, as JSON. Exit code 1 when it is undefined.

    The governance library is there where the policy leans on it; the caller is whoever --subject says.
    """
    from app.core.policy_evaluation import evaluate as ask
    from app.core.policy_evaluation import refused
    from app.core.policy_project import load

    project = load(directory)
    asked = given(input_file)
    caller = subject(subject_file, input_file)
    engine = pinned_opa(opa)
    answered = ask(project, engine, question(project, query), asked, caller, more=documents(data))
    found = answered.get("result") or []
    values = [one["expressions"][-1]["value"] for one in found]
    if output is Output.JSON:
        emit({"defined": bool(found), "result": values[0] if len(values) == 1 else values or None}, output)
    else:
        for value in values:
            sys.stdout.write(json_text(value, indent=2) + "\n")
    if query is None and found and "policy.malformed" in refused(project, engine, asked, caller):
        say("a sidecar denies this answer, policy.malformed: docs/decision.md has the form of one")
    if not found:
        say("undefined: no rule gives a value; `placet policy explain` shows where each one stopped")
        raise typer.Exit(1)


def bench(
    directory: DirectoryArgument = Path(),
    query: QueryOption = None,
    input_file: InputOption = None,
    subject_file: SubjectOption = None,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure one evaluation in OPA: nanoseconds, allocations and bytes, without HTTP, library and record."""
    from app.core.policy_evaluation import bench as measure
    from app.core.policy_project import load

    project = load(directory)
    say("measuring, for a few seconds")
    with busy("measuring"):
        asked = given(input_file)
        found = measure(project, pinned_opa(opa), question(project, query), asked, subject(subject_file, input_file))
    emit(asdict(found), output)


def explain(
    input_file: Annotated[
        Path, typer.Argument(metavar="INPUT", help="The input, a JSON file; - is stdin.", show_default=False)
    ],
    directory: DirectoryArgument = Path(),
    query: QueryOption = None,
    subject_file: SubjectOption = None,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which rules made a decision: each with its place and its value, or the expression that was not true."""
    from app.core.policy_project import load
    from app.core.policy_trace import explain as explained

    project = load(directory)
    asked = given(input_file)
    found = explained(project, pinned_opa(opa), question(project, query), asked, subject(subject_file, input_file))
    if output is Output.JSON:
        emit(found.as_dict(), output)
        return
    sys.stdout.write((json_text(found.value) if found.defined else "undefined") + "\n\n")
    for rule in found.rules:
        _show(rule, 0)


def _show(rule: Rule, depth: int) -> None:
    """A rule, then what it asked, further to the right."""
    margin = "  " * depth
    mark = "+" if rule.values else "-"
    status = rule.status if len(rule.status) <= _MAX_SHOWN else rule.status[:_MAX_SHOWN] + "…"
    words = [f"{margin}{mark} {printable(rule.name)}", printable(f"{rule.file}:{rule.line}"), printable(status)]
    if rule.default:
        words.append("(its default)")
    if rule.times > 1:
        words.append(f"({rule.times} times)")
    sys.stdout.write("  ".join(words) + "\n")
    if rule.expression:
        row = rule.failed_at.rsplit(":", 1)[1]
        sys.stdout.write(f"{margin}    not true in line {row}: {printable(rule.expression)}\n")
        for value in rule.locals:
            sys.stdout.write(f"{margin}        {printable(value)}\n")
    for below in rule.rules:
        _show(below, depth + 1)

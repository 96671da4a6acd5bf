"""`placet policy test`: a policy's tests, its coverage, and a report for CI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.complaint import printable
from app.core.errors import PlacetError, UsageError
from cli.output import Output, OutputOption, emit, say
from cli.pinned_opa import OpaOption, pinned_opa
from cli.policy_options import DirectoryArgument
from cli.progress import busy

if TYPE_CHECKING:
    from app.core.policy_tests import TestReport, TestResult

#: Lines without coverage that are listed.
_MAX_MISSING = 20


def run_policy(
    directory: DirectoryArgument = Path(),
    run: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only tests whose full name matches (RE2).", show_default=False),
    ] = None,
    coverage: Annotated[bool, typer.Option("--coverage", help="Measure how much of the policy they reach.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENT",
            help="Exit with 1 below this coverage. Default: threshold of placet.yaml.",
            show_default=False,
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JUnit report, too.", show_default=False)
    ] = None,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a policy's tests with OPA. Exit code 1 when one fails, when there is none, or below the threshold.

    Coverage counts the lines of the policy, not those of its tests.
    """
    from app.core.files import write_atomically
    from app.core.policy_project import load
    from app.core.policy_tests import junit as as_junit
    from app.core.policy_tests import run_tests

    project = load(directory)
    if run is not None and threshold is not None:
        raise UsageError("--threshold asks for all tests: leave --run out")
    demanded = (threshold if threshold is not None else project.settings.threshold) if run is None else 0
    with busy("testing"):
        report = run_tests(project, pinned_opa(opa), pattern=run, coverage=coverage or demanded > 0)
    if junit is not None:
        write_atomically(junit, as_junit(report, str(directory)), mode=0o644)
    if output is Output.JSON:
        emit(report.as_dict() | {"threshold": demanded}, output)
    else:
        show(report)
    if report.failed:
        raise typer.Exit(1)
    if not report.results:
        raise PlacetError(
            f"no test matches {run!r}" if run else f"{directory} has no tests (rules test_… in *_test.rego)"
        )
    if report.coverage is not None and report.coverage.percent < demanded:
        raise PlacetError(f"coverage {report.coverage.percent:g}% is below the threshold of {demanded:g}%")


def show(report: TestReport) -> None:
    """Print a report as people read it: what failed and why, then one line for all."""
    for one in report.failed:
        sys.stdout.write("\n".join(told(one)) + "\n")
    for one in report.results:
        if one.outcome == "skipped":
            sys.stdout.write(printable(f"{one.file}:{one.line}: {one.name} is skipped (todo_)") + "\n")
    if report.coverage is not None:
        for place in report.coverage.missing[:_MAX_MISSING]:
            sys.stdout.write(printable(f"{place}: no test reaches this") + "\n")
        if len(report.coverage.missing) > _MAX_MISSING:
            sys.stdout.write(f"and {len(report.coverage.missing) - _MAX_MISSING} more\n")
    sys.stdout.flush()
    say(summary(report))


def told(one: TestResult) -> list[str]:
    """A failed test in a few lines."""
    lines = [f"{one.file}:{one.line}: {one.name} {'failed' if one.outcome == 'failed' else 'ended in an error'}"]
    if one.expression:
        what = f"not true: {one.expression}" if one.outcome == "failed" else one.expression
        lines.append("    " + (f"{one.failed_at}: " if one.failed_at else "") + what)
    lines += [f"        {value}" for value in one.values]
    lines += [f"    > {line}" for line in one.output.splitlines()]
    # A test may print what a terminal would obey.
    return [line[: len(line) - len(line.lstrip())] + printable(line) for line in lines]


def summary(report: TestReport) -> str:
    """One line for a whole run."""
    counts = [f"{report.count('passed')} passed"]
    counts += [f"{report.count(name)} {word}" for name, word in _OTHERS if report.count(name)]
    if report.coverage is not None:
        counts.append(f"coverage {report.coverage.percent:g}%")
    return ", ".join(counts)


_OTHERS = (("failed", "failed"), ("error", "ended in an error"), ("skipped", "skipped"))

"""`placet policy watch`: test again whenever a file is saved."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.errors import PlacetError, UsageError
from cli.output import Output, OutputOption, json_text, say
from cli.pinned_opa import OpaOption, pinned_opa
from cli.policy_options import DirectoryArgument

if TYPE_CHECKING:
    from app.core.opa import Opa


def watch(
    directory: DirectoryArgument = Path(),
    interval: Annotated[
        float, typer.Option(min=0.02, max=60, metavar="SECONDS", help="How often to look for changes.")
    ] = 0.1,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run the tests, then again on every save, until Ctrl-C. Only tests that could notice a change are run again.

    After a failure all tests run until they pass. Results come one below another, nothing is cleared; as JSON, each
    run is a line of its own.
    """
    from app.core.policy_watching import changed, stamps

    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory; `placet policy new NAME` makes a policy to start from")
    engine = pinned_opa(opa)
    seen = stamps(directory)
    passed = _again(directory, engine, set(), output)
    try:
        while True:
            time.sleep(interval)
            now = stamps(directory)
            paths = changed(seen, now)
            if paths:
                seen = now
                passed = _again(directory, engine, paths if passed else set(), output)
    except KeyboardInterrupt:
        say("stopped")


def _again(directory: Path, engine: Opa, paths: set[str], output: Output) -> bool:
    """Run the tests that could notice changes of these paths, or all; whether they passed."""
    from app.core.policy_project import load
    from app.core.policy_tests import run_tests
    from app.core.policy_watching import pattern
    from cli.policy_tests import show

    began = time.monotonic()
    try:
        project = load(directory)
        chosen = pattern(project, paths) if paths else None
        report = run_tests(project, engine, pattern=chosen)
    except PlacetError as error:
        say(str(error))  # half a file while somebody types: the next save tells
        return False
    spent = time.monotonic() - began
    if output is Output.JSON:
        line = {"changed": sorted(paths), "seconds": round(spent, 3), **report.as_dict()}
        sys.stdout.write(json_text(line) + "\n")
        sys.stdout.flush()
        return not report.failed
    show(report)
    what = ", ".join(sorted(paths)[:3]) + ("…" if len(paths) > 3 else "") if paths else "all tests"
    say(f"{time.strftime('%H:%M:%S')} {what}: {1000 * spent:.0f} ms; waiting for a save")
    return not report.failed

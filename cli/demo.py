"""`placet demo`: the whole system on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.errors import PlacetError
from cli.output import Output, OutputOption, emit, messages
from cli.progress import busy
from cli.tools import BuildDisplay

if TYPE_CHECKING:
    from app.local.demo.rows import World

app = typer.Typer(epilog="Example: placet demo run --check")


@app.callback()
def _noun() -> None:
    """Run the whole system on this machine and show that it holds."""


@app.command(epilog="Example: placet demo run --check --output json")
def run(
    check: Annotated[bool, typer.Option("--check", help="End after the table; exit code 1 if a row failed.")] = False,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep everything in this directory. Default: a scratch one.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start Sigstore, the control plane and two sidecars, try to break them, and show what held."""
    import importlib.util
    import time

    if importlib.util.find_spec("placet_sdk") is None:
        raise PlacetError("the demo's services ask through placet-sdk: install it too (pip install ./sdk in a clone)")

    from app.local.demo.run import Result, run_rows

    def done(result: Result) -> None:
        mark = "[green]holds[/]" if result.passed else "[red]FAILS[/]"
        messages.print(f"{mark}  {result.row}  [dim]{result.seen} ({result.seconds} s)[/]")

    if directory:
        directory.mkdir(parents=True, exist_ok=True)
    with _demo(directory) as world:
        results = run_rows(world, lambda title: busy(f"trying: {title}"), done)
        emit([result.as_dict() for result in results], output, columns=["row", "passed", "seen"])
        failed = [result for result in results if not result.passed]
        if not check:
            messages.print(f"\nThe web UI: {world.stack.server}  (log in with the token in this file)")
            messages.print(f"  {world.stack.directory}/server/admin.token")
            messages.print("Ctrl-C ends everything")
            try:
                while True:
                    time.sleep(1)
            except KeyboardInterrupt:
                pass
    if failed:
        messages.print(f"{len(failed)} of {len(results)} rows failed")
        raise typer.Exit(1)


@contextmanager
def _demo(directory: Path | None) -> Iterator[World]:
    """The demo, while it runs. Says what it does now, wherever that takes long."""
    from app.local import tools
    from app.local.demo.run import Demo

    with BuildDisplay() as display:
        tools.install(tools.NEEDED, display)
    step = ExitStack()

    def starting(text: str) -> None:
        step.close()
        messages.print(f"[dim]starting {text}[/]")
        step.enter_context(busy(f"starting {text}"))

    demo = Demo(starting, directory)
    with step:
        world = demo.__enter__()
    try:
        yield world
    finally:
        with busy("ending all parts"):
            demo.__exit__()

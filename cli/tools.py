"""`placet tools`: build and list the pinned Go programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit, messages

if TYPE_CHECKING:
    from app.local.tools import Tool

app = typer.Typer(epilog="Examples: placet tools install opa  ·  placet tools list")

#: What the table shows; the JSON has the digest as well.
_COLUMNS = ("name", "version", "state", "go", "path")

#: Seconds between two lines of progress where there is no terminal.
_EVERY = 15.0


@app.command(epilog="Example: placet tools install opa")
def install(
    names: Annotated[
        list[str] | None, typer.Argument(help="Tools to build; all that Placet needs when none is named.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Build the tools that are missing into a per-user cache.

    Go comes from the PATH if it is new enough, else from PyPI. A cold build of all takes about five minutes on
    two cores. PLACET_CACHE_DIR names another cache.
    """
    from app.local import tools

    with BuildDisplay() as display:
        paths = tools.install(names or tools.NEEDED, display)
    emit([_row(tools.TOOLS[name]) for name in paths], output, columns=_COLUMNS)


@app.command("list", epilog="Example: placet tools list --output json")
def list_(output: OutputOption = Output.TABLE) -> None:
    """Show each tool, its pinned version, and where it is built."""
    from app.local import tools

    emit([_row(tool) for tool in tools.TOOLS.values()], output, columns=_COLUMNS)


def _row(tool: Tool) -> dict[str, str | None]:
    from app.local.tools import cache

    built = cache.find(tool)
    row: dict[str, str | None] = {
        "name": tool.name,
        "version": tool.version,
        "state": "optional" if tool.optional else "missing",
    }
    if built is None:
        return row | {"go": None, "path": None, "digest": None}
    digest = cache.file_digest(built.path)
    return row | {
        "state": "built" if digest == built.digest else "altered",
        "go": ".".join(map(str, built.go_version)),
        "path": str(built.path),
        "digest": digest,
    }


class BuildDisplay:
    """Shows builds on stderr: a spinner on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._status = messages.status("looking what is missing") if messages.is_terminal else None
        self._next_line = _EVERY

    def __enter__(self) -> BuildDisplay:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def note(self, text: str) -> None:
        """Print a line."""
        self._next_line = _EVERY
        messages.print(text, markup=False)

    def building(self, tool: Tool, packages: int, seconds: float) -> None:
        """Show how far a build is."""
        text = f"building {tool.name}: {packages} packages compiled, {seconds:.0f} s"
        if self._status is not None:
            self._status.update(text)
        elif seconds >= self._next_line:
            self._next_line = seconds + _EVERY
            messages.print(text, markup=False)

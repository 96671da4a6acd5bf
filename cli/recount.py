"""`placet server recount`: the values of batches, counted anew of their decisions."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import Output, OutputOption, emit
from cli.progress import busy
from cli.server_directory import DirectoryOption, directory_of


def recount(
    directory: DirectoryOption = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Only this batch, by its number. Repeatable.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Count anew which values the decisions of each batch have, where fsck says that rows of batch_value were changed.

    Searches and summaries go by them. The server may run. Where decision rows were changed, repair those before.
    """
    from app.control import installation
    from app.control.settings import Settings

    with busy("counting"):
        number = installation.recount(Settings.load(directory_of(directory)), batch)
    emit({"batches": number}, output)

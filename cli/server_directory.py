"""The option that names the control plane's own directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        envvar="PLACET_SERVER_DIR",
        help="The server's own directory. Default: in the user's data directory.",
        show_default=False,
    ),
]


def directory_of(chosen: Path | None) -> Path:
    """The directory that was chosen, or the user's."""
    import platformdirs

    return chosen or platformdirs.user_data_path("placet") / "server"

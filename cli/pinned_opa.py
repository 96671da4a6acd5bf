"""Which OPA a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.core.opa import Opa

OpaOption = Annotated[Path | None, typer.Option("--opa", help="Another OPA than the pinned build.", show_default=False)]


def pinned_opa(chosen: Path | None) -> Opa:
    """The pinned OPA, or the one that was named: never whatever is on the PATH."""
    from app.core.opa import Opa
    from app.local import tools

    return Opa(chosen or tools.installed("opa"))

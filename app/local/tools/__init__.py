"""The Go programs that Placet runs, pinned by version and checksum in `tools/` and built into a per-user cache."""

from app.local.tools.build import Progress, install
from app.local.tools.cache import installed
from app.local.tools.pins import NEEDED, TOOLS, Tool

__all__ = ["NEEDED", "TOOLS", "Progress", "Tool", "install", "installed"]

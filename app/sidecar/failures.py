"""What the parts of an agent could not do, logged once and not at every try."""

from __future__ import annotations

import logging

log = logging.getLogger("placet.sidecar")


class Failures:
    """The last failure of each part."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def tell(self, part: str, detail: str) -> None:
        """Log what a part could not do, unless it failed in the same way just before."""
        if self._last.get(part) != detail:
            log.warning("%s: %s", part, detail)
        self._last[part] = detail

    def forget(self, part: str) -> None:
        """The part did it: the next failure is logged again."""
        self._last.pop(part, None)

"""What the control plane refuses to take of a sidecar, since when, and what to do: whoever looks at it must see that.

Decisions go on meanwhile, and what is refused waits on disk: so nothing else would tell, until the space is used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from app.core import reason_table
from app.core.instant import written
from app.core.reason_codes import Reason
from app.sidecar.control_plane import NotAccepted

#: Where the control plane gave no code, such as for a token that was revoked.
_REMEDY = "Look at this sidecar's API token, and at the control plane's log; what is refused waits on disk."


@dataclass(frozen=True)
class Refused:
    """A refusal that stands. `reason`: the control plane's code, if it gave one."""

    reason: Reason | None
    detail: str
    since: datetime

    def told(self, what: str) -> dict[str, str | None]:
        """As a status tells it. `what`: that is refused."""
        return {
            "what": what,
            "code": None if self.reason is None else str(self.reason),
            "detail": self.detail,
            "since": written(self.since),
            "remedy": _REMEDY if self.reason is None else reason_table.remedy(self.reason),
        }


class Refusals:
    """Of one kind of thing that is sent."""

    def __init__(self, standing: Refused | None = None) -> None:
        """`standing`: what an earlier agent heard."""
        self.standing = standing

    def heard(self, error: Exception) -> None:
        """It was not taken. Whoever does not answer refuses nothing, and takes nothing back that was said before."""
        if not isinstance(error, NotAccepted) or not error.refused:
            return
        since = self.standing.since if self.standing else datetime.now(UTC)
        reason = error.reason or (self.standing.reason if self.standing else None)
        if self.standing is None or reason != self.standing.reason:
            self.standing = Refused(reason, str(error), since)

    def taken(self) -> None:
        """It was taken."""
        self.standing = None

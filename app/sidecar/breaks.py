"""What a sidecar does about a control plane that refuses, or does not answer: keep the break, and wait longer.

Where its system bears a break for a time, the control plane says how long that is. The sidecar counts it by the clock
that nobody sets, so that it stops then, whether it still hears of anybody or not.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.core import strict_json
from app.core.errors import Denied, PlacetError
from app.core.files import write_atomically
from app.core.reason_codes import Reason
from app.sidecar.control_plane import NotAccepted, Respite
from app.sidecar.doubts import Doubt, Doubts, boot_seconds
from app.sidecar.failures import Failures
from app.sidecar.refusals import Refusals, Refused

#: Seconds until the next try when nobody answers, at first and at most; and after a refusal.
RETRY, RETRY_MAX, BROKEN = 1.0, 15.0, 5.0


class Break:
    """What a control plane refused. Kept on disk, so that a new agent does not begin with a lease."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known = self._read()
        #: From when on it stops this sidecar, by `boot_seconds`. A new agent has no time left until it is told.
        self.stops_at = -math.inf
        self._number: int | None = None
        self._is_kept = self.known is not None

    def note(self, denied: Denied, respite: Respite | None = None) -> None:
        """Remember a refusal. The first one says more than that it still stands. Of one break no time grows longer."""
        self._bear(respite)
        if self.known is None or denied.reason not in (Reason.LINEAGE_BROKEN, self.known.reason):
            self.known, self._is_kept = denied, False
        if not self._is_kept:  # also where it could not be written before
            document = {"reason": str(self.known.reason), "detail": self.known.detail}
            write_atomically(self._path, strict_json.canonical(document), mode=0o600)
            self._is_kept = True

    def since(self) -> datetime:
        """Since when it is known."""
        return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)

    def heal(self) -> None:
        """What was refused was taken after all."""
        if self.known:
            self._path.unlink(missing_ok=True)
            self.known, self.stops_at, self._number = None, -math.inf, None

    def is_of(self, respite: Respite) -> bool:
        """Whether it is this one."""
        return respite.number == self._number

    def _bear(self, respite: Respite | None) -> None:
        if respite is None:
            self.stops_at = -math.inf
        elif self.is_of(respite):
            self.stops_at = min(self.stops_at, respite.until)
        else:
            self._number, self.stops_at = respite.number, respite.until

    def _read(self) -> Denied | None:
        if not self._path.exists():
            return None
        try:
            document = strict_json.load_object(self._path.read_bytes())
            return Denied(Reason(document["reason"]), str(document["detail"]))
        except (strict_json.StrictJSONError, KeyError, ValueError):
            return Denied(Reason.LINEAGE_BROKEN, f"{self._path} says so, and is damaged")


class Pause:
    """When to try again: later after each failure, until something succeeds."""

    def __init__(self) -> None:
        self._until = 0.0
        self._next = RETRY

    def begin(self, seconds: float | None = None) -> None:
        """Wait: so many seconds, or longer than the last time."""
        if seconds is not None:
            self._until = time.monotonic() + seconds
        elif self.is_over():  # what fails meanwhile began before
            self._until = time.monotonic() + self._next
            self._next = min(self._next * 2, RETRY_MAX)

    def end(self) -> None:
        """Something succeeded."""
        self._until, self._next = 0.0, RETRY

    def is_over(self) -> bool:
        """Whether to try."""
        return time.monotonic() >= self._until


class Standing:
    """How the control plane takes what one part of the agent sends: told, vouched for or doubted, and when to go on."""

    def __init__(
        self, path: Path, breaks: frozenset[Reason], concern: str, part: str, doubts: Doubts, failures: Failures
    ) -> None:
        """`path` keeps a break; `breaks` are the reasons of one. Doubts know it as `concern`, failures as `part`."""
        self._break = Break(path)
        self._breaks = breaks
        self._pause = Pause()
        self._concern, self._part = concern, part
        self._doubts, self._failures = doubts, failures
        known = self._break.known
        self.refusals = Refusals(Refused(known.reason, known.detail, self._break.since()) if known else None)
        #: What could not be done last, if it could not.
        self.trouble: str | None = None

    @property
    def broken(self) -> Denied | None:
        """The break that stands."""
        return self._break.known

    def may_try(self) -> bool:
        """Whether to try now."""
        return self._pause.is_over()

    def stops_at(self) -> str | None:
        """When a break stops this sidecar that does not stop it yet, by the wall clock; None where none does."""
        left = self._break.stops_at - boot_seconds()
        if self._break.known is None or left <= 0:
            return None
        return (datetime.now(UTC) + timedelta(seconds=left)).isoformat(timespec="seconds")

    def vouch(self, against: Denied | None = None) -> None:
        """Vouch, unless something else stands against it; while a break stands, no longer than it is borne."""
        known = self._break.known
        if against:
            self._doubts.doubt(self._concern, against.reason, against.detail)
        elif known and self._break.stops_at <= boot_seconds():
            self._doubts.doubt(self._concern, known.reason, known.detail)
        elif known:
            self._doubts.vouch(self._concern, self._break.stops_at, Doubt(self._concern, known.reason, known.detail))
        else:
            self._doubts.vouch(self._concern)

    def bear(self, respite: Respite | None) -> None:
        """What was sent was taken, and a break stops this sidecar after a time; or none does."""
        if respite is None or not self._break.is_of(respite):
            self.heal()
        if respite is not None:
            self._break.note(Denied(Reason.LINEAGE_BROKEN, f"break {respite.number} was borne for its time"), respite)

    def heal(self) -> None:
        """What was refused was taken after all."""
        self._break.heal()

    def went_well(self) -> None:
        """Something was taken, and noted as taken."""
        self._pause.end()
        self.trouble = None
        self.refusals.taken()
        self._failures.forget(self._part)

    def is_break(self, refusal: NotAccepted) -> bool:
        """Whether a refusal breaks the lineage."""
        return refusal.reason is not None and refusal.reason in self._breaks

    def note_break(self, refusal: NotAccepted) -> None:
        """Remember a refusal that `is_break`, and wait."""
        assert refusal.reason is not None
        self._break.note(Denied(refusal.reason, str(refusal)), refusal.respite)
        self.wait(refusal, BROKEN)

    def wait(self, error: PlacetError, seconds: float | None = None) -> None:
        """Tell what went wrong, and try later."""
        self.trouble = str(error)
        self.refusals.heard(error)
        self._failures.tell(self._part, self.trouble)
        self._pause.begin(seconds)

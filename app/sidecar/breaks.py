"""What a sidecar does about a control plane that refuses, or does not answer: keep the break, and wait longer."""

from __future__ import annotations

import time
from pathlib import Path

from app.core import strict_json
from app.core.errors import Denied, PlacetError
from app.core.files import write_atomically
from app.core.reason_codes import Reason
from app.sidecar.control_plane import NotAccepted
from app.sidecar.doubts import Doubts
from app.sidecar.failures import Failures

#: Seconds until the next try when nobody answers, at first and at most; and after a refusal.
RETRY, RETRY_MAX, BROKEN = 1.0, 15.0, 5.0


class Break:
    """What a control plane refused. Kept on disk, so that a new agent does not begin with a lease."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known = self._read()

    def note(self, denied: Denied) -> None:
        """Remember a refusal. The first one says more than that it still stands."""
        if self.known and (denied.reason == Reason.LINEAGE_BROKEN or denied.reason == self.known.reason):
            return
        self.known = denied
        document = {"reason": str(denied.reason), "detail": denied.detail}
        write_atomically(self._path, strict_json.canonical(document), mode=0o600)

    def heal(self) -> None:
        """What was refused was taken after all."""
        if self.known:
            self._path.unlink(missing_ok=True)
            self.known = None

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
        #: What could not be done last, if it could not.
        self.trouble: str | None = None

    @property
    def broken(self) -> Denied | None:
        """The break that stands."""
        return self._break.known

    def may_try(self) -> bool:
        """Whether to try now."""
        return self._pause.is_over()

    def vouch(self, against: Denied | None = None) -> None:
        """Vouch, unless something else stands against it; not while a break stands, whoever answers meanwhile."""
        if known := against or self._break.known:
            self._doubts.doubt(self._concern, known.reason, known.detail)
        else:
            self._doubts.vouch(self._concern)

    def heal(self) -> None:
        """What was refused was taken after all."""
        self._break.heal()

    def went_well(self) -> None:
        """Something was taken, and noted as taken."""
        self._pause.end()
        self.trouble = None
        self._failures.forget(self._part)

    def is_break(self, refusal: NotAccepted) -> bool:
        """Whether a refusal breaks the lineage."""
        return refusal.reason is not None and refusal.reason in self._breaks

    def note_break(self, refusal: NotAccepted) -> None:
        """Remember a refusal that `is_break`, and wait."""
        assert refusal.reason is not None
        self._break.note(Denied(refusal.reason, str(refusal)))
        self.wait(refusal, BROKEN)

    def wait(self, error: PlacetError, seconds: float | None = None) -> None:
        """Tell what went wrong, and try later."""
        self.trouble = str(error)
        self._failures.tell(self._part, self.trouble)
        self._pause.begin(seconds)

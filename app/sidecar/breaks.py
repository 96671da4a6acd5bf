"""What a sidecar does about a control plane that refuses, or does not answer: keep the break, and wait longer."""

from __future__ import annotations

import time
from pathlib import Path

from app.core import strict_json
from app.core.errors import Denied
from app.core.files import write_atomically
from app.core.reason_codes import Reason

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

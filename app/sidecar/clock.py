"""The clock, distrusted: set back, it would extend every lease and horizon; set ahead, it ends them early."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from app.core.errors import Denied, PlacetError
from app.core.files import write_atomically
from app.core.reason_codes import Reason
from app.sidecar.doubts import boot_seconds

#: Seconds by which the wall clock may move against the boot clock between two checks, or stand behind a time seen.
TOLERANCE = 2.0

#: Seconds a second by which the two clocks may drift apart: NTP slews by up to 500 parts in a million.
_DRIFT = 0.001

#: The year 9999, in seconds since the epoch: no clock has seen it.
_NEVER = 253_402_300_800.0

#: Seconds between two writes of the greatest time seen.
_SAVE_EVERY = 10.0


class Clock:
    """Compares the wall clock with the boot clock and with the greatest time ever seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._greatest = _read(path) if path.exists() else 0.0
        self._saved = self._greatest
        self._checked = boot_seconds()
        self._offset = time.time() - self._checked
        self._jumped = False

    def check(self) -> None:
        """Raise `Denied` when the clock cannot be relied on."""
        now, boot = time.time(), boot_seconds()
        drift = (now - boot) - self._offset
        if abs(drift) > TOLERANCE:
            self._jumped = True
        # The wall clock is disciplined, so the two drift apart; but no faster than this. Small steps add up.
        allowed = _DRIFT * (boot - self._checked)
        self._offset += max(-allowed, min(allowed, drift))
        self._checked = boot
        if now < self._greatest - TOLERANCE:
            seen = datetime.fromtimestamp(self._greatest, tz=UTC).isoformat(timespec="seconds")
            raise Denied(Reason.CLOCK_BEHIND, f"it was {seen} before")
        if self._jumped:
            raise Denied(Reason.CLOCK_JUMP, "waiting for a signed time that agrees")
        self._see(now)

    def compare(self, issued_at: float) -> None:
        """Compare with a signed time of issue, in seconds since the epoch. Agreement heals a jump."""
        now = time.time()
        if issued_at > now + TOLERANCE:
            raise Denied(Reason.CLOCK_BEHIND, f"metadata was issued {issued_at - now:.1f} s in the future")
        if self._jumped:
            self._offset = now - boot_seconds()
            self._jumped = False

    def _see(self, now: float) -> None:
        self._greatest = max(self._greatest, now)
        if self._greatest - self._saved >= _SAVE_EVERY:
            write_atomically(self._path, f"{self._greatest:.3f}".encode(), mode=0o600)
            self._saved = self._greatest


def _read(path: Path) -> float:
    try:
        seen = float(path.read_text())
    except ValueError as error:
        raise PlacetError(f"{path} is damaged; delete it if the clock can be relied on") from error
    if not 0 <= seen < _NEVER:
        raise PlacetError(f"{path} is damaged; delete it if the clock can be relied on")
    return seen

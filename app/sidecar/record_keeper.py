"""Vouches for the records: all of them are there, nothing strange among them, and space for more is allocated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import record_loss
from app.sidecar.config import SidecarConfig
from app.sidecar.doubts import Doubts
from app.sidecar.opa_keeper import OpaKeeper
from app.sidecar.opa_process import OpaProcess
from app.sidecar.records import RecordFile, Tally
from app.sidecar.reserve import Reserve

CONCERN = "records"

_INTERVAL = 0.5


@dataclass(frozen=True)
class _Watched:
    """One OPA process and what it writes. Replaced as a whole, by another thread than the one that watches."""

    process: OpaProcess
    file: RecordFile
    reserve: Reserve


class RecordKeeper:
    """Watches the record file of the OPA that runs now."""

    def __init__(self, config: SidecarConfig, keeper: OpaKeeper, doubts: Doubts) -> None:
        self._config = config
        self._keeper = keeper
        self._doubts = doubts
        self._watched: _Watched | None = None

    def follow(self, process: OpaProcess) -> None:
        """From now on watch the records of this process. Reserves their space before it answers anybody."""
        self._doubts.doubt(CONCERN, Reason.AGENT_PAUSED, "not checked yet")
        reserve = Reserve(process.records, self._config.reserve, self._config.record_space)
        self._watched = _Watched(process, RecordFile(process.records), reserve)
        self._keep(reserve)

    def step(self) -> float:
        """Check once. Returns the seconds until the next time."""
        watched = self._watched
        if watched is None or watched.process.exit_code() is not None:
            self._without_opa(watched)
            return _INTERVAL
        self._keep(watched.reserve)
        status = self._keeper.status
        if status is None:
            return _INTERVAL
        watched.file.expect(status.opa_id)
        # Counted before the records are read: OPA writes a record before it counts the answer.
        answered = watched.process.api.answered()
        tally = watched.file.read()
        if tally.unexpected is not None:
            raise Denied(Reason.RECORD_UNEXPECTED, tally.unexpected)
        if tally.decisions < answered:
            record_loss.note(watched.file.path, answered - tally.decisions)  # the next batch says so
            raise Denied(Reason.RECORD_MISSING, f"{answered} answers, {tally.decisions} records")
        if self._watched is watched:  # a new OPA is vouched for by what it writes itself
            self._doubts.vouch(CONCERN)
        return _INTERVAL

    def tally(self) -> tuple[Path, Tally] | None:
        """The record file that is written now, and what was seen in it."""
        watched = self._watched
        return (watched.file.path, watched.file.tally) if watched else None

    def _keep(self, reserve: Reserve) -> None:
        try:
            reserve.keep()
        except Denied:
            if reserve.nearly_spent():
                # Denials are recorded too: an OPA that only denies would use up the rest.
                self._keeper.end("the space for records is used up")
            raise

    def _without_opa(self, watched: _Watched | None) -> None:
        """Nobody writes records. An OPA that was ended for want of space comes back when a whole reserve fits."""
        if watched is not None:
            watched.reserve.release()
        held_down = self._keeper.held_down
        if held_down is None:
            self._doubts.doubt(CONCERN, Reason.OPA_STOPPED, "no OPA writes records")
            return
        self._doubts.doubt(CONCERN, Reason.RECORD_RESERVE, held_down)
        directory = self._config.files.records
        used = sum(path.stat().st_blocks * 512 for path in directory.glob("*.log"))
        if used + self._config.reserve <= self._config.record_space and _available(directory) > self._config.reserve:
            self._keeper.held_down = None


def _available(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize

"""Reports of how a sidecar stands: a file beside it, the control plane, and what that answers about its lineage.

Reporting is how a sidecar that ships nothing hears that it is stopped, or when it will be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.files import write_atomically
from app.core.reason_codes import Reason
from app.core.strict_json import canonical
from app.sidecar import status
from app.sidecar.breaks import Standing
from app.sidecar.config import SidecarFiles
from app.sidecar.control_plane import ControlPlane, NotAccepted
from app.sidecar.doubts import Doubts
from app.sidecar.failures import Failures

#: Seconds between two reports.
_EVERY = 2.0

#: What says that this sidecar is not admitted any more.
_BREAKS = frozenset({Reason.SIDECAR_EVICTED, Reason.LINEAGE_BROKEN})


class Reporting:
    """Reports the status of one sidecar."""

    def __init__(self, files: SidecarFiles, plane: ControlPlane, doubts: Doubts, failures: Failures) -> None:
        self._file = files.root / "status.json"
        self._plane = plane
        broken = files.private / "admission.break"
        self._standing = Standing(broken, _BREAKS, status.CONCERN, "status", doubts, failures)

    def open(self) -> None:
        """Go by what an earlier agent was told last: it was admitted, or not, or its time may be over."""
        self._standing.vouch()

    def step(self, parts: status.Parts) -> float:
        """Report once. Returns the seconds until the next time. Raises `PlacetError` for what cannot be written."""
        report = status.reported(parts)
        here = {**report, **status.local(parts), "lineage_stops_at": self._standing.stops_at()}
        try:
            write_atomically(self._file, canonical(here) + b"\n", mode=0o644)
        finally:  # a full disk keeps nobody from hearing that it is stopped
            self._report(report)
        return _EVERY

    def _report(self, report: Mapping[str, Any]) -> None:
        try:
            respite = self._plane.report(report)
        except NotAccepted as refusal:
            if self._standing.is_break(refusal):
                self._standing.note_break(refusal)
            else:
                self._standing.wait(refusal)  # the file above tells those who are here
        else:
            self._standing.bear(respite)
            self._standing.went_well()
        finally:  # what was heard counts, whether or not it could be kept
            self._standing.vouch()

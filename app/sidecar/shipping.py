"""How records leave a sidecar: in signed batches where a lineage log was named, else as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from app.core.errors import Denied, UsageError
from app.sidecar.batch_notes import Batch, Notes
from app.sidecar.batches import Cutter
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.control_plane import ControlPlane, NotAccepted
from app.sidecar.doubts import Doubts
from app.sidecar.failures import Failures
from app.sidecar.refusals import Refusals, Refused
from app.sidecar.shipper import Shipper
from app.sidecar.signed_shipping import PART, SignedShipping
from app.sidecar.statement_signer import StatementSigner

_IDLE = 0.2


class Shipping(Protocol):
    """Ships the records of one sidecar."""

    def open(self) -> None:
        """Read what an earlier agent left. Raises `PlacetError` when that cannot be gone on with."""

    def step(self) -> float:
        """Ship what can be shipped now. Returns the seconds until the next time."""

    def finish(self, seconds: float) -> None:
        """Ship what is left when no OPA writes any more. Raises `PlacetError` for what it could not."""

    def acknowledged(self, path: Path) -> int:
        """Up to which offset the control plane holds this record file."""

    def describe(self) -> dict[str, Any] | None:
        """How signed batches stand; None where none are signed."""

    @property
    def refused(self) -> Refused | None:
        """Why the control plane takes no records of this sidecar, if it takes none."""


class PlainShipping:
    """Ships records unsigned."""

    def __init__(self, shipper: Shipper, files: SidecarFiles, failures: Failures) -> None:
        self._shipper = shipper
        self._notes = files.batches / files.instance()
        self._instance = files.instance_file
        self._failures = failures
        self._refusals = Refusals()

    def open(self) -> None:
        """Raise `UsageError` when an earlier agent signed: what it has under way would be shipped once more."""
        if any(self._notes.glob("*.json")):
            raise UsageError(
                "this sidecar signs its records; give --lineage-trust-config, "
                f"or go on as a new instance: delete {self._instance}"
            )

    def step(self) -> float:
        """Ship one batch of lines. Raises `Denied` with the control plane's code where it gave one."""
        try:
            more = self._shipper.ship()
        except NotAccepted as error:
            self._refusals.heard(error)
            if error.reason is None:
                raise
            raise Denied(error.reason, str(error)) from error
        self._refusals.taken()
        self._failures.forget(PART)
        return 0.0 if more else _IDLE

    def finish(self, seconds: float) -> None:
        """Ship what is left."""
        deadline = time.monotonic() + seconds
        while self._shipper.ship(ended=True) and time.monotonic() < deadline:
            pass

    def acknowledged(self, path: Path) -> int:
        """Up to which offset the control plane holds this file."""
        return self._shipper.acknowledged(path)

    def describe(self) -> None:
        """Nothing is signed."""

    @property
    def refused(self) -> Refused | None:
        """Why the control plane takes no records, if it takes none."""
        return self._refusals.standing


def shipping(
    config: SidecarConfig,
    opa: str,
    sidecar: Callable[[], str | None],
    plane: ControlPlane,
    doubts: Doubts,
    freed: Callable[[Path, int], None],
    failures: Failures,
    wake: Callable[[], None],
    told: Callable[[Batch, Sequence[bytes]], None] = lambda batch, entries: None,
) -> Shipping:
    """What the configuration asks for. `opa`: the digest of the binary. `wake`: a step can do something now.

    `told` hears of each batch that is cut, and its entries.
    """
    files = config.files
    if config.lineage is None:
        return PlainShipping(Shipper(files.records, plane, freed), files, failures)
    notes = Notes(files)
    cutter = Cutter(notes, opa, sidecar, told)
    signer = StatementSigner(config.lineage, plane.identity, wake)
    return SignedShipping(files.states, notes, cutter, signer, plane, doubts, freed, failures)

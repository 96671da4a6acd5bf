"""How a sidecar stands, as it is written beside it and reported to the control plane."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.core.compose import Library
from app.core.errors import Denied, PlacetError
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.sidecar.config import SidecarConfig
from app.sidecar.environment import Environment
from app.sidecar.lease import LeaseKeeper
from app.sidecar.lineage import Lineage
from app.sidecar.metadata_watcher import MetadataWatcher
from app.sidecar.modes import Modes, as_reported
from app.sidecar.opa_keeper import OpaKeeper
from app.sidecar.record_keeper import RecordKeeper
from app.sidecar.refusals import Refused
from app.sidecar.rollout import Rollout
from app.sidecar.shipping import Shipping
from app.sidecar.trust_keeper import TrustKeeper

#: Whether the control plane still takes this sidecar's reports.
CONCERN = "admission"

#: Characters of the detail of one reason, and reasons at most, in a report.
_DETAIL, _REASONS = 1000, 32


@dataclass(frozen=True)
class Parts:
    """The parts of an agent that a status is about."""

    config: SidecarConfig
    opa: Opa
    library: Library
    lease: LeaseKeeper
    metadata: MetadataWatcher
    rollout: Rollout
    keeper: OpaKeeper
    records: RecordKeeper
    shipping: Shipping
    trust: TrustKeeper
    modes: Modes
    environment: Environment | None
    lineage: Lineage | None


def reported(parts: Parts) -> dict[str, Any]:
    """What the control plane is told."""
    enforced = parts.rollout.enforced
    tallied = parts.records.tally()
    return {
        "channel": parts.config.channel,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "healthy": _holds_lease(parts) and not _refused(parts),
        "reasons": list(_reasons(parts))[:_REASONS],
        "release": enforced.release.digest if enforced else None,
        "sequence": enforced.pointer.sequence if enforced else None,
        "library": parts.library.digest,
        "opa_digest": parts.opa.digest,
        "lease_ttl_seconds": parts.config.lease_ttl,
        "modes": as_reported(parts.modes.in_force(time.time_ns())),
        # Bytes of the record file that is written now.
        "records": {
            "written": tallied[1].end if tallied else 0,
            "shipped": parts.shipping.acknowledged(tallied[0]) if tallied else 0,
        },
    }


def local(parts: Parts) -> dict[str, Any]:
    """What stands in the file besides: for whoever is at the sidecar."""
    process, tallied, environment = parts.keeper.process, parts.records.tally(), parts.environment
    ends = environment.expires_at() if environment else None
    known = parts.metadata.known
    return {
        "lease": _holds_lease(parts),
        # What the control plane does not take.
        "refused": [one.told(what) for what, one in _refused(parts).items()],
        # How old what it knows is, and how old it may become.
        "metadata_age_seconds": round(known.age(), 1) if known else None,
        "horizon_seconds": known.snapshot.pointer.horizon_seconds if known else None,
        "opa_pid": process.pid if process else None,
        "tally": tallied[1].counts() if tallied else {},
        "batches": parts.shipping.describe(),
        "journal": parts.lineage.shipping.describe() if parts.lineage else None,
        "edge_port": parts.config.edge_port,
        "environment_until": datetime.fromtimestamp(ends, tz=UTC).isoformat() if ends else None,
    }


def _reasons(parts: Parts) -> Iterator[dict[str, str]]:
    for doubt in parts.lease.against or []:
        yield _said(doubt.reason, doubt.detail)
    failures: list[Denied | None] = [
        parts.rollout.failure,
        *parts.modes.failures(),
        parts.trust.failure,
        parts.environment.failure if parts.environment else None,
    ]
    for failure in failures:
        if failure is not None:
            yield _said(failure.reason, failure.detail)
    doubted = {doubt.reason for doubt in parts.lease.against or []}
    for refused in _refused(parts).values():
        if refused.reason is not None and refused.reason not in doubted:
            yield _said(refused.reason, refused.detail)
    if trouble := parts.metadata.failure:
        yield _said(_code(trouble), str(trouble))


def _holds_lease(parts: Parts) -> bool:
    return parts.lease.valid_until > time.time()


def _refused(parts: Parts) -> dict[str, Refused]:
    """What the control plane takes no more of this sidecar, and why."""
    sent = {"records": parts.shipping.refused, "journal": parts.lineage.shipping.refused if parts.lineage else None}
    return {what: refused for what, refused in sent.items() if refused is not None}


def _code(trouble: PlacetError) -> Reason:
    return trouble.reason if isinstance(trouble, Denied) else Reason.METADATA_INVALID


def _said(reason: Reason, detail: str) -> dict[str, str]:
    return {"code": str(reason), "detail": detail[:_DETAIL]}

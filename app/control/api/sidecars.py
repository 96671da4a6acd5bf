"""`/api/v1/systems/{system}/sidecars`: status and records from sidecars."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from app.control import enrolment, lineage, records, sidecars, systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Digest, Name, line
from app.control.api.ingests import INGESTS
from app.control.batch_reading import decompress
from app.control.problems import Invalid
from app.control.raw_records import Span
from app.control.store import Eviction, Sidecar
from app.control.tokens import Access, Scope
from app.core.instant import written

router = APIRouter(prefix="/api/v1/systems/{system}/sidecars", tags=["sidecars"])

#: The name of an instance or of a record file.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Offset = Annotated[int, Query(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Trouble(Body):
    """Why a sidecar is not healthy."""

    code: Annotated[str, StringConstraints(max_length=100), AfterValidator(line)]
    detail: Annotated[str, StringConstraints(max_length=1000)] = ""


class RecordCounts(Body):
    """Bytes or records that OPA wrote, and how many of them the control plane has acknowledged."""

    written: Count
    shipped: Count


class HonouredMode(Body):
    """A mode that the sidecar has verified and honours."""

    kind: Literal["shadow", "break-glass"]
    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    until: AwareDatetime


class Status(Body):
    """What a sidecar says about itself."""

    instance: FileName
    channel: Name
    at: AwareDatetime
    healthy: bool
    reasons: Annotated[list[Trouble], Field(default_factory=list, max_length=32)]
    release: Digest | None = None
    sequence: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    library: Digest | None = None
    opa_digest: Digest | None = None
    lease_ttl_seconds: Annotated[float, Field(ge=0, le=86400)]
    modes: Annotated[list[HonouredMode], Field(default_factory=list, max_length=4)]
    records: RecordCounts


def show_eviction(row: Eviction) -> dict[str, Any]:
    """An eviction as the API shows it: why, when and by whom."""
    return {
        "reason": row.reason,
        "at": row.evicted_at.isoformat(),
        "by": row.evicted_by_name,
        "by_token": row.evicted_by,
    }


def show(sidecar: Sidecar, evicted: Eviction | None = None) -> dict[str, Any]:
    """A sidecar as the API shows it."""
    return {
        "system": sidecar.system,
        "sidecar": sidecar.name,
        "condition": sidecars.condition(sidecar, evicted),
        "evicted": show_eviction(evicted) if evicted else None,
        "age_seconds": round(sidecars.age(sidecar).total_seconds(), 3),
        "instance": sidecar.instance,
        "channel": sidecar.channel,
        "at": sidecar.reported_at.isoformat(),
        "healthy": sidecar.healthy,
        "reasons": sidecar.reasons,
        "release": sidecar.release,
        "sequence": sidecar.sequence,
        "library": sidecar.library,
        "opa_digest": sidecar.opa_digest,
        "lease_ttl_seconds": sidecar.lease_ttl_seconds,
        "modes": sidecar.modes,
        "records": {"written": sidecar.records_written, "shipped": sidecar.records_shipped},
    }


@router.get("")
def list_sidecars(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """The sidecars of a system, as they last reported; then those that were evicted and never reported."""
    with plane.store.read() as session:
        systems.find(session, system)
        evicted = enrolment.evicted(session, system)
        heard_of = [show(one, evicted.pop((one.system, one.name), None)) for one in sidecars.listed(session, system)]
    return heard_of + [
        {"system": row.system, "sidecar": row.sidecar, "condition": "evicted", "evicted": show_eviction(row)}
        for row in evicted.values()
    ]


@router.post("/{sidecar}/status")
def report_status(
    plane: PlaneOf, system: Name, sidecar: Name, body: Status, _: Annotated[Access, by(Scope.RECORD_WRITE)]
) -> dict[str, Any]:
    """Keep what a sidecar says about itself. While a break of its lineage is open, it hears of that: 409.

    Of one that its system bears for a time: `lineage`, with the seconds that are left.
    """
    row = Sidecar(
        system=system,
        name=sidecar,
        reported_at=body.at.astimezone(UTC),
        received_at=datetime.now(UTC),
        reasons=[{"code": one.code, "detail": one.detail.replace("\0", "\ufffd")} for one in body.reasons],
        modes=[{"kind": one.kind, "id": one.id, "until": written(one.until)} for one in body.modes],
        records_written=body.records.written,
        records_shipped=body.records.shipped,
        **body.model_dump(exclude={"at", "reasons", "modes", "records"}),
    )
    with plane.store.write() as session:
        enrolment.require_admitted(session, system, sidecar)
        sidecars.report(session, row)
    with plane.store.read() as session:
        lineage.require_whole(session, system, sidecar)  # so that one that ships nothing now hears of it, too
        pending = lineage.pending(session, system, sidecar)
        return {"received_at": row.received_at.isoformat(), "lineage": lineage.told(pending) if pending else None}


@router.post("/{sidecar}/records")
async def take_records(
    request: Request,
    plane: PlaneOf,
    system: Name,
    sidecar: Name,
    instance: FileName,
    file: FileName,
    first: Offset,
    last: Offset,
    _: Annotated[Access, by(Scope.RECORD_WRITE)],
) -> dict[str, int]:
    """Store whole record lines, bytes [first, last) of a file. What is acknowledged is durable.

    They come unsigned: a control plane with a lineage log refuses them with record.unsigned.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip"}:
        raise Invalid(f"the content encoding {encoding!r} is not known; send gzip or none")
    body = await request.body()
    span = Span(system, sidecar, instance, file, first, last)

    def work() -> int:
        with plane.store.read() as session:
            enrolment.require_admitted(session, system, sidecar)
        return records.ingest(plane, span, decompress(body) if encoding == "gzip" else body)

    return {"acknowledged": await INGESTS.run(system, work)}

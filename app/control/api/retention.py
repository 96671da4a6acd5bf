"""`/api/v1/systems/{system}/retention`: how long records are kept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.control import retention
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name
from app.control.store import Retention
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}/retention", tags=["retention"])

Days = Annotated[int, Field(ge=1, le=retention.MAX_DAYS)]


class NewRetention(Body):
    """Days since the receipt of a batch. Without `columns_days` what can be searched is kept for ever."""

    records_days: Days
    columns_days: Days | None = None


def show(system: str, row: Retention | None) -> dict[str, Any]:
    """What is set; nulls mean for ever."""
    return {
        "system": system,
        "records_days": row.records_days if row else None,
        "columns_days": row.columns_days if row else None,
        "set_by": row.set_by if row else None,
        "set_at": row.set_at.isoformat() if row else None,
    }


@router.get("")
def get_retention(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> dict[str, Any]:
    """How long the records of a system are kept."""
    with plane.store.read() as session:
        return show(system, retention.get(session, system))


@router.put("")
def put_retention(
    plane: PlaneOf, system: Name, body: NewRetention, access: Annotated[Access, by(Scope.SYSTEM_WRITE)]
) -> dict[str, Any]:
    """Set it. What is past its time is erased from then on, but for what a hold covers."""
    with plane.store.write() as session:
        return show(system, retention.put(session, access, system, body.records_days, body.columns_days))


@router.delete("")
def delete_retention(plane: PlaneOf, system: Name, access: Annotated[Access, by(Scope.SYSTEM_WRITE)]) -> dict[str, Any]:
    """Keep what is there for ever."""
    with plane.store.write() as session:
        retention.remove(session, access, system)
        return show(system, None)

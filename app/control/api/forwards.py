"""`/api/v1/forwards`: where records are forwarded to. A sink reaches whatever the control plane does: for admins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.control import forwarding
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name, Text
from app.control.store import Forward
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/forwards", tags=["decisions"])

Admin = Annotated[Access, by(Scope.ADMIN)]


class NewForward(Body):
    """A sink to add."""

    name: Name
    #: file:///…, s3://…, gs://…, az://…, kafka://BROKERS/TOPIC or otlp+https://…; no secret in it.
    target: Annotated[Text, Field(max_length=2000)]
    #: Of one system alone.
    system: Name | None = None
    #: Whether it gets what is stored already, too.
    from_the_first: bool = False


def show(forward: Forward, queued: int) -> dict[str, Any]:
    """A sink as the API lists it."""
    return {
        "name": forward.name,
        "target": forward.target,
        "system": forward.system,
        "queued_batches": queued,
        "delivered_records": forward.delivered,
        "delivered_at": forward.delivered_at.isoformat() if forward.delivered_at else None,
        "failures": forward.failures,
        "problem": forward.problem,
        "next_try": forward.next_try.isoformat() if forward.next_try and forward.problem else None,
        "added_by": forward.added_by,
        "added_at": forward.added_at.isoformat(),
    }


@router.get("")
def list_forwards(plane: PlaneOf, _: Admin) -> list[dict[str, Any]]:
    """All sinks, with what each has not taken yet."""
    with plane.store.read() as session:
        return [show(*one) for one in forwarding.listed(session)]


@router.post("", status_code=201)
def add_forward(plane: PlaneOf, access: Admin, body: NewForward) -> dict[str, Any]:
    """Forward what arrives from now on, or all that is stored."""
    with plane.store.write() as session:
        shown = show(forwarding.add(session, body.name, body.target, body.system, access.name), 0)
    if body.from_the_first:
        forwarding.queue_stored(plane.store, body.name)
    return shown


@router.delete("/{name}", status_code=204)
def remove_forward(plane: PlaneOf, _: Admin, name: Name) -> None:
    """Remove a sink, and forget what it has not taken."""
    with plane.store.write() as session:
        forwarding.remove(session, name)

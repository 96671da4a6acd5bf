"""`/api/v1/systems/{system}/channels`."""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter

from app.control import channels, releases, systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Digest, Name
from app.control.api.releases import VERIFICATIONS
from app.control.store import Pointer, System
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}/channels", tags=["channels"])


class NewPointer(Body):
    """Where a channel shall point."""

    release: Digest


def show(system: System, pointer: Pointer) -> dict[str, Any]:
    """A channel as the API shows it."""
    return {
        "system": pointer.system,
        "channel": pointer.channel,
        "sequence": pointer.sequence,
        "release": pointer.release,
        "horizon_seconds": system.horizon_seconds,
        "set_at": pointer.set_at.isoformat(),
    }


@router.get("")
def list_channels(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """The channels of a system and what they point to."""
    with plane.store.read() as session:
        found = systems.find(session, system)
        return [show(found, pointer) for pointer in channels.listed(session, system)]


@router.put("/{channel}")
async def point_channel(
    plane: PlaneOf,
    system: Name,
    channel: Name,
    body: NewPointer,
    access: Annotated[Access, by(Scope.CHANNEL_WRITE)],
) -> dict[str, Any]:
    """Point a channel at a release that the system's policy still accepts.

    It is published when this answers; the same release again changes nothing.
    """

    def work() -> dict[str, Any]:
        accepted = releases.require_accepted(plane, system, body.release)
        with plane.publishing() as session:
            pointer = channels.point(session, access, system, channel, body.release, accepted=accepted)
            return show(systems.find(session, system), pointer)

    return await anyio.to_thread.run_sync(work, limiter=VERIFICATIONS)

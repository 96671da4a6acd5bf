"""Records: whatever an answered decision meets, its record reaches the control plane."""

from __future__ import annotations

import time

from app.core.reason_codes import Reason
from app.local.demo.load import Load
from app.local.demo.parts import eventually
from app.local.demo.rows.table import World, kill_opa, nothing_missing, reports, require, row


@row("OPA killed under load: no answered decision missing")
def opa_killed(world: World) -> str:
    """Every decision that a caller got an answer to is with the control plane."""
    sidecar = world.first
    killed = sidecar.status()["opa_pid"]
    with Load(sidecar.port, sidecar.ca, world.stack.request()) as load:
        eventually("under load", lambda: len(load.answers) > 500)
        kill_opa(sidecar)
        eventually("a new OPA", lambda: sidecar.status().get("opa_pid") not in (None, killed))
        eventually("allows again", lambda: world.allows(sidecar))
        time.sleep(0.5)
    return nothing_missing(world, load)


@row("space for records full: denies, and nothing is missing")
def space_full(world: World) -> str:
    """A sidecar with little space for records, whose control plane takes none, under load."""
    options = ("--reserve", "1MiB", "--record-space", "4MiB")
    sidecar = world.stack.start_sidecar("sidecar-small", *options, server=world.meddler.url)
    world.meddler.mode = "no-records"
    try:
        with Load(sidecar.port, sidecar.ca, world.stack.request()) as load:
            eventually("denies", lambda: not world.allows(sidecar), within=60)
            eventually("for want of space", lambda: reports(sidecar, Reason.RECORD_RESERVE))
            time.sleep(1)
    finally:
        world.meddler.mode = "pass"
    require(load.outcomes()["allow"], "nothing was allowed before")
    eventually("allows again", lambda: world.allows(sidecar), within=60)
    seen = nothing_missing(world, load)
    world.stack.stop_sidecar(sidecar)
    return seen

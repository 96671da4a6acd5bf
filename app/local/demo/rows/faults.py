"""Faults: a part dies, hangs or is replaced by an impostor."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.core.reason_codes import Reason
from app.local.demo.impostor import Impostor
from app.local.demo.load import Load
from app.local.demo.parts import Sidecar, eventually
from app.local.demo.rows.table import World, denied_with, kill_opa, require, row
from app.local.demo.stack import HORIZON, LEASE_TTL
from app.local.sample_service import Governed
from placet_sdk import Decision

#: Seconds beyond the TTL in which the last "allow" may be seen: an answer on its way, and a busy machine's clock.
GRACE = 0.5


@row("control plane stopped: decisions go on until the horizon, then deny")
def horizon(world: World) -> str:
    """The control plane is killed and comes back."""
    stack, sidecar = world.stack, world.first
    assert stack.control is not None
    with Load(sidecar.port, sidecar.ca, stack.request()) as load:
        stack.control.kill()
        killed = time.monotonic()
        eventually("denies", lambda: not world.allows(sidecar), within=HORIZON + LEASE_TTL + 10)
    last = max(answer.at for answer in load.answers if answer.decision.allow) - killed
    stack.start_control_plane()
    eventually("allows again", lambda: world.allows(sidecar) and world.allows(world.second))
    # The newest signature was up to one freshness interval and one refresh old when the control plane died.
    require(last > HORIZON - 5, f"the last allow came {last:.1f} s after the stop, before the horizon of {HORIZON} s")
    require(last <= HORIZON + GRACE, f"the last allow came {last:.1f} s after the stop; the horizon is {HORIZON} s")
    return f"last allow after {last:.1f} s; horizon {HORIZON} s"


@row("agent killed: OPA denies within the lease TTL")
def agent_killed(world: World) -> str:
    """The agent dies; OPA lives on and denies by itself. A new agent ends that OPA and starts its own."""
    sidecar = world.first
    assert sidecar.agent is not None
    orphan = sidecar.status()["opa_pid"]
    try:
        with _last_allow_within_ttl(world, sidecar) as seen:
            sidecar.agent.kill()
    finally:
        world.stack.start_agent(sidecar)
    require(sidecar.status()["opa_pid"] != orphan, "the new agent kept the old OPA")
    require(world.allows(sidecar), "the new agent's OPA does not allow")
    return f"last allow after {seen[0]:.1f} s; TTL {LEASE_TTL:g} s"


@row("agent frozen: OPA denies within the lease TTL")
def agent_frozen(world: World) -> str:
    """The agent is stopped by a signal, and goes on later: it verifies again before it renews."""
    sidecar = world.first
    assert sidecar.agent is not None
    try:
        with _last_allow_within_ttl(world, sidecar) as seen:
            sidecar.agent.signal(signal.SIGSTOP)
    finally:
        sidecar.agent.signal(signal.SIGCONT)
    eventually("allows again", lambda: world.allows(sidecar))
    return f"last allow after {seen[0]:.1f} s; TTL {LEASE_TTL:g} s"


@row("another process on the agent's port: refused by OPA")
def impostor_agent(world: World) -> str:
    """The agent is dead, and somebody else serves a bundle that would allow everything."""
    sidecar = world.first
    assert sidecar.agent is not None
    port = _agent_port(sidecar)
    sidecar.agent.kill()
    try:
        with Impostor(port) as impostor:
            eventually("OPA tries the impostor", lambda: impostor.connections >= 2, within=30)
            eventually("the lease ends", lambda: not world.allows(sidecar), within=LEASE_TTL + 5)
            time.sleep(1)
            code = denied_with(world.ask(sidecar), Reason.LEASE_EXPIRED)
            require(not impostor.requests, f"OPA talked to the impostor: {impostor.requests}")
            tried = impostor.connections
    finally:
        world.stack.start_agent(sidecar)
    return f"{tried} connections, no request; {code}"


@row("another process on OPA's port: refused by the client")
def impostor_opa(world: World) -> str:
    """OPA is dead and its agent frozen, and somebody else answers "allow" to everyone on its port."""
    sidecar = world.first
    assert sidecar.agent is not None
    governed = Governed(sidecar.port, sidecar.ca)
    sidecar.agent.signal(signal.SIGSTOP)
    try:
        kill_opa(sidecar)
        with Impostor(sidecar.port) as impostor:
            decision = governed.decide(world.stack.request("read"))
            require(decision == Decision.deny(Reason.SIDECAR_UNREACHABLE, "SSLError"), f"the client said {decision}")
            require(not impostor.requests, "the client sent its token to the impostor")
            require(impostor.connections, "nobody connected to the impostor")
    finally:
        sidecar.agent.signal(signal.SIGCONT)
    eventually("allows again", lambda: world.allows(sidecar))
    return f"{decision.reasons[0][0]} ({decision.reasons[0][1]})"


@contextmanager
def _last_allow_within_ttl(world: World, sidecar: Sidecar) -> Iterator[list[float]]:
    """Under load, what the block does must end every "allow" within the TTL. Gives the seconds to the last one."""
    seen: list[float] = []
    with Load(sidecar.port, sidecar.ca, world.stack.request()) as load:
        eventually("under load", lambda: load.outcomes()["allow"] > 100)
        yield seen
        done = time.monotonic()
        eventually("denies", lambda: not world.allows(sidecar), within=LEASE_TTL + 10)
        time.sleep(1)
        code = denied_with(world.ask(sidecar), Reason.LEASE_EXPIRED)
    seen.append(max(answer.at for answer in load.answers if answer.decision.allow) - done)
    require(seen[0] <= LEASE_TTL + GRACE, f"the last allow came after {seen[0]:.2f} s ({code})")


def _agent_port(sidecar: Sidecar) -> int:
    """Where OPA asks for bundles, as its configuration says."""
    text = (sidecar.directory / "run" / "opa.json").read_text()
    found = re.search(r"https://127\.0\.0\.1:(\d+)", text)
    assert found is not None
    return int(found.group(1))

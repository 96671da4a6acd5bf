"""Agents: what a warrant allows, what is handed on to another domain's agent, and how both are stopped."""

from __future__ import annotations

from pathlib import Path

from app.core.reason_codes import Reason
from app.local.demo.agents import SUMMARIZER, SYSTEM, Agents, chain
from app.local.demo.parts import eventually
from app.local.demo.rows.table import World, require, row
from app.local.sample_agent import Outcome, Step

FETCH = Step("web.fetch", "url", "https://docs.example.org/handbook")
READ = Step("files.read", "file", "/reports/q3.txt", {"bytes": 1000})
READ_MUCH = Step("files.read", "file", "/reports/q3.txt", {"bytes": 1_000_000})
WRITE = Step("files.write", "file", "/reports/q3.txt", {"text": "Revenue grew by 40 %."})

#: What the researcher's warrant covers: fetching pages and reading reports, and, with a key, handing that on once.
COVERED = (
    "--action", "web.fetch", "--action", "files.read", "--resource", "url/https://docs.example.org/*",
    "--resource", "file//reports/*",
)  # fmt: skip


@row("agent works inside an execution, and is stopped when it exceeds its warrant")
def stopped(world: World) -> str:
    """The policy would let the agent write. Its warrant does not."""
    agents = world.agents
    key = agents.new_key("researcher")
    warrant = agents.warrant("researcher", *COVERED, *_held_by(key))
    started = _start(agents, "execution", "--warrant", str(warrant), "--key", str(key))
    agent = agents.researcher(execution=(started["id"], started["token"]))
    before = len(agents.tools.ran)
    outcomes = agent.run([FETCH, READ, WRITE, READ])
    require([bool(one.codes) for one in outcomes] == [False, False, True], f"it came to {outcomes}")
    codes = _denied(outcomes[-1], Reason.EXECUTION_SCOPE)
    require(
        agents.tools.ran[before:] == ["web.fetch", "files.read"], f"the tools that ran: {agents.tools.ran[before:]}"
    )
    return f"2 calls, then {codes}"


@row("agent delegates to an agent of another trust domain, only ever narrower")
def delegated(world: World) -> str:
    """Offline, by the agent's own key. The other agent has its own issuer, and no warrant of ours but this one."""
    agents = world.agents
    key = agents.new_key("delegator")
    warrant = agents.warrant("delegator", *COVERED, *_held_by(key))
    _, refused = agents.delegate(warrant, key, "wider", "--action", "files.write", expect=3)
    require(str(Reason.WARRANT_WIDENED) in refused, f"a wider warrant was refused with: {refused}")
    handed, _ = agents.delegate(
        warrant, key, "summarizer",
        "--action", "files.read", "--resource", "file//reports/*", "--constraint", "bytes<=5000",
    )  # fmt: skip
    agent = agents.summarizer(warrants=chain(handed))
    require(agent.call(READ).result, "reading what was handed on is denied")
    too_much = _denied(agent.call(READ_MUCH), Reason.WARRANT_CONSTRAINT)
    elsewhere = _denied(agent.call(FETCH), Reason.WARRANT_ACTION)
    _denied(agents.summarizer().call(READ), Reason.WARRANT_MISSING)
    return f"read; then {too_much}; {elsewhere}"


@row("flow across a trust boundary without a rule denied")
def boundary(world: World) -> str:
    """The whole warrant is handed on, and the policy would let the partner's agent write: no flow does."""
    agents = world.agents
    key = agents.new_key("writer")
    covered = ("--action", "files.*", "--resource", "file//reports/*")
    warrant = agents.warrant("writer", *covered, *_held_by(key))
    handed, _ = agents.delegate(warrant, key, "partner-writer")
    agent = agents.summarizer(warrants=chain(handed))
    require(agent.call(READ).result, "reading is denied")
    return _denied(agent.call(WRITE), Reason.SEGMENT_BOUNDARY)


@row("single-use warrant starts one execution, on one of two sidecars")
def single_use(world: World) -> str:
    """The control plane counts; the same start repeated is counted once."""
    agents = world.agents
    warrant = str(agents.warrant("once", *COVERED, "--uses", "1"))
    _denied(
        agents.researcher(warrants=chain(agents.stack.directory / "once.warrant")).call(FETCH),
        Reason.WARRANT_NEEDS_EXECUTION,
    )
    started = _start(agents, "once-a", "--warrant", warrant, "--id", "run-0123456789abcdef")
    again = _start(agents, "once-b", "--warrant", warrant, "--id", "run-0123456789abcdef")
    require(started["id"] == again["id"], "the repeated start is another execution")
    other = _start(agents, "once-c", "--warrant", warrant, sidecar="second", expect=3)
    require(str(Reason.WARRANT_SPENT) in other["stderr"], f"the second sidecar said: {other['stderr']}")
    return f"started once; then {Reason.WARRANT_SPENT}"


@row("revoked warrant stops the execution that runs")
def revoked(world: World) -> str:
    """And what was handed on from it."""
    agents = world.agents
    key = agents.new_key("revoked")
    warrant = agents.warrant("revoked", *COVERED, *_held_by(key))
    handed, _ = agents.delegate(
        warrant, key, "revoked-partner", "--action", "files.read", "--resource", "file//reports/*"
    )
    started = _start(agents, "revoked-run", "--warrant", str(warrant), "--key", str(key))
    running = agents.researcher(execution=(started["id"], started["token"]))
    partner = agents.summarizer(warrants=chain(handed))
    require(running.call(READ).result and partner.call(READ).result, "denied before the revocation")
    agents.stack.placet("warrant", "revoke", "--file", str(warrant), "--system", SYSTEM, "--reason", "demo")
    took = eventually("both are stopped", lambda: running.call(READ).codes and partner.call(READ).codes, within=30)
    require(str(Reason.WARRANT_REVOKED) in took, f"stopped with {took}")
    return f"{SUMMARIZER.rpartition('/')[2]} and the execution: {Reason.WARRANT_REVOKED}"


def _held_by(key: Path) -> tuple[str, ...]:
    """The options that let the holder of a key hand a warrant on, once."""
    return "--holder-key", str(key.with_suffix(".pub")), "--depth", "1"


def _start(agents: Agents, name: str, *options: str, sidecar: str = "first", expect: int = 0) -> dict[str, str]:
    """Start an execution of the researcher's through a sidecar's edge. Returns its id and token."""
    beside = agents.first if sidecar == "first" else agents.second
    out = agents.stack.directory / f"{name}.execution"
    said = agents.stack.placet(
        "execution", "start", "--edge", f"https://127.0.0.1:{beside.edge}", "--ca", str(beside.ca),
        "--action", FETCH.tool, "--resource", f"{FETCH.type}/{FETCH.id}", *options, "-o", str(out),
        expect=expect, environment={"PLACET_WORKLOAD_TOKEN": agents.researcher_token()},
    )  # fmt: skip
    if expect:
        return {"stderr": said["stderr"]}
    return {"id": said["execution"]["id"], "token": out.read_text().strip()}


def _denied(outcome: Outcome, reason: Reason) -> str:
    require(outcome.codes, "allowed")
    require(str(reason) in outcome.codes, f"denied with {outcome.codes}, not {reason}")
    return ", ".join(outcome.codes)

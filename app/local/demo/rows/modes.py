"""The two ways around a policy, both signed by people; and the ways in for those who speak other protocols."""

from __future__ import annotations

import httpx

from app.core.governance import audience_of
from app.core.reason_codes import Reason
from app.local.demo.agents import PEOPLE, RESEARCHER, SYSTEM, Agents
from app.local.demo.parts import NotSo, eventually
from app.local.demo.rows.agents import COVERED, FETCH, WRITE
from app.local.demo.rows.table import World, require, row
from app.local.demo.stack import DOMAIN
from app.local.sample_agent import SampleAgent, Step

#: Covered by the warrant and by the segments, but no host that the policy grants.
OTHER_HOST = Step("web.fetch", "url", "https://docs.example.org:8443/handbook")


@row("shadow mode: the policy's own denial recorded, not enforced; everything else enforced")
def shadow(world: World) -> str:
    """Declared by one person whom the sidecar's own verification policy lists."""
    agents = world.agents
    agent = _researcher(agents, "shadowed")
    require(Reason.POLICY_DENIED in agent.call(OTHER_HOST).codes, "the policy does not deny this")
    file = _declare(agents, "shadow", PEOPLE[0], "--for", "1h")
    mode = _publish(agents, file)
    try:
        eventually("the denial is not enforced", lambda: not agent.call(OTHER_HOST).codes, within=30)
        codes = agent.call(WRITE).codes
        require(Reason.WARRANT_ACTION in codes, f"beyond its warrant: {codes}")
    finally:
        agents.stack.placet("mode", "end", SYSTEM, mode)
    eventually("the denial is enforced again", lambda: agent.call(OTHER_HOST).codes, within=30)
    return f"allowed while it held; {', '.join(codes)} all the same"


@row("break-glass needs two people; one of them alone changes nothing")
def break_glass(world: World) -> str:
    """For one subject, one action, one resource, for minutes."""
    agents = world.agents
    agent = _researcher(agents, "emergency")
    scope = (
        "--for", "5m", "--subject", f"{agents.stack.sigstore.issuer_url}#{RESEARCHER}",
        "--action", WRITE.tool, "--resource", f"{WRITE.type}/{WRITE.id}",
    )  # fmt: skip
    file = _declare(agents, "break-glass", PEOPLE[0], *scope)
    alone = agents.stack.placet("mode", "publish", SYSTEM, file, expect=3)["stderr"]
    require(str(Reason.MODE_INVALID) in alone, f"one signature was refused with: {alone}")
    require(agent.call(WRITE).codes, "one signature was enough")
    _sign(agents, PEOPLE[1], "mode", "sign", file, "--yes")
    mode = _publish(agents, file)
    try:
        eventually("the glass is broken", lambda: agent.call(WRITE).result, within=30)
        elsewhere = agent.call(Step(WRITE.tool, WRITE.type, "/reports/other.txt", WRITE.arguments)).codes
        require(elsewhere, "another resource is allowed, too")
    finally:
        agents.stack.placet("mode", "end", SYSTEM, mode)
    eventually("it is over", lambda: agent.call(WRITE).codes, within=30)
    return f"{Reason.MODE_INVALID} with one; elsewhere {elsewhere[0]}"


@row("an OAuth client exchanges its token for a warrant (RFC 8693)")
def exchanged(world: World) -> str:
    """It needs no API token: its identity, and a rule of the system."""
    agents = world.agents
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": agents.researcher_token(),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "audience": audience_of(DOMAIN, SYSTEM),
        "scope": FETCH.tool,
    }
    answer = _exchange(agents, form)
    require(answer.is_success, f"the exchange gave {answer.status_code}: {answer.text}")
    agent = agents.researcher(warrants=[answer.json()["access_token"]])
    require(agent.call(FETCH).result, "the warrant is not accepted")
    refused = _exchange(agents, {**form, "scope": WRITE.tool})
    require(refused.status_code == httpx.codes.BAD_REQUEST, f"more than the rule gave {refused.status_code}")
    return f"a warrant for {FETCH.tool}; for {WRITE.tool} {refused.json()['error']}"


@row("AuthZEN 1.0 answered at the sidecar")
def authzen(world: World) -> str:
    """The caller authenticates as itself; naming somebody else needs a grant."""
    sidecar, stack = world.first, world.stack
    token = stack.workload_token()
    question = {
        "subject": {"type": "workload", "id": "spiffe://example.org/api"},
        "action": {"name": "read"},
        "resource": {"type": "payment", "id": "p-1"},
    }
    stranger = {**question, "subject": {"type": "workload", "id": "spiffe://example.org/support"}}
    with httpx.Client(base_url=f"https://127.0.0.1:{sidecar.edge}", verify=str(sidecar.ca), trust_env=False) as client:
        headers = {"Authorization": f"Bearer {token}"}
        answers = [
            client.post("/access/v1/evaluation", json=body, headers=headers).json() for body in (question, stranger)
        ]
    require(answers[0].get("decision") is True, f"it answered {answers[0]}")
    require(answers[1].get("decision") is False, f"for somebody else it answered {answers[1]}")
    require(str(Reason.IDENTITY_GRANT) in str(answers[1]), f"for somebody else it answered {answers[1]}")
    return f"allowed; for somebody else {Reason.IDENTITY_GRANT}"


def _researcher(agents: Agents, name: str) -> SampleAgent:
    warrant = agents.warrant(name, *COVERED[:2], "--resource", "url/*")
    return agents.researcher(warrants=warrant.read_text().split())


def _declare(agents: Agents, kind: str, who: str, *options: str) -> str:
    file = agents.stack.directory / f"{kind}.jsonl"
    file.unlink(missing_ok=True)
    _sign(agents, who, "mode", kind, SYSTEM, "--reason", "demo", "-o", str(file), *options)
    return str(file)


def _sign(agents: Agents, who: str, *command: str) -> None:
    stack = agents.stack
    stack.placet(*command, "--trust-config", str(stack.sigstore.trust_config), environment=stack.identity(who))


def _publish(agents: Agents, file: str) -> str:
    mode = agents.stack.placet("mode", "publish", SYSTEM, file).get("id")
    if not isinstance(mode, str):
        raise NotSo("publishing a mode says no id")
    return mode


def _exchange(agents: Agents, form: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{agents.stack.server}/oauth/token", data=form, timeout=30, trust_env=False)

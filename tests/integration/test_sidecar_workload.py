"""A sidecar enrols by its workload's own token: with a real control plane, OPA and Sigstore, as people do it."""

import json
import stat

import pytest

from app.local.demo.parts import eventually
from app.local.demo.run import Demo
from app.local.demo.stack import SYSTEM

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

WORKLOAD = "spiffe://example.org/ns/payments/sa/api"
OWN = "spiffe://example.org/control-plane"
NAME = "api-7d9f4c"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Demo(lambda text: None, tmp_path_factory.mktemp("demo")) as world:
        yield world


def kept(sidecar):
    path = sidecar.directory / "private" / "enrolment.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return json.loads(path.read_text())["token"]


def allow(stack, expect=0):
    workload = ("--issuer", stack.sigstore.issuer_url, "--subject", WORKLOAD)
    return stack.placet("sidecar", "allow", SYSTEM, "api-*", *workload, expect=expect)


def refused(stack, sidecar):
    """Start the agent, which must end by itself; what it said last, and its exit code."""
    stack.start_agent(sidecar, wait=False)
    eventually("it ended", lambda: sidecar.agent.process.poll() is not None, within=60)
    return sidecar.agent.process.returncode, sidecar.agent.log.read_text().strip().splitlines()[-1]


def restarted(stack, sidecar):
    sidecar.agent.stop()
    stack.start_agent(sidecar)


def test_a_workload_enrols_serves_decisions_and_is_evicted(world, tmp_path):
    stack, file = world.stack, tmp_path / "token"
    file.write_text(stack.sigstore.token(WORKLOAD, audience=SYSTEM) + "\n")
    file.chmod(0o600)
    assert allow(stack)["new"] is True
    sidecar = stack.start_sidecar(NAME, "--reserve", "16MiB", identity=file, wait=False)
    eventually("it ended", lambda: sidecar.agent.process.poll() is not None, within=60)
    said = sidecar.agent.log.read_text().strip().splitlines()[-1]
    assert said.startswith("placet: denied: identity.audience: cannot join: the identity_token"), said
    assert sidecar.agent.process.returncode == 3
    assert not (sidecar.directory / "private" / "enrolment.json").exists()

    text = stack.sigstore.token(WORKLOAD, audience=OWN)
    file.write_text(text + "\n")
    stack.start_agent(sidecar)
    assert world.ask(sidecar, "read").codes == []
    first = kept(sidecar)
    assert text not in sidecar.agent.log.read_text()
    # Its records are signed with the identity that only a token of its own gets.
    answer = world.ask(sidecar, "read")
    eventually("recorded", lambda: stack.decisions_known({answer.decision_id}), within=30)

    restarted(stack, sidecar)
    assert kept(sidecar) == first, "it has a token: nobody is asked for another"
    sidecar.agent.stop()
    (sidecar.directory / "private" / "enrolment.json").unlink()
    stack.start_agent(sidecar)
    second = kept(sidecar)
    assert second != first
    assert world.ask(sidecar, "read").codes == []
    (newest, oldest) = stack.placet("sidecar", "enrolments", SYSTEM)["items"]
    assert (newest["sidecar"], newest["subject"], newest["allowed_by"]) == (NAME, WORKLOAD, "first administrator")
    assert (newest["api_token"], oldest["api_token"]) == (second.split("_")[1], first.split("_")[1])

    stack.placet("sidecar", "evict", SYSTEM, NAME, "--reason", "its host was broken into")
    eventually("denied", lambda: world.ask(sidecar, "read").codes, within=30)
    sidecar.agent.stop()
    (sidecar.directory / "private" / "enrolment.json").unlink()
    code, said = refused(stack, sidecar)
    assert (code, said.startswith("placet: denied: sidecar.evicted: ")) == (3, True), said
    stack.placet("sidecar", "readmit", SYSTEM, NAME)
    code, said = refused(stack, sidecar)
    assert (code, said.startswith("placet: denied: sidecar.evicted: ")) == (3, True), "nobody has allowed it again"
    (row,) = stack.placet("sidecar", "allowances", SYSTEM)["items"]
    assert (row["status"], row["refusals"], row["refused_from"]) == ("evicted", 2, "127.0.0.1")
    assert allow(stack)["new"] is True
    code, said = refused(stack, sidecar)
    assert (code, said.startswith("placet: denied: identity.stale: ")) == (3, True), "the token is from before"
    file.write_text(stack.sigstore.token(WORKLOAD, audience=OWN))
    file.chmod(0o600)
    stack.start_agent(sidecar)
    assert world.ask(sidecar, "read").codes == []

    # Revoked while it is down, as by a second one that enrolled under its name.
    sidecar.agent.stop()
    third = kept(sidecar)
    stack.placet("token", "revoke", third.split("_")[1])
    stack.start_agent(sidecar)
    assert kept(sidecar) != third
    assert world.ask(sidecar, "read").codes == []

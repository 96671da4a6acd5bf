"""Executions whose trust is withdrawn while they run, with real parts: denied at once, with the reason, and told so."""

import httpx
import jwt
import pytest

from app.core.link_names import END
from app.local import tools
from app.local.demo.parts import eventually
from app.local.demo.stack import SUBJECT, SYSTEM

from .test_sidecar_journal import JournalStack, codes, kinds_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

TILL = "till-s"


class StoppingStack(JournalStack):
    """The stack with one sidecar, and what withdraws trust."""

    def call(self, method, path, **more):
        answer = httpx.request(
            method, f"{self.server}/api/v1{path}", headers=self.authorization(), timeout=30, trust_env=False, **more
        )
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def warrant(self):
        """A warrant for the caller, by the control plane's key of now."""
        wanted = {
            "subject": {"issuer": self.sigstore.issuer_url, "id": SUBJECT},
            "actions": ["read"], "resources": ["payment/*"], "lifetime_seconds": 600,
        }  # fmt: skip
        return self.call("POST", f"/systems/{SYSTEM}/warrants", json=wanted)["token"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with StoppingStack(tmp_path_factory.mktemp("stopped"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        stack.sidecar = stack.start_sidecar(TILL)
        stack.http = stack.edge(stack.sidecar)
        yield stack


def started(stack, identifier, **changes):
    request = {**stack.request(), **changes, "execution": {"id": identifier}}
    answer = stack.http.post("/v1/executions", json={"input": request})
    assert answer.status_code == 200, answer.text
    return answer.json()["execution"]


def renewal(stack, execution):
    return stack.http.post(f"/v1/executions/{execution['id']}/renew", json={"token": execution["token"]})


def is_stopped(stack, execution, code):
    """Denied in OPA, not renewed, and ended with a link of its own, in the story and where executions are listed."""
    identifier = execution["id"]
    eventually("denied", lambda: stack.inside(stack.sidecar, execution).codes == [code], within=20)
    assert codes(renewal(stack, execution)) == [code]
    [end] = eventually(
        "shipped", lambda: [one for one in kinds_of(stack, TILL, END) if one.execution == identifier], within=60
    )
    assert end.byproducts == {"execution": identifier, "outcome": "stopped", "reason": code, "steps": "0"}
    state = {ref.name: ref.digest for ref in end.materials}["state"]
    decided = stack.inside(stack.sidecar, execution)
    assert decided.codes == [code]
    told = stack.placet("lineage", "show", identifier)
    assert (told["execution"]["outcome"], told["execution"]["reason"]) == ("stopped", code)
    [last] = [one for one in told["story"] if one["what"] == END]
    assert (last["reason"], last["state"]) == (code, state)
    [listed] = [one for one in stack.placet("lineage", "executions")["items"] if one["execution"] == identifier]
    assert listed["ended_at"]
    assert state in str(told["nodes"]), "by this state, in the graph"


def test_a_key_that_signed_its_warrant_is_withdrawn(stack):
    by_the_old = stack.warrant()
    kid = jwt.get_unverified_header(by_the_old)["kid"]
    execution = started(stack, "by-a-key-that-is-withdrawn", warrant=[by_the_old])
    other = started(stack, "without-any-warrant")
    assert stack.inside(stack.sidecar, execution).decision.allow
    stack.call("POST", "/signing-keys/warrant/rotate", json={"lead_seconds": 900})
    assert renewal(stack, execution).status_code == 200
    stack.call("DELETE", f"/signing-keys/{kid}")
    is_stopped(stack, execution, "warrant.key_unknown")
    assert stack.inside(stack.sidecar, other).decision.allow
    assert renewal(stack, other).status_code == 200


def test_a_grant_is_taken_away(stack):
    of = {"issuer": stack.sigstore.issuer_url, "subject": SUBJECT}
    stack.call("POST", "/grants", json={**of, "grants": ["assert-subject"]})
    identity = {"token": stack.workload_token(), "asserted": {"id": SUBJECT}}
    request = {**stack.request(), "identity": identity, "execution": {"id": "of-somebody-asserted"}}

    def begins():
        answer = stack.http.post("/v1/executions", json={"input": request})
        return answer.json().get("execution")

    execution = eventually("the grant is known", begins, within=20)
    own = started(stack, "of-the-caller-itself")
    assert stack.inside(stack.sidecar, execution).decision.allow
    stack.call("DELETE", "/grants", params={**of, "grant": "assert-subject"})
    is_stopped(stack, execution, "identity.grant")
    assert stack.inside(stack.sidecar, own).decision.allow


def test_a_quarantine_that_is_lifted_revives_nothing(stack):
    execution = started(stack, "of-somebody-in-quarantine")
    stack.placet("quarantine", "add", stack.sigstore.issuer_url, SUBJECT, "--reason", "looks odd")
    is_stopped(stack, execution, "quarantine.subject")
    stack.placet("quarantine", "lift", stack.sigstore.issuer_url, SUBJECT)
    later = eventually(
        "others begin",
        lambda: stack.http.post("/v1/executions", json={"input": stack.request()}).json().get("execution"),
        within=20,
    )
    assert stack.inside(stack.sidecar, later).decision.allow
    assert stack.inside(stack.sidecar, execution).codes == ["quarantine.subject"]


def test_a_stop_outlives_a_restart_of_the_agent(stack):
    token = stack.warrant()
    execution = started(stack, "stopped-and-remembered", warrant=[token])
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    stack.call("DELETE", f"/systems/{SYSTEM}/warrants/{jti}", params={"reason": "no longer needed"})
    is_stopped(stack, execution, "warrant.revoked")
    stack.sidecar.agent.kill()
    stack.http.close()
    stack.start_agent(stack.sidecar)
    stack.http = stack.edge(stack.sidecar)
    eventually("denied", lambda: stack.inside(stack.sidecar, execution).codes == ["warrant.revoked"], within=20)
    assert codes(renewal(stack, execution)) == ["warrant.revoked"]
    assert stack.breaks(TILL) == []


def test_the_issuer_of_the_identity_is_removed(stack):
    """Last: nobody has an identity any more."""
    execution = started(stack, "of-an-issuer-that-is-removed")
    assert stack.inside(stack.sidecar, execution).decision.allow
    stack.call("DELETE", "/issuers", params={"issuer": stack.sigstore.issuer_url})
    eventually(
        "denied", lambda: stack.inside(stack.sidecar, execution).codes[:1] == ["identity.issuer_unknown"], within=20
    )
    assert codes(renewal(stack, execution)) == ["identity.issuer_unknown"]

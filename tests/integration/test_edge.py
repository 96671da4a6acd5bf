"""Executions at real sidecars: a real OPA, a real control plane that counts uses, and both of them failing."""

import json
import ssl
import threading
import time

import httpx
import jwt
import pytest

from app.core import holder_keys
from app.core.reason_codes import Reason
from app.local.demo.parts import eventually
from app.local.demo.run import Demo
from app.local.demo.stack import HORIZON, LEASE_TTL, SUBJECT, SYSTEM

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ID = "an-execution-of-a-test"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Demo(lambda text: None, tmp_path_factory.mktemp("demo")) as world:
        yield world


@pytest.fixture(scope="module")
def edges(world):
    """A client of each sidecar's edge."""
    clients = []
    for sidecar in (world.first, world.second):
        context = ssl.create_default_context(cafile=str(sidecar.ca))
        clients.append(
            httpx.Client(base_url=f"https://127.0.0.1:{sidecar.edge}", verify=context, timeout=20, trust_env=False)
        )
    yield clients
    for client in clients:
        client.close()


def warrant(world, **more):
    """A warrant for the demo's service, from the control plane."""
    stack = world.stack
    wanted = {
        "subject": {"issuer": stack.sigstore.issuer_url, "id": SUBJECT},
        "actions": ["read"],
        "resources": ["payment/*"],
        "lifetime_seconds": 600,
        **more,
    }
    answer = httpx.post(
        f"{stack.server}/api/v1/systems/{SYSTEM}/warrants",
        json=wanted, headers=stack.authorization(), timeout=30, trust_env=False,
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


def start(edge, world, *, execution=None, **changes):
    request = {**world.stack.request(), **changes}
    if execution:
        request["execution"] = {"id": execution}
    return edge.post("/v1/executions", json={"input": request})


def codes(answer):
    assert answer.status_code == 403, answer.text
    return [reason["code"] for reason in answer.json()["decision"]["reasons"]]


def uses_left(world, token):
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    return world.stack.api(f"/systems/{SYSTEM}/warrants/{jti}").get("uses_left")


def inside(world, sidecar, execution, action="read", **changes):
    """A decision inside an execution."""
    request = {**world.stack.request(action), "execution": {"id": execution["id"], "token": execution["token"]}}
    del request["identity"]
    caller = sidecar.caller()
    try:
        return caller.ask({**request, **changes})
    finally:
        caller.close()


def recorded(world, decision):
    """All that the first sidecar's OPA wrote, and the record of one decision."""
    raw = b"".join(path.read_bytes() for path in (world.first.directory / "records").glob("*.log"))
    [line] = [line for line in raw.splitlines() if decision.encode() in line]
    return raw, json.loads(line)


def test_an_execution(world, edges):
    answer = start(edges[0], world, execution=ID)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    execution = document["execution"]
    assert (execution["id"], document["decision"]["allow"]) == (ID, True)
    assert document["decision"]["subject"]["id"] == SUBJECT
    assert inside(world, world.first, execution).decision.allow
    renewed = edges[0].post(f"/v1/executions/{ID}/renew", json={"token": execution["token"]})
    assert renewed.status_code == 200, renewed.text
    assert inside(world, world.first, renewed.json()["execution"]).decision.allow
    assert inside(world, world.first, {**execution, "id": "somebody-elses"}).codes == ["execution.mismatch"]
    assert inside(world, world.second, execution).codes == ["execution.invalid"], "it is of another sidecar"
    raw, record = recorded(world, document["decision_id"])
    assert record["path"] == "placet/start"
    assert execution["token"].encode() not in raw


def test_only_the_agent_starts_executions(world):
    request = world.stack.request()
    caller = world.first.caller()
    assert caller.status_of("POST", "/v1/data/placet/start", json={"input": request}) == 401
    for path in ("/v1/data/placet/execution", "/v1/data/placet", "/v1/data/placet_state"):
        assert caller.status_of("POST", path, json={}) == 401
    caller.close()


def test_who_may_not_starts_nothing(world, edges):
    assert codes(start(edges[0], world, identity={"token": "junk"})) == ["identity.malformed"]
    expired = world.stack.sigstore.token(SUBJECT, audience=SYSTEM, ttl=1)
    time.sleep(1.1)
    assert codes(start(edges[0], world, identity={"token": expired})) == ["identity.expired"]
    assert codes(start(edges[0], world, action={"name": "destroy"}))[0] == "policy.denied"
    answer = start(edges[0], world, execution="short")
    assert (answer.status_code, answer.json()["reason"]) == (400, "request.malformed")


def test_two_sidecars_race_for_one_use(world, edges):
    for turn in range(3):
        token = warrant(world, uses=1)
        answers = []
        ready = threading.Barrier(4)

        def race(edge, name, token=token, answers=answers, ready=ready):
            ready.wait()
            answers.append(start(edge, world, execution=name, warrant=[token]))

        threads = [
            threading.Thread(target=race, args=(edges[number % 2], f"race-{turn}-of-runner-{number}"))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [answer for answer in answers if answer.status_code == 200]
        assert len(won) == 1, [answer.text for answer in answers]
        lost = [code for answer in answers if answer not in won for code in codes(answer)]
        assert lost == ["warrant.spent"] * 3
        denied = start(edges[0], world, warrant=[token])
        assert codes(denied) == ["warrant.spent"]
        assert denied.json()["decision"]["warrant"]["ids"], "the denial says which"


def test_a_start_is_counted_once_however_often_it_is_sent(world, edges):
    token = warrant(world, uses=1)
    first = start(edges[0], world, execution="sent-again-and-again", warrant=[token])
    assert first.status_code == 200, first.text
    again = start(edges[0], world, execution="sent-again-and-again", warrant=[token])
    assert again.status_code == 200, again.text
    spent = start(edges[0], world, execution="another-execution-id", warrant=[token])
    assert codes(spent) == ["warrant.spent"]
    raw, record = recorded(world, spent.json()["decision_id"])
    decision = record["result"]["decision"]
    assert (decision["allow"], [one["code"] for one in decision["reasons"]]) == (False, ["warrant.spent"])
    assert (decision["execution"], record["result"]["claims"]) == ("another-execution-id", None)
    assert token.encode() not in raw


def test_a_malformed_first_attempt_spends_nothing(world, edges):
    token = warrant(world, uses=1)
    for changes in (
        {"warrant": [token[:-4] + "AAAA"]},
        {"warrant": [token], "resource": {"type": "account", "id": "1"}},
        {"warrant": [token], "action": {"name": "refund"}},
        {"warrant": [token], "identity": {"token": "junk"}},
        {"warrant": [token], "unknown": 1},
        {"warrant": [token, "junk"]},
    ):
        assert codes(start(edges[0], world, **changes))
    for raw in (b"{", b'{"input": {}, "input": {}}'):
        bad = edges[0].post("/v1/executions", content=raw, headers={"Content-Type": "application/json"})
        assert bad.status_code == 400
    assert start(edges[0], world, warrant=[token]).status_code == 200


def test_a_proof_starts_one_execution(world, edges):
    key = holder_keys.generate()
    token = warrant(world, cnf={"jwk": dict(key.jwk)})
    proof = holder_keys.proof(key, "read", "payment", "p-1", nonce="a-nonce-of-a-test")
    assert codes(start(edges[0], world, warrant=[token])) == ["warrant.proof_missing"]
    assert start(edges[0], world, warrant=[token], proof=proof).status_code == 200
    assert codes(start(edges[0], world, warrant=[token], proof=proof)) == ["warrant.proof_invalid"]
    another = holder_keys.proof(key, "read", "payment", "p-1", nonce="another-nonce")
    assert start(edges[0], world, warrant=[token], proof=another).status_code == 200
    stranger = holder_keys.proof(holder_keys.generate(), "read", "payment", "p-1", nonce="a-third")
    assert codes(start(edges[0], world, warrant=[token], proof=stranger)) == ["warrant.proof_invalid"]


def test_a_warrant_of_limited_use_is_for_starting(world):
    token = warrant(world, uses=1)
    caller = world.first.caller()
    assert caller.ask({**world.stack.request(), "warrant": [token]}).codes == ["warrant.needs_execution"]
    caller.close()


def test_inside_the_scope_of_its_warrant(world, edges):
    token = warrant(world, resources=["payment/p-1"], constraints={"amount": {"at_most": 10}})
    execution = start(edges[0], world, warrant=[token], context={"amount": 5}).json()["execution"]
    assert inside(world, world.first, execution, context={"amount": 10}).decision.allow
    for changes in (
        {"context": {"amount": 11}},
        {"context": {}},
        {"resource": {"type": "payment", "id": "p-2"}},
        {"action": {"name": "refund"}, "context": {"amount": 1}},
    ):
        assert "execution.scope" in inside(world, world.first, execution, **changes).codes
    beside = inside(world, world.first, execution, warrant=[token])
    assert "execution.malformed" in beside.codes, "one or the other"


def test_quarantine_ends_what_runs(world, edges):
    execution = start(edges[0], world, execution="to-be-stopped-by-name").json()["execution"]
    assert inside(world, world.first, execution).decision.allow
    answer = httpx.post(
        f"{world.stack.server}/api/v1/quarantine",
        json={"execution": execution["id"], "reason": "runs wild"},
        headers=world.stack.authorization(), timeout=30, trust_env=False,
    )  # fmt: skip
    assert answer.is_success, answer.text
    eventually(
        "it is denied", lambda: inside(world, world.first, execution).codes == ["quarantine.execution"], within=20
    )
    renewal = edges[0].post(f"/v1/executions/{execution['id']}/renew", json={"token": execution["token"]})
    assert codes(renewal) == ["quarantine.execution"]
    assert start(edges[0], world).status_code == 200, "others go on"


def test_a_revoked_warrant_ends_what_runs(world, edges):
    token = warrant(world)
    answer = start(edges[0], world, warrant=[token])
    execution = answer.json()["execution"]
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    gone = httpx.delete(
        f"{world.stack.server}/api/v1/systems/{SYSTEM}/warrants/{jti}",
        params={"reason": "no longer needed"}, headers=world.stack.authorization(), timeout=30, trust_env=False,
    )  # fmt: skip
    assert gone.is_success, gone.text
    eventually("it is denied", lambda: inside(world, world.first, execution).codes == ["warrant.revoked"], within=20)
    renewal = edges[0].post(f"/v1/executions/{execution['id']}/renew", json={"token": execution["token"]})
    assert codes(renewal) == ["warrant.revoked"]


def test_an_execution_outlives_a_restart_of_its_agent(world, edges):
    execution = start(edges[0], world).json()["execution"]
    world.first.agent.stop()
    world.stack.start_agent(world.first)
    answer = eventually("goes on", lambda: (a := inside(world, world.first, execution)).decision.allow and a)
    assert answer.decision.allow
    renewed = edges[0].post(f"/v1/executions/{execution['id']}/renew", json={"token": execution["token"]})
    assert renewed.status_code == 200, renewed.text
    kids = {jwt.get_unverified_header(one)["kid"] for one in (execution["token"], renewed.json()["execution"]["token"])}
    assert len(kids) == 2, "each start has a new key"


def test_without_a_lease_nothing_starts(world, edges):
    world.first.agent.signal(19)  # SIGSTOP: a hung agent answers nobody
    with pytest.raises(httpx.TimeoutException):
        edges[0].post("/v1/executions", json={"input": world.stack.request()}, timeout=1)
    time.sleep(LEASE_TTL)
    world.first.agent.signal(18)
    # What it wakes up with is an old lease: it decides nothing by that.
    answer = start(edges[0], world)
    assert answer.status_code == 200 or codes(answer)[0].startswith(("lease.", "sidecar."))
    eventually("starts again", lambda: start(edges[0], world).status_code == 200, within=20)


def test_without_the_control_plane_counted_warrants_start_nothing(world, edges):
    """Unreachable means deny; what needs no counting goes on until the horizon; and nothing was spent."""
    counted, free = warrant(world, uses=1), warrant(world)
    world.stack.set_horizon(300, world.first)
    world.stack.control.kill()
    try:
        refusal = start(edges[0], world, execution="without-a-control-plane", warrant=[counted])
        assert codes(refusal) == [str(Reason.WARRANT_UNREDEEMED)]
        assert start(edges[0], world, warrant=[free]).status_code == 200
        assert start(edges[0], world).status_code == 200
    finally:
        world.stack.start_control_plane()
    world.stack.set_horizon(HORIZON, world.first)
    again = {"execution": "without-a-control-plane", "warrant": [counted]}
    eventually("it starts when there is one", lambda: start(edges[0], world, **again).status_code == 200)


def test_a_control_plane_that_confirms_something_else_redeems_nothing(world, edges):
    """The second sidecar reaches its control plane through somebody who answers in its place."""
    token = warrant(world, uses=1)
    path = f"/api/v1/systems/{SYSTEM}/executions"
    eventually("it has its lease", lambda: start(edges[1], world).status_code == 200)
    try:
        for forged in (b"", b"{}", b'{"execution": "another"}', b"[]", b"junk"):
            world.meddler.forged[path] = forged
            assert codes(start(edges[1], world, execution="forged-confirmation", warrant=[token])) == [
                "warrant.unredeemed"
            ]
    finally:
        del world.meddler.forged[path]
    assert start(edges[1], world, execution="forged-confirmation", warrant=[token]).status_code == 200

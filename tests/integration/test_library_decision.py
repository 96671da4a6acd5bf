"""The composed bundle in a real OPA: the user's policy in every form, and a decision for every input and state."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.shipped import shipped
from app.local.tools import installed
from bench import stand

pytestmark = pytest.mark.stack

ISSUER = stand.Issuer()
MEMBERS = {
    "allow", "reasons", "obligations", "bundles", "subject", "warrant", "execution", "mode", "state", "expires_at",
}  # fmt: skip
LIBRARY_CODES = {
    row["code"]
    for row in json.loads((Path(shipped("rego")).parent / "app/core/reasons.json").read_text())
    if row["scope"] == "decision"
}


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stand.Server]:
    files = stand.composed(*stand.example("payments"))
    with stand.running(installed("opa"), files, tmp_path_factory.mktemp("opa")) as server:
        server.write(stand.trust_state(ISSUER))
        yield server


def codes(decision: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in decision["reasons"]]


def complete(decision: dict[str, Any]) -> None:
    """Every decision has all its members, and says why when it denies."""
    assert set(decision) == MEMBERS
    assert decision["allow"] is True or decision["allow"] is False
    assert decision["allow"] or decision["reasons"]
    assert {code for code in codes(decision) if ":" not in code} <= LIBRARY_CODES
    assert (decision["expires_at"] is None) is not decision["allow"]


def decide_with(files: dict[str, str], entrypoint: str, directory: Path) -> dict[str, Any]:
    roots = [entrypoint.split("/")[0]]
    with stand.running(installed("opa"), stand.composed(files, entrypoint, roots), directory) as server:
        server.write(stand.trust_state(ISSUER))
        decision = server.decide(stand.request(ISSUER.token()))
    complete(decision)
    return decision


def test_before_the_first_write_everything_is_denied(tmp_path: Path) -> None:
    with stand.running(installed("opa"), stand.composed(*stand.example("payments")), tmp_path) as server:
        decision = server.decide(stand.request(ISSUER.token()))
    complete(decision)
    assert codes(decision) == ["state.missing"]


def test_the_payments_example(opa: stand.Server) -> None:
    support = stand.request(
        ISSUER.token(sub="spiffe://example.org/support"), context={"amount": 200, "currency": "EUR"}
    )
    allowed = opa.decide(support)
    complete(allowed)
    assert allowed["allow"]
    assert allowed["obligations"] == [{"queue": "refunds", "type": "review"}]
    assert allowed["subject"] == {
        "id": "spiffe://example.org/support",
        "issuer": stand.ISSUER,
        "domain": "example.org",
        "actors": [],
    }
    denied = opa.decide(support | {"context": {"amount": 501, "currency": "EUR"}})
    assert codes(denied) == ["policy.denied", "policy:over_limit"]


def test_the_agent_tools_example(tmp_path: Path) -> None:
    with stand.running(installed("opa"), stand.composed(*stand.example("agent-tools")), tmp_path) as server:
        server.write(stand.trust_state(ISSUER))
        token = ISSUER.token(sub="spiffe://example.org/agent/researcher")
        asked = stand.request(
            token, action={"name": "web.fetch"}, resource={"type": "url", "id": "https://docs.example.org/a"}
        )
        assert server.decide(asked)["allow"]
        denied = server.decide(asked | {"action": {"name": "files.write"}})
    assert codes(denied) == ["policy.denied", "policy:path_not_granted", "policy:tool_not_granted"]


def test_the_input_cannot_name_the_subject(opa: stand.Server) -> None:
    asked = stand.request(
        ISSUER.token(sub="spiffe://example.org/nobody"), subject={"id": "spiffe://example.org/support"}
    )
    decision = opa.decide(asked)
    assert codes(decision) == ["request.malformed"]
    assert decision["subject"]["id"] == "spiffe://example.org/nobody"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("decision := true", []),
        ("decision := false", ["policy.denied"]),
        ("decision if input.action.name == \"refund\"", []),
        ("decision if input.action.name == \"other\"", ["policy.undefined"]),
        ("decision := {\"allow\": true}", []),
        ("decision := {\"allow\": data.placet.subject.id == \"spiffe://example.org/api\"}", []),
        ("decision := \"true\"", ["policy.malformed"]),
        ("decision := 1", ["policy.malformed"]),
        ("decision := null", ["policy.malformed"]),
        ("decision := []", ["policy.malformed"]),
        ("decision := {\"allow\": true, \"deny\": true}", ["policy.malformed"]),
        ("decision contains true", ["policy.malformed"]),
        ("decision.allow := true", []),
        ("decision := {\"allow\": true, \"obligations\": [{} | some _ in numbers.range(1, 33)]}", ["policy.malformed"]),
        ("decision := data.placet_state.lease.valid_until_ns > 0", []),
    ],
)  # fmt: skip
def test_entrypoints_of_every_form(tmp_path: Path, rule: str, expected: list[str]) -> None:
    decision = decide_with({"app/authz.rego": f"package app.authz\n\n{rule}\n"}, "app/authz/decision", tmp_path)
    assert codes(decision) == expected
    assert decision["allow"] is (expected == [])


def test_a_package_whose_name_is_no_identifier(tmp_path: Path) -> None:
    files = {"my-app/authz.rego": 'package app["my-app"].authz\n\ndecision := true\n'}
    assert decide_with(files, "app/my-app/authz/decision", tmp_path)["allow"]


def test_an_entrypoint_that_is_data(tmp_path: Path) -> None:
    files = {
        "app/data.json": '{"decision": true}',
        "app/rules.rego": "package app.rules\n\nunused := 1\n",
    }
    assert decide_with(files, "app/decision", tmp_path)["allow"]


def test_a_conflict_in_the_policy_is_an_error_and_no_answer(tmp_path: Path) -> None:
    module = "package app.authz\n\ndecision := true\n\ndecision := false if input.action.name\n"
    files = stand.composed({"app/authz.rego": module}, "app/authz/decision", ["app"])
    with stand.running(installed("opa"), files, tmp_path) as server:
        server.write(stand.trust_state(ISSUER))
        with pytest.raises(httpx.HTTPStatusError) as failed:
            server.decide(stand.request(ISSUER.token()))
        assert failed.value.response.status_code == 500
        assert "result" not in failed.value.response.json()
        # Who is not known cannot even drive the policy into its conflict.
        assert codes(server.decide(stand.request("not a token"))) == ["identity.malformed"]


@pytest.mark.parametrize(
    "reference", ["data.placet.decision", "data.placet.decision.allow", "data.placet", "data[input.x]"]
)
def test_a_policy_cannot_ask_for_its_own_decision(tmp_path: Path, reference: str) -> None:
    module = f"package app.authz\n\ndecision := true if {reference}\n"
    for name, text in stand.composed({"app/authz.rego": module}, "app/authz/decision", ["app"]).items():
        if name.endswith(".rego"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    checked = subprocess.run(
        [installed("opa"), "check", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 1
    assert "rego_recursion_error" in checked.stderr


def test_a_policy_cannot_replace_what_the_library_sees(tmp_path: Path) -> None:
    module = """package app.authz

decision := true if data.placet.subject.id == "admin" with data.placet.subject as {"id": "admin"}
"""
    decision = decide_with({"app/authz.rego": module}, "app/authz/decision", tmp_path)
    assert decision["subject"]["id"] == "spiffe://example.org/api"


def test_a_token_that_verified_does_not_pass_under_another_algorithm(opa: stand.Server) -> None:
    token = ISSUER.token(sub="spiffe://example.org/support")
    asked = stand.request(token)
    assert opa.decide(asked)["allow"]
    state = stand.trust_state(ISSUER)
    state["trust"]["issuers"][stand.ISSUER]["keys"]["k1"]["alg"] = "ES256"
    try:
        opa.write(state)
        assert codes(opa.decide(asked)) == ["identity.algorithm"]
    finally:
        opa.write(stand.trust_state(ISSUER))


def test_a_cached_token_still_expires(opa: stand.Server) -> None:
    token = ISSUER.token(sub="spiffe://example.org/support", exp=int(time.time()) + 2)
    assert opa.decide(stand.request(token))["allow"]
    time.sleep(2.1)
    assert codes(opa.decide(stand.request(token))) == ["identity.expired"]


def test_quarantine_takes_effect_with_the_next_write(opa: stand.Server) -> None:
    subject = "spiffe://example.org/support"
    asked = stand.request(ISSUER.token(sub=subject))
    assert opa.decide(asked)["allow"]
    try:
        opa.write(stand.trust_state(ISSUER, quarantined={stand.ISSUER: {subject: {"reason": "theft"}}}))
        assert codes(opa.decide(asked)) == ["quarantine.subject"]
    finally:
        opa.write(stand.trust_state(ISSUER))


def test_a_lease_that_is_not_renewed_ends_by_itself(tmp_path: Path) -> None:
    with stand.running(installed("opa"), stand.composed(*stand.example("payments")), tmp_path) as server:
        asked = stand.request(ISSUER.token(sub="spiffe://example.org/support"))
        server.write(stand.trust_state(ISSUER, seconds=1))
        assert server.decide(asked)["allow"]
        time.sleep(1.05)
        assert codes(server.decide(asked)) == ["lease.expired"]


def test_listed_headers_change_no_verdict(opa: stand.Server) -> None:
    """Trust state may say how headers are usually written; a token that is taken apart fares the same."""
    other = stand.Issuer("https://other.example", kid="k2")
    state = stand.trust_state(ISSUER, other)
    listed = state["trust"]["headers"]
    assert len(listed) == 8
    tokens = [
        issuer.sign({"alg": alg, "kid": kid, **more}, issuer.claims(**changes))
        for issuer in (ISSUER, other, stand.Issuer())
        for alg in ("EdDSA", "ES256")
        for kid in ("k1", "k2")
        for more in ({}, {"typ": "JWT"}, {"typ": "at+jwt"})
        for changes in ({}, {"iss": other.name}, {"aud": ["x", stand.AUDIENCE]}, {"aud": "x"}, {"exp": 1}, {"sub": ""})
    ]
    try:
        for headers in (listed, {}):
            state["trust"]["headers"] = headers
            opa.write(state)
            verdicts = [opa.decide(stand.request(token)) for token in tokens]
            found = [(decision["subject"], codes(decision)) for decision in verdicts]
            if headers:
                expected = found
        assert found == expected
        assert {subject["issuer"] for subject, _ in found if subject} == {stand.ISSUER, other.name}
    finally:
        opa.write(stand.trust_state(ISSUER))


@pytest.mark.parametrize("header", [
    {"alg": "EdDSA", "kid": "k1", "cty": 1},
    {"alg": "EdDSA", "kid": "k1", "cty": "JWT"},
    {"alg": "EdDSA", "kid": "k1", "crit": []},
    {"alg": "EdDSA", "kid": "k1", "b64": False},
    {"alg": 1, "kid": "k1"},
    {"alg": "EdDSA", "kid": 1},
    [],
    "text",
    7,
])  # fmt: skip
def test_signed_headers_that_make_builtins_panic(opa: stand.Server, header: Any) -> None:
    assert codes(opa.decide(stand.request(ISSUER.sign(header, ISSUER.claims())))) == ["identity.malformed"]


@pytest.mark.parametrize("payload", [
    {"iss": 1}, {"iss": None}, {"aud": 1}, {"aud": {}}, {"aud": [1, None]}, {"exp": "1"}, {"exp": None}, {"exp": []},
    {"exp": 1e308}, {"nbf": {}}, {"nbf": 1e308}, {"iat": []}, {"sub": {}}, {"sub": ""}, {"exp": -1e308},
])  # fmt: skip
def test_signed_claims_of_the_wrong_type(opa: stand.Server, payload: dict[str, Any]) -> None:
    token = ISSUER.sign({"alg": "EdDSA", "kid": "k1"}, ISSUER.claims() | payload)
    decision = opa.decide(stand.request(token))
    complete(decision)
    assert not decision["allow"]
    assert codes(decision)[0].startswith("identity.")


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "1e-999999999", "9" * 4000])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_monstrous_numbers_cost_no_more_than_others(opa: stand.Server, claim: str, number: str) -> None:
    payload = json.dumps(ISSUER.claims() | {claim: 0}).replace(f'"{claim}": 0', f'"{claim}": {number}')
    forged = ISSUER.sign({"alg": "EdDSA", "kid": "k1"}, {}).split(".")
    token = ".".join([forged[0], stand._base64url(payload.encode()), forged[2]])
    started = time.monotonic()
    decision = opa.decide(stand.request(token))
    assert time.monotonic() - started < 10  # no more than a slow machine's worth: 10 ms are usual
    complete(decision)
    assert not decision["allow"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


def mutated(good: Any) -> st.SearchStrategy[Any]:
    """`good` with one part replaced by, or lacking, something."""
    if isinstance(good, dict) and good:
        name = st.sampled_from(sorted(good))
        return st.one_of(
            json_values,
            name.map(lambda key: {k: v for k, v in good.items() if k != key}),
            name.flatmap(lambda key: mutated(good[key]).map(lambda value: good | {key: value})),
        )
    return json_values


SUPPORT = "spiffe://example.org/support"
SIDECAR = stand.Issuer(stand.SIDECAR, kid="e1")
CONTROL_PLANE = stand.Issuer(stand.CONTROL_PLANE, kid="w1")
LASTING = stand.trust_state(ISSUER, seconds=3500, sidecar=SIDECAR, control_plane=CONTROL_PLANE)

USUAL = stand.request(ISSUER.token(sub=SUPPORT))
WARRANTED = USUAL | {"warrant": [CONTROL_PLANE.warrant(SUPPORT)]}
GOOD = USUAL | {"execution": {"id": "e"}}
CLAIMS = stand.execution_claims(SUPPORT)


def inside(**changes: Any) -> dict[str, Any]:
    """A request of an execution whose token says this."""
    token = SIDECAR.execution("e-1", CLAIMS | changes)
    return stand.request(None, identity=None, execution={"id": "e-1", "token": token})


INSIDE = inside()
SCOPED = inside(warrants=["w-1"], warrant_issuer=stand.CONTROL_PLANE, resources=["payment/*"])
USUALS = [USUAL, WARRANTED, INSIDE, SCOPED]

#: What is proven in a short way, and by the checks themselves.
AGREEMENT = """short := {
    "grounds": [x | x := data.placet.usual.grounds],
    "subject": [x | x := data.placet.identity.usual],
    "warrants": [x | data.placet.single.warrant; x := []],
}; full := {
    "grounds": [x | x := data.placet.checked with data.placet.single.warrant as false],
    "subject": [x | x := data.placet.identity.presented],
    "warrants": [x | x := data.placet.warrant.failures with data.placet.single.warrant as false],
}; subject := [x | x := data.placet.identity.subject]; failures := data.placet.identity.failures"""


def agreeing(opa: stand.Server, asked: Any) -> None:
    """A short way finds nothing, or what the checks themselves find; and who failed nothing is somebody."""
    question = {"query": AGREEMENT, "input": asked}
    answer = opa.client.post("/v1/query", json=question, headers=opa.agent).raise_for_status().json()
    [found] = answer["result"]
    for what, short in found["short"].items():
        assert short in ([], found["full"][what]), what
    if not (isinstance(asked, dict) and isinstance(asked.get("execution"), dict) and "token" in asked["execution"]):
        assert (found["failures"] == []) is (found["subject"] != []), found["failures"]


@pytest.mark.parametrize("asked", USUALS, ids=["identity", "warrant", "execution", "execution with warrants"])
def test_usual_requests_go_the_short_way(opa: stand.Server, asked: dict[str, Any]) -> None:
    opa.write(LASTING)
    question = {"query": "data.placet.usual.grounds = grounds", "input": asked}
    answer = opa.client.post("/v1/query", json=question, headers=opa.agent).raise_for_status().json()
    assert len(answer["result"]) == 1
    agreeing(opa, asked)
    assert opa.decide(asked)["allow"]


def test_what_a_workflow_guards_goes_the_short_way_in_it_alone(opa: stand.Server) -> None:
    demand = {"pay": {"declared": "sha256:aa", "actions": ["refund"], "resources": ["payment/*"]}}
    opa.write(stand.trust_state(ISSUER, sidecar=SIDECAR, control_plane=CONTROL_PLANE, workflows=demand))
    try:
        following = inside(workflow="pay")
        for asked in [following, inside(workflow="other"), *USUALS]:
            question = {"query": "data.placet.usual.grounds = grounds", "input": asked}
            answer = opa.client.post("/v1/query", json=question, headers=opa.agent).raise_for_status().json()
            assert bool(answer.get("result")) is (asked is following)
            agreeing(opa, asked)
            assert codes(opa.decide(asked)) == ([] if asked is following else ["workflow.required"])
    finally:
        opa.write(LASTING)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(*(mutated(one) for one in [*USUALS, GOOD]), json_values))
def test_every_input_gets_a_complete_decision(opa: stand.Server, asked: Any) -> None:
    complete(opa.decide(asked))
    agreeing(opa, asked)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated(CLAIMS).filter(lambda claims: isinstance(claims, dict)))
def test_every_execution_token_gets_a_complete_decision(opa: stand.Server, claims: Any) -> None:
    """Also one that no agent would sign."""
    token = SIDECAR.execution("e-1", claims)
    asked = stand.request(None, identity=None, execution={"id": "e-1", "token": token})
    complete(opa.decide(asked))
    agreeing(opa, asked)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated(LASTING).filter(lambda state: state is not None))  # OPA itself refuses to write null
def test_every_trust_state_gets_a_complete_decision(opa: stand.Server, state: Any) -> None:
    try:
        opa.write(state)
        for asked in [*USUALS, GOOD]:
            decision = opa.decide(asked)
            complete(decision)
            agreeing(opa, asked)
            if decision["allow"]:
                # Only the parts that this decision does not rest on may differ.
                assert state["lease"]["issued_at_ns"] <= time.time_ns() + 2_000_000_000
                assert state["lease"]["valid_until_ns"] >= time.time_ns() - 1_000_000_000
                assert state["trust"]["quarantine"]["subjects"].get(stand.ISSUER, {}) == {}
                assert state["trust"]["domain"] == stand.DOMAIN
                if "identity" in asked:
                    assert stand.AUDIENCE in state["trust"]["issuers"][stand.ISSUER]["audiences"]
    finally:
        opa.write(LASTING)

"""A system's verification policy in the control plane: kept whole, changed whole, refused where it makes no sense."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from app.control import systems
from app.control.plane import without_conditions
from app.core.errors import UsageError
from app.core.verification_policy import SignerPattern, VerificationPolicy
from cli.system import app

from .test_releases import target

ISSUER = "https://accounts.example.org"
POLICY = {
    "identities": [
        {"identity": "lead@example.org", "issuer": ISSUER},
        {"pattern": r"^ci-[0-9]+@example\.org$", "issuer": ISSUER},
    ],
    "minimum_signers": 2,
    "required_predicates": ["https://x/a", {"type": "https://x/b", "condition": "input.predicate.n > 1\ntrue"}],
    "allowed_builtins": ["rand.intn"],
}


def stored(plane, name):
    with plane.store.read() as session:
        return systems.policy_of(systems.find(session, name))


def test_a_whole_policy_is_kept(api, plane):
    answer = api.post("/api/v1/systems", json={"name": "pay", "horizon_seconds": 90, **POLICY})
    assert answer.status_code == 201, answer.text
    assert {name: answer.json()[name] for name in POLICY} == POLICY
    assert stored(plane, "pay") == VerificationPolicy.model_validate(POLICY)
    assert isinstance(stored(plane, "pay").identities[1], SignerPattern)


def test_a_policy_is_replaced_whole(api, plane):
    api.post("/api/v1/systems", json={"name": "pay", **POLICY})
    simple = {"identities": POLICY["identities"][:1]}
    answer = api.put("/api/v1/systems/pay/policy", json=simple)
    assert answer.status_code == 200, answer.text
    assert stored(plane, "pay") == VerificationPolicy.model_validate(simple)
    assert answer.json()["minimum_signers"] == 1


def test_signers_change_alone(api, plane):
    api.post("/api/v1/systems", json={"name": "pay", **POLICY})
    people = [{"identity": f"{one}@example.org", "issuer": ISSUER} for one in "ab"]
    assert api.put("/api/v1/systems/pay/signers", json={"identities": people}).status_code == 200
    assert stored(plane, "pay") == VerificationPolicy.model_validate({**POLICY, "identities": people})


@pytest.mark.parametrize(
    "change",
    [
        {"identities": []},
        {"identities": POLICY["identities"][:1]},
        {"identities": [{"pattern": ".*", "issuer": ISSUER}] * 2},
        {"minimum_signers": 0},
        {"minimum_signers": 3},
        {"minimum_signers": "2"},
        {"required_predicates": [{"type": "x", "condition": " "}]},
        {"required_predicates": [{"type": "x", "condition": "input..x"}]},
        {"required_predicates": [{"type": "x", "condition": "time.now_ns() > 0"}]},
        {"required_predicates": [{"type": "x", "condition": 'time.date([input.x, "Local"])[0] > 2000'}]},
        {"required_predicates": [{"type": "x", "conditions": "true"}]},
        {"identities_regexp": ".*"},
    ],
)
def test_a_policy_that_makes_no_sense(api, plane, change):
    answer = api.post("/api/v1/systems", json={"name": "pay", **POLICY, **change})
    assert answer.status_code == 422, answer.text
    api.post("/api/v1/systems", json={"name": "pay", **POLICY})
    assert api.put("/api/v1/systems/pay/policy", json={**POLICY, **change}).status_code == 422
    assert stored(plane, "pay") == VerificationPolicy.model_validate(POLICY)


def test_a_bad_condition_is_refused_with_its_place(api, plane):
    given = {**POLICY, "required_predicates": ["x", {"type": "x", "condition": "true\ninput.n >=\n"}]}
    answer = api.post("/api/v1/systems", json={"name": "pay", **given})
    assert answer.status_code == 422
    said = "required_predicates.1.condition: 2:10: unexpected eof token; OPA could not read on from here"
    assert answer.json()["detail"].startswith(said)
    assert api.get("/api/v1/systems/pay").status_code == 404


def test_a_control_plane_without_opa_takes_no_condition(plane):
    rules = VerificationPolicy.model_validate(POLICY)
    with pytest.raises(UsageError, match="no OPA"):
        without_conditions(rules)
    without_conditions(rules.model_copy(update={"required_predicates": ["x"]}))


def test_fewer_signers_than_must_sign(api, plane):
    api.post("/api/v1/systems", json={"name": "pay", **POLICY})
    answer = api.put("/api/v1/systems/pay/signers", json={"identities": POLICY["identities"][:1]})
    assert answer.status_code == 422
    assert "asks for 2 signers and lists 1" in answer.text
    assert stored(plane, "pay") == VerificationPolicy.model_validate(POLICY)


def test_people_see_what_a_policy_asks_for(anonymous, api):
    api.post("/api/v1/systems", json={"name": "pay", **POLICY})
    api.post("/api/v1/systems", json={"name": "plain", "identities": POLICY["identities"][:1]})
    anonymous.post("/login", data={"token": api.token})
    text = anonymous.get("/systems/pay").text
    for shown in ("^ci-[0-9]+@example\\.org$", "https://x/b", "input.predicate.n &gt; 1", "<dd>2</dd>"):
        assert shown in text
    assert "<dt>Needed signers</dt><dd>1</dd>" in anonymous.get("/systems/plain").text


@pytest.fixture
def placet(api, monkeypatch, tmp_path):
    """Runs `placet system` against this control plane."""

    @contextmanager
    def connect(*_):
        def sent(method):
            def call(path, **request):
                answer = getattr(api, method)(path, **request)
                assert answer.is_success, answer.text
                return answer.json()

            return call

        yield SimpleNamespace(get=sent("get"), post=sent("post"), put=sent("put"))

    monkeypatch.setattr("cli.client.connect", connect)

    def run(*arguments):
        return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=True)

    return run


def test_a_file_says_it_all(placet, plane, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps(POLICY))
    created = placet("create", "pay", "--policy", file, "--horizon", "90")
    assert created.exit_code == 0, created.output
    assert stored(plane, "pay") == VerificationPolicy.load(file)
    file.write_text(json.dumps({**POLICY, "minimum_signers": 1}))
    assert placet("update", "pay", "--policy", file).exit_code == 0
    assert stored(plane, "pay") == VerificationPolicy.load(file)
    file.write_text(json.dumps({**POLICY, "required_predicates": [{"type": "x", "condition": "input..x"}]}))
    refused = placet("update", "pay", "--policy", file).exception
    assert isinstance(refused, UsageError)
    assert f"{file}:1:" in str(refused)
    file.write_text(json.dumps(POLICY))
    for wrong in (
        ("create", "more"),
        ("create", "more", "--policy", file, "--require", "x"),
        ("create", "more", "--policy", tmp_path / "none.yaml"),
        ("update", "pay", "--policy", file, "--certificate-identity", "a", "--certificate-oidc-issuer", "b"),
    ):
        assert isinstance(placet(*wrong).exception, UsageError)


def test_a_horizon_is_set_anew_and_published(api, placet, plane):
    """Sidecars are told with their next refresh; the channel keeps its place."""
    api.create_system("pay", horizon_seconds=60)
    digest = api.publish(b"one", system="pay").json()["digest"]
    api.put("/api/v1/systems/pay/channels/prod", json={"release": digest})
    before = json.loads(target(api.client, "pay/prod.json"))
    done = placet("set", "pay", "--horizon", "86400", "--output", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["horizon_seconds"] == 86400
    assert json.loads(target(api.client, "pay/prod.json")) == {**before, "horizon_seconds": 86400}
    path = "/api/v1/systems/pay/horizon"
    for wrong in (0, 30 * 86400 + 1, "60", True, None):
        assert api.put(path, json={"horizon_seconds": wrong}).status_code == 422
    assert api.with_token("system:read").put(path, json={"horizon_seconds": 2}).status_code == 403
    assert api.put(path.replace("pay", "nobody"), json={"horizon_seconds": 2}).status_code == 404
    assert json.loads(target(api.client, "pay/prod.json"))["horizon_seconds"] == 86400

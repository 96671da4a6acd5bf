"""What a sidecar finds out for itself: its environment's attestation, and who may declare a mode."""

import hashlib
import hmac
import json
import stat

import httpx
import jwt
import pytest

from app.core.reason_codes import Reason
from app.core.strict_json import canonical
from app.local.demo.parts import eventually
from app.local.demo.run import Demo
from app.local.demo.stack import AUTHOR, SYSTEM

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

LEAD = "lead@example.org"
RUNNER = "spiffe://example.org/runner"
#: The audience of tokens that are evidence, and nothing else.
EVIDENCE = "agents"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Demo(lambda text: None, tmp_path_factory.mktemp("demo")) as world:
        yield world


def govern(world, **document):
    """Set the system's governance."""
    stack = world.stack
    url = f"{stack.server}/api/v1/systems/{SYSTEM}/governance"
    with httpx.Client(headers=stack.authorization(), timeout=30, trust_env=False) as http:
        version = http.get(url).json()["version"]
        answer = http.put(url, json={"document": document, "version": version})
        assert answer.is_success, answer.text


def codes(world, sidecar, action="read"):
    return world.ask(sidecar, action).codes


def accepted(world, *regions):
    tokens = [{"issuer": world.stack.sigstore.issuer_url, "audience": EVIDENCE, "region": {"region": "where"}}]
    environment = [{"kind": "region", "max_age_seconds": 60, "accept": {"region": list(regions)}}] if regions else []
    return {"environment": environment, "evidence": {"tokens": tokens, "lifetime_seconds": 30}}


def test_the_environment_is_attested_refreshed_and_demanded(world, tmp_path):
    stack = world.stack
    token = tmp_path / "token"
    token.write_text(stack.sigstore.token(RUNNER, audience=EVIDENCE, where="eu-1"))
    token.chmod(0o600)
    evidence = tmp_path / "evidence.yaml"
    evidence.write_text("type: token\nfile: token\n")
    govern(world, **accepted(world))
    sidecar = stack.start_sidecar("sidecar-attested", "--reserve", "16MiB", "--evidence", str(evidence))
    try:
        first = eventually("attested", lambda: sidecar.status().get("environment_until"))
        govern(world, **accepted(world, "eu-1", "eu-2"))
        eventually("others are denied", lambda: codes(world, world.first) == ["environment.missing"], within=20)
        assert codes(world, sidecar) == []
        govern(world, **accepted(world, "us-1"))
        eventually("elsewhere", lambda: codes(world, sidecar) == ["environment.rejected"], within=20)
        govern(world, **accepted(world, "eu-1"))
        eventually("allowed again", lambda: codes(world, sidecar) == [], within=30)
        eventually("refreshed", lambda: sidecar.status().get("environment_until") != first, within=40)
        assert codes(world, sidecar) == []
        kept = [json.loads(path.read_bytes()) for path in (sidecar.directory / "states").glob("*.json")]
        results = {result for trust in kept for result in trust["environment"]["results"]}
        claims = jwt.decode(results.pop(), options={"verify_signature": False})
        assert claims["sub"] == f"spiffe://example.org/sidecar/{SYSTEM}/{sidecar.name}"

        token.write_text(stack.sigstore.token(RUNNER, audience=SYSTEM, where="eu-1"))  # a token for something else
        eventually("refused", lambda: codes(world, sidecar) == ["environment.missing"], within=60)
        eventually("said", lambda: Reason.ENVIRONMENT_UNAVAILABLE in sidecar.codes())
        assert sidecar.status()["healthy"], "the lease does not depend on it"
        token.write_text(stack.sigstore.token(RUNNER, audience=EVIDENCE, where="eu-1"))
        token.chmod(0o600)
        eventually("accepted again", lambda: codes(world, sidecar) == [], within=70)
    finally:
        govern(world)
        stack.stop_sidecar(sidecar)
    eventually("nothing is demanded", lambda: codes(world, world.first) == [], within=20)


def test_a_sidecar_whose_records_are_refused_says_so(world):
    """Its API token is revoked: it goes on to decide, and nobody would see that its records stay with it."""
    stack = world.stack
    sidecar = stack.start_sidecar("sidecar-refused")
    assert stack.placet("sidecar", "status", "--dir", str(sidecar.directory))["state"] == "healthy"
    tokens = stack.placet("token", "list")["items"]
    [token] = [one["id"] for one in tokens if one["sidecar"] == sidecar.name]
    stack.placet("token", "revoke", token)
    assert codes(world, sidecar) == []
    # Its journal may be refused before.
    [refused] = eventually(
        "refused", lambda: [one for one in sidecar.status().get("refused", ()) if one["what"] == "records"], within=30
    )
    assert refused["code"] is None
    assert refused["detail"].startswith("status 401: ")
    shown = stack.placet("sidecar", "status", "--dir", str(sidecar.directory), expect=1)
    assert (shown["state"], shown["healthy"], shown["lease"]) == ("refused", False, True)
    assert f"refuses its records since {refused['since']}: status 401" in shown["stderr"]
    assert codes(world, sidecar) == [], "decisions go on"
    stack.stop_sidecar(sidecar)


def test_a_mode_counts_only_where_the_sidecars_own_policy_says_who_may(world, tmp_path):
    """The control plane takes and publishes it; a sidecar whose policy lists nobody reports it and goes on denying."""
    stack = world.stack
    issuer = stack.sigstore.issuer_url
    stack.placet("system", "update", SYSTEM, "--shadow-signer", f"{LEAD}#{issuer}")
    policy = tmp_path / "policy.json"
    lists = {"identities": [{"identity": AUTHOR, "issuer": issuer}], "shadow": [{"identity": LEAD, "issuer": issuer}]}
    policy.write_bytes(canonical(lists))
    lenient = stack.start_sidecar("sidecar-lenient", "--reserve", "16MiB", policy=policy)
    file = tmp_path / "shadow.jsonl"
    trust = ("--trust-config", str(stack.sigstore.trust_config))
    stack.placet(
        "mode", "shadow", SYSTEM, "--reason", "being adopted", "--for", "1h", "-o", str(file), *trust,
        environment=stack.identity(LEAD),
    )  # fmt: skip
    mode = stack.placet("mode", "publish", SYSTEM, str(file))["id"]
    try:
        eventually("in force", lambda: codes(world, lenient, "destroy") == [], within=20)
        [shown] = eventually("shown", lambda: lenient.status()["modes"])
        assert (shown["kind"], shown["id"]) == ("shadow", mode)
        eventually("told", lambda: Reason.MODE_INVALID in world.first.codes(), within=20)
        assert world.first.status()["modes"] == []
        assert world.first.status()["healthy"]
        assert "policy.denied" in codes(world, world.first, "destroy")
        listed = stack.placet("sidecar", "status", "--dir", str(lenient.directory))
        assert [one["id"] for one in listed["modes"]] == [mode]
    finally:
        stack.placet("mode", "end", SYSTEM, mode)
    eventually("over", lambda: "policy.denied" in codes(world, lenient, "destroy"), within=20)
    eventually("no longer told", lambda: Reason.MODE_INVALID not in world.first.codes(), within=20)
    stack.stop_sidecar(lenient)


def recorded(world, note):
    """The codes of the answer to a request with a note in its context, and the context as the control plane has it."""
    answer = world.ask(world.first, note=note, who={"phone": note})
    stack = world.stack
    url = f"{stack.server}/api/v1/decisions/{answer.decision_id}"

    def stored():
        with httpx.Client(headers=stack.authorization(), timeout=30, trust_env=False) as http:
            found = http.get(url)
        return found.json()["record"]["input"]["context"] if found.is_success else None

    return answer.codes, eventually("shipped", stored, within=20)


def test_what_a_rule_names_is_on_no_disk(world):
    directory = world.first.directory
    assert recorded(world, "before-4111") == ([], {"note": "before-4111", "who": {"phone": "before-4111"}})
    govern(world, masking=[{"path": "input/context/note"}, {"path": "input/context/who/*", "how": "hash"}])
    key = directory / "private" / "masking-key"
    eventually("in force", lambda: recorded(world, "soon-4111")[1]["note"] == "(masked)", within=60)
    codes, context = recorded(world, "after-4111")
    digest = hmac.new(key.read_bytes(), b'"after-4111"', hashlib.sha256).hexdigest()
    assert (codes, context) == ([], {"note": "(masked)", "who": {"phone": f"(masked {digest})"}})
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    bodies = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    assert not [body for body in bodies if b"after-4111" in body]
    assert len([body for body in bodies if key.read_bytes() in body]) == 1, "it is in no archived trust state"
    govern(world)
    eventually("over", lambda: recorded(world, "later-4111")[1]["note"] == "later-4111", within=60)

"""The commands of governance as people use them, against a real control plane and Sigstore."""

import importlib
import json
import re
import shlex
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from typer.testing import CliRunner

from app.core import statements
from app.core.errors import PlacetError
from app.core.modes import verify_mode
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from cli.main import NOUNS, build

from .control_kit import ControlPlane, placet

pytestmark = pytest.mark.stack

LEAD, OPS, DEV = "lead@example.org", "ops@example.org", "dev@example.org"
AUDIENCE = "spiffe://example.org/system/payments"
KEY = ed25519.Ed25519PrivateKey.generate()


def jwk(key=KEY, kid="k1"):
    return {**jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "EdDSA"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory, sigstore, opa_binary):
    running = ControlPlane(
        tmp_path_factory.mktemp("plane") / "control", sigstore, opa_binary, "--allow-loopback-issuers"
    )
    by = sigstore.issuer_url
    running.run(
        *("system", "create", "payments", "--certificate-identity", DEV, "--certificate-oidc-issuer", by),
        *("--shadow-signer", f"{LEAD}#{by}", "--break-glass-signer", f"{LEAD}#{by}"),
        *("--break-glass-signer", f"{OPS}#{by}"),
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def people(tmp_path_factory, sigstore):
    """A file with an identity token for each."""
    directory = tmp_path_factory.mktemp("people")
    for who in (LEAD, OPS, DEV):
        (directory / who).write_text(sigstore.token(who))
        (directory / who).chmod(0o600)
    return directory


def signing(people, sigstore, who):
    return ["--trust-config", sigstore.trust_config, "--identity-token", people / who]


def test_shadow_is_signed_published_shown_and_ended(plane, people, sigstore, tmp_path):
    evidence = tmp_path / "shadow.jsonl"
    by = signing(people, sigstore, LEAD)
    made = plane.json("mode", "shadow", "payments", "--reason", "first week", "--for", "7d", "-o", evidence, *by)
    assert (made["signed_by"], made["signatures"]) == (LEAD, 1)
    published = plane.json("mode", "publish", "payments", evidence)
    assert (published["id"], published["kind"], published["condition"]) == (made["id"], "shadow", "in force")
    assert plane.json("mode", "publish", "payments", evidence)["id"] == made["id"], "safe to repeat"

    (sent,) = plane.target(tmp_path / "cache", "payments.governance.json")["modes"]
    policy = VerificationPolicy(
        identities=[], shadow=[SignerIdentity(identity=LEAD, issuer=sigstore.issuer_url)], break_glass=[]
    )
    trust = TrustConfig.from_file(sigstore.trust_config)
    mode = verify_mode(sent["evidence"], policy=policy, trust=trust, audience=AUDIENCE, now=datetime.now(UTC))
    assert (mode.kind, mode.id, mode.by) == ("shadow", made["id"], [LEAD])

    assert [one["id"] for one in plane.json("system", "list")[0]["modes"]] == [made["id"]]
    assert "first week" in plane.run("mode", "list", "payments").stdout
    assert plane.json("mode", "end", "payments", made["id"])["condition"] == "ended"
    assert plane.target(tmp_path / "cache", "payments.governance.json")["modes"] == []
    assert "was ended" in plane.run("mode", "publish", "payments", evidence, expect=1).stderr
    assert "ended already" in plane.run("mode", "end", "payments", made["id"], expect=1).stderr
    assert plane.json("system", "list")[0]["modes"] == []


def test_break_glass_needs_a_second_person(plane, people, sigstore, tmp_path):
    evidence = tmp_path / "glass.jsonl"
    made = plane.json(
        *("mode", "break-glass", "payments", "--reason", "incident 12", "--for", "30m", "-o", evidence),
        *("--subject", "https://tokens.example.org#ops", "--action", "refund", "--resource", "payment/*"),
        *signing(people, sigstore, LEAD),
    )
    denied = plane.run("mode", "publish", "payments", evidence, expect=3).stderr
    assert "mode.invalid" in denied
    assert "2 different signers" in denied

    before = evidence.read_text()
    asked = placet("mode", "sign", evidence, *signing(people, sigstore, OPS), stdin="n\n", expect=2)
    assert "incident 12" in asked.stderr
    assert "payment/*" in asked.stderr, "who signs sees what they sign"
    assert evidence.read_text() == before
    placet("mode", "sign", evidence, "--yes", *signing(people, sigstore, OPS))
    published = plane.json("mode", "publish", "payments", evidence)
    assert [one["identity"] for one in published["signers"]] == [LEAD, OPS]
    assert published["subjects"] == [{"issuer": "https://tokens.example.org", "id": "ops"}]
    (sent,) = plane.target(tmp_path / "cache", "payments.governance.json")["modes"]
    assert len(sent["evidence"]) == 2
    with plane.api() as api:
        login = api.post("/login", data={"token": plane.token_file.read_text().strip()}, follow_redirects=False)
        assert login.status_code == 303
        for page in ("/decisions", "/sidecars", "/issuers", "/quarantine", "/systems", "/systems/payments"):
            text = api.get(page).text
            assert "incident 12" in text, f"{page} does not show the mode"
            assert f"{LEAD}, {OPS}" in text
    plane.json("mode", "end", "payments", made["id"])


def test_modes_that_cannot_be_are_refused_before_they_are_signed(plane, people, sigstore, tmp_path):
    by = signing(people, sigstore, LEAD)
    out = tmp_path / "x.jsonl"
    usual = ["mode", "shadow", "payments", "-o", out, *by]
    assert "30 days" in plane.run(*usual, "--reason", "r", "--for", "31d", expect=2).stderr
    assert "reason" in plane.run(*usual, "--reason", " ", "--for", "1d", expect=2).stderr
    assert "--for" in plane.run(*usual, "--reason", "r", "--for", "soon", expect=2).stderr
    assert not out.exists()
    # Somebody who may not: signed, and refused by the control plane.
    wrong = tmp_path / "wrong.jsonl"
    plane.run(
        *("mode", "shadow", "payments", "-o", wrong, "--reason", "r", "--for", "1d"), *signing(people, sigstore, DEV)
    )
    assert "signed by dev@example.org" in plane.run("mode", "publish", "payments", wrong, expect=3).stderr
    assert "exists" in plane.run(*usual[:3], "-o", wrong, "--reason", "r", "--for", "1d", *by, expect=2).stderr
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("{}\n")
    assert "no declaration" in placet("mode", "sign", nonsense, "--yes", *by, expect=3).stderr


def test_governance_is_written_compared_and_set(plane, tmp_path):
    file = tmp_path / "governance.yaml"
    written = plane.run("governance", "show", "payments").stdout
    document = yaml.safe_load(written)
    assert document["warrant_required"] is False
    version = document["version"]
    file.write_text(written.replace("warrant_required: false", "warrant_required: true"))
    differences = plane.run("governance", "set", "payments", "--file", file, "--dry-run").stdout
    assert "-warrant_required: false" in differences
    assert "+warrant_required: true" in differences
    assert plane.json("governance", "show", "payments")["version"] == version
    assert plane.json("governance", "set", "payments", "--file", file)["version"] == version + 1
    assert plane.target(tmp_path / "cache", "payments.governance.json")["warrant_required"] is True
    again = plane.json("governance", "set", "payments", "--file", file)
    assert (again["version"], again["changed"]) == (version + 1, False), "a job may set the same file again"
    file.write_text(written)
    late = plane.run("governance", "set", "payments", "--file", file, expect=1).stderr
    assert f"version {version + 1} is in force" in late
    file.write_text("segments: [{name: a, resources: [payment]}]\n")
    wrong = plane.run("governance", "set", "payments", "--file", file, "--version", str(version + 1), expect=2).stderr
    assert "governance.yaml: " in wrong
    assert "must be TYPE/ID" in wrong
    file.write_text("warrant_required: true\n\nexchnage: []\n")
    slip = plane.run("governance", "set", "payments", "--file", file, expect=2).stderr
    assert slip == f"placet: {file}:3:1: exchnage: there is no such member\n"
    for text, said in (("a: 1\na: 2\n", "stands twice"), ("[1]", "does not hold"), ("{", "not YAML")):
        file.write_text(text)
        assert said in plane.run("governance", "set", "payments", "--file", file, expect=2).stderr
    file.write_text(f"version: {version + 1}\n")
    plane.run("governance", "set", "payments", "--file", file)
    assert plane.json("governance", "show", "payments", "--versions")[0]["version"] == version + 2


def test_issuers_are_discovered_and_refreshed(plane, sigstore, tmp_path):
    """The local Sigstore's own issuer is a real OpenID Connect issuer."""
    url = sigstore.issuer_url
    added = plane.json("issuer", "add", url, "--discover", "--audience", "payments", "--names", "spiffe://example.org/")
    assert (added["condition"], added["source"]["discovered"]) == ("fresh", True)
    state = plane.target(tmp_path / "cache", "state.json")
    assert list(state["issuers"][0]["keys"]) == [key["kid"] for key in sigstore.jwks()["keys"]]
    assert plane.json("issuer", "refresh", url)["source"]["trouble"] is None
    row = plane.run("issuer", "list").stdout
    assert "fresh" in row
    pinned = plane.run("issuer", "add", url, "--discover", "--audience", "payments", "--pin", "x" * 43, expect=1).stderr
    assert "not pinned" in pinned
    assert plane.json("issuer", "list")[0]["names"] == "spiffe://example.org/", "a refused change changes nothing"
    assert (
        "must be an https URL"
        in plane.run("issuer", "add", "http://10.1.2.3", "--discover", "--audience", "a", expect=2).stderr
    )
    assert (
        "private or loopback"
        in plane.run("issuer", "add", "https://10.1.2.3", "--discover", "--audience", "a", expect=1).stderr
    )
    plane.run("issuer", "remove", url)
    assert plane.json("issuer", "list") == []


def test_domains_grants_and_quarantines(plane, tmp_path):
    exported = tmp_path / "keys.json"
    own = plane.json("domain", "export")
    plane.run("domain", "export", "-o", exported)
    assert json.loads(exported.read_text()) == own
    assert "own domain" in plane.run("domain", "link", "example.org", "--keys", exported, expect=2).stderr
    assert (
        "about the domain example.org"
        in plane.run("domain", "link", "partner.example", "--keys", exported, expect=2).stderr
    )
    partner = own | {"domain": "partner.example", "signer": "spiffe://partner.example/control-plane"}
    exported.write_text(json.dumps(partner))
    linked = plane.json("domain", "link", "partner.example", "--keys", exported, "--no-attestations")
    assert (len(linked["warrant_keys"]), linked["attestation_keys"]) == (1, [])
    assert plane.target(tmp_path / "cache", "state.json")["links"] == ["partner.example"]
    assert "partner.example" in plane.run("domain", "list").stdout
    plane.run("domain", "unlink", "partner.example")
    assert plane.json("domain", "list") == []

    who = ["https://tokens.example.org", "gateway"]
    granted = plane.run("grant", "add", *who, "--grant", "forward-certificate")
    assert "no trusted issuer" in granted.stderr
    assert plane.json("grant", "list")[0]["grants"] == ["forward-certificate"]
    plane.run("grant", "remove", *who)
    assert plane.json("grant", "list") == []

    for name, value in (("--execution", "0b6f2a"), ("--segment", "front"), ("--domain", "partner.example")):
        plane.run("quarantine", "add", name, value, "--reason", "odd")
        assert plane.json("quarantine", "list")[0]["name"] == value
        plane.run("quarantine", "lift", name, value)
    assert plane.json("quarantine", "list") == []
    assert "name one" in plane.run("quarantine", "add", "--reason", "r", "i", "s", "--domain", "d", expect=2).stderr
    assert "name one" in plane.run("quarantine", "lift", "i", expect=2).stderr


def test_signers_of_a_system_are_changed(plane, sigstore):
    by = sigstore.issuer_url
    before = plane.json("system", "list")[0]
    changed = plane.json("system", "update", "payments", "--shadow-signer", f"{OPS}#{by}")
    assert changed["shadow"] == [{"identity": OPS, "issuer": by}]
    assert (changed["identities"], changed["break_glass"]) == (before["identities"], before["break_glass"])
    assert "IDENTITY#ISSUER" in plane.run("system", "update", "payments", "--shadow-signer", OPS, expect=2).stderr
    assert "say what to change" in plane.run("system", "update", "payments", expect=2).stderr
    plane.run("system", "update", "payments", "--shadow-signer", f"{LEAD}#{by}")


def examples(noun):
    """What `--help` of a noun's commands shows after Example."""
    group = importlib.import_module(NOUNS[noun][0]).app
    below = [one.typer_instance for one in group.registered_groups]
    for command in (command for one in (group, *below) for command in one.registered_commands):
        assert command.epilog, (noun, command.name or command.callback.__name__)
        text = re.sub(r"^Examples?: ", "", command.epilog)
        for one in re.split(r" +· +(?:the partner makes the file with: )?", text):
            yield shlex.split(one.split(" > ")[0])


@pytest.mark.parametrize(
    "noun",
    ["issuer", "domain", "grant", "governance", "mode", "quarantine", "environment", "system", "warrant", "execution"],
)
def test_the_examples_of_help_are_understood(noun, tmp_path, monkeypatch):
    """Each gets as far as looking for a file or the control plane: no option is wrong or missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACET_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("PLACET_TOKEN", "placet_a_b")
    shown = list(examples(noun))
    assert shown
    for words in shown:
        assert words[:2] == ["placet", noun], words
        done = CliRunner().invoke(build(words[1:]), words[1:])
        if words[1:] == ["warrant", "key", "new", "agent.pem"]:  # which needs nobody
            assert (done.exit_code, (tmp_path / "agent.pem").exists()) == (0, True)
            continue
        assert isinstance(done.exception, PlacetError), (words, done.output, done.exception)
        assert re.search(r"cannot (reach|read)", str(done.exception)), (words, done.exception)


def token(claims, typ="JWT", key=KEY):
    at = int(time.time())
    return jwt.encode({"iat": at, "exp": at + 600, **claims}, key, algorithm="EdDSA", headers={"kid": "k1", "typ": typ})


def test_an_environment_is_attested_and_revoked(plane, people, sigstore, tmp_path):
    """Signed provenance of an image, a Kubernetes token and an EAT become one result, signed by the control plane."""
    cluster = "https://kubernetes.example.org"
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [jwk()]}))
    plane.run("issuer", "add", cluster, "--kind", "kubernetes", "--jwks", keys, "--audience", "cluster")
    governance = {
        "version": plane.json("governance", "show", "payments")["version"],
        "evidence": {
            "image": {"identities": [{"identity": DEV, "issuer": sigstore.issuer_url}]},
            "tokens": [
                {
                    "issuer": cluster,
                    "audience": "placet",
                    "node": {"node": "kubernetes.io/node/name", "pod": "kubernetes.io/pod/name"},
                }
            ],
            "attesters": [
                {
                    "issuer": "https://attester.example.org",
                    "jwks": {"keys": [jwk()]},
                    "posture": {"secure_boot": "secboot", "platform": "submods/tpm/ear.status"},
                    "sidecar": "sub",
                }
            ],
        },
    }
    file = tmp_path / "governance.yaml"
    file.write_text(yaml.safe_dump(governance))
    plane.run("governance", "set", "payments", "--file", file)

    image = "sha256:" + "ab" * 32
    session = SigningSession(TrustConfig.from_file(sigstore.trust_config), sigstore.token(DEV))
    provenance = statements.statement(
        [statements.resource("registry.example.org/app", image)], statements.PROVENANCE, {"buildDefinition": {}}
    )
    kubernetes = {"node": {"name": "node-7", "uid": "u"}, "pod": {"name": "app-1", "uid": "u"}}
    evidence = [
        {"type": "image", "digest": image, "bundles": [session.sign(provenance).decode()]},
        {
            "type": "token",
            "token": token(
                {
                    "iss": cluster,
                    "sub": "system:serviceaccount:prod:app",
                    "aud": ["placet"],
                    "kubernetes.io": kubernetes,
                }
            ),
        },
        {
            "type": "eat",
            "token": token(
                {
                    "iss": "https://attester.example.org",
                    "sub": "spiffe://example.org/sidecar/payments/one",
                    "secboot": True,
                    "submods": {"tpm": {"ear.status": "affirming"}},
                },
                typ="eat+jwt",
            ),
        },
    ]
    path = "/api/v1/systems/payments/sidecars/one/environment"
    with plane.api() as api:
        answer = api.post(path, json={"evidence": evidence})
        assert answer.status_code == 200, answer.text
        issued = answer.json()
        other = api.post(path.replace("/one/", "/two/"), json={"evidence": evidence[2:]})
        assert (other.status_code, other.json()["reason"]) == (422, "environment.refused"), "an EAT of another host"
    attester = plane.target(tmp_path / "cache", "state.json")["attesters"][0]
    header = jwt.get_unverified_header(issued["result"])
    assert set(header) == {"alg", "kid", "typ"}
    assert header["typ"] == "ear+jwt"
    claims = jwt.decode(
        issued["result"],
        jwt.PyJWK(attester["keys"][header["kid"]]),
        algorithms=[header["alg"]],
        audience=AUDIENCE,
        issuer=attester["issuer"],
    )
    assert claims["sub"] == "spiffe://example.org/sidecar/payments/one"
    assert claims["submods"] == {
        "image": {
            "ear.status": "affirming",
            "digest": image,
            "signer": DEV,
            "signer_issuer": sigstore.issuer_url,
            "predicates": statements.PROVENANCE,
        },
        "node": {"ear.status": "affirming", "node": "node-7", "pod": "app-1"},
        "posture": {"ear.status": "affirming", "secure_boot": "true", "platform": "affirming"},
    }
    assert 290 <= claims["exp"] - claims["iat"] <= 300, "no longer than the EAT is fresh"
    assert 0 < issued["refresh_after_seconds"] < 300
    expires = datetime.fromisoformat(issued["expires_at"])
    assert timedelta(seconds=270) < expires - datetime.now(UTC) <= timedelta(seconds=300)

    (listed,) = plane.json("environment", "list", "--system", "payments")
    assert (listed["id"], listed["revoked_because"]) == (claims["jti"], None)
    assert "eyJ" not in json.dumps(listed), "no token is kept or shown"
    plane.run("environment", "revoke", claims["jti"], "--system", "payments")
    revoked = plane.target(tmp_path / "cache", "payments.governance.json")["revoked_results"]
    assert revoked == [{"id": claims["jti"], "expires_at": claims["exp"]}]
    plane.run("issuer", "remove", cluster)

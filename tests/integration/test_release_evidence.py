"""Evidence by command: test results, links of steps, layouts; made with a real Sigstore and a real OPA."""

import base64
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
import yaml

from app.core import attestation_claims, statements
from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.opa import Opa
from app.core.shipped import shipped
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification import split_attestations, verify_release
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.sigstore import LocalSigstore, keys
from app.local.sigstore.issuer import Issuer, IssuerServer

from . import control_kit
from .control_kit import placet

pytestmark = pytest.mark.stack

CI, OWNER, TESTER = "ci@example.org", "owner@example.org", "tester@example.org"


@pytest.fixture
def work(tmp_path):
    """A directory with the example policy and its tests."""
    shutil.copytree(shipped("bundles") / "payments", tmp_path / "policy")
    return tmp_path


@pytest.fixture
def signing(sigstore, tmp_path):
    """The options by which somebody signs."""

    def options(identity):
        file = tmp_path / f"{identity}.jwt"
        file.write_text(sigstore.token(identity))
        file.chmod(0o600)
        return ["--trust-config", sigstore.trust_config, "--identity-token", file]

    return options


@pytest.fixture
def built(work, opa_binary):
    placet("bundle", "build", work / "policy", "-o", work / "payments.tar.gz", "--opa", opa_binary)
    return work / "payments.tar.gz"


def who(sigstore, identity):
    return {"identity": identity, "issuer": sigstore.issuer_url}


def verification_policy(path, sigstore, **members):
    path.write_text(yaml.safe_dump({"identities": [who(sigstore, CI)], **members}))
    return ["--policy", path, "--trust-config", sigstore.trust_config, "--output", "json"]


def attestations(bundle):
    lines = bundle.with_name(bundle.name + ".attestations.jsonl").read_bytes().splitlines()
    return [attestation_claims.claimed(line) for line in lines]


# ---- test results ------------------------------------------------------------------------------------------


def test_a_signed_test_result_is_what_a_policy_may_require(built, work, signing, sigstore, opa_binary):
    required = verification_policy(work / "v.yaml", sigstore, required_predicates=[statements.TEST_RESULT])
    placet("bundle", "sign", built, *signing(CI))
    refused = placet("bundle", "verify", built, *required, expect=3)
    assert json.loads(refused.stdout)["reason"] == "evidence.incomplete"

    done = placet("bundle", "attest", built, "--tests", work / "policy", "--opa", opa_binary, *signing(CI),
                  "--output", "json")  # fmt: skip
    summary = json.loads(done.stdout)
    assert summary["passed"] > 0
    assert summary["coverage"] > 0
    assert [one.predicate_type for one in attestations(built)].count(statements.TEST_RESULT) == 1
    assert statements.TEST_RESULT in json.loads(placet("bundle", "verify", built, *required).stdout)["attestations"]

    # Attesting again replaces one's own last result: a condition has to hold of every one.
    again = placet("bundle", "attest", built, "--tests", work / "policy", "--opa", opa_binary, *signing(CI))
    assert "earlier test result" in again.stderr
    placet("bundle", "attest", built, "--tests", work / "policy", "--opa", opa_binary, *signing(TESTER))
    assert [one.predicate_type for one in attestations(built)].count(statements.TEST_RESULT) == 2
    path = built.with_name(built.name + ".attestations.jsonl")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))  # this policy does not list TESTER

    # Signing again keeps it, and does not pile up the links that it makes.
    before = len(attestations(built))
    placet("bundle", "sign", built, *signing(CI))
    assert len(attestations(built)) == before
    placet("bundle", "verify", built, *required)


def test_nothing_is_signed_when_a_test_fails(built, work, signing, opa_binary):
    (work / "policy" / "wrong_test.rego").write_text("package wrong_test\n\ntest_no if false\n")
    said = placet("bundle", "attest", built, "--tests", work / "policy", "--opa", opa_binary, *signing(CI), expect=1)
    assert "wrong_test.test_no" in said.stderr
    assert not built.with_name(built.name + ".attestations.jsonl").exists()


def test_tests_in_older_rego_are_converted_when_one_says_so(tmp_path, signing, opa_binary):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/app.rego").write_text("package app\n\nallow if input.good\n")
    (tmp_path / "tests").mkdir()
    older = 'package app_test\n\nimport data.app\n\ntest_good { app.allow with input as {"good": true} }\n'
    (tmp_path / "tests/app_test.rego").write_text(older)
    bundle = tmp_path / "app.tar.gz"
    placet("bundle", "build", tmp_path / "policy", "-o", bundle, "--entrypoint", "app/allow", "--opa", opa_binary)
    command = ["bundle", "attest", bundle, "--tests", tmp_path / "tests", "--opa", opa_binary, *signing(CI)]
    assert placet(*command, expect=3).stderr == (
        "placet: denied: rego.compile: app_test.rego:5:1: `if` keyword is required before rule body; "
        "give --v0-compatible where the tests are older Rego (v0)\n"
    )
    assert json.loads(placet(*command, "--v0-compatible", "--output", "json").stdout)["passed"] == 1
    assert [one.predicate_type for one in attestations(bundle)] == [statements.TEST_RESULT]


def test_nothing_is_signed_below_the_threshold(built, work, signing, opa_binary):
    tests = work / "tests"
    tests.mkdir()
    (tests / "little_test.rego").write_text("package little_test\n\ntest_nothing if true\n")
    said = placet("bundle", "attest", built, "--tests", tests, "--threshold", "50", "--opa", opa_binary,
                  *signing(CI), expect=1)  # fmt: skip
    assert "50 %" in said.stderr


def test_the_tests_run_over_what_the_bundle_holds(built, work, signing, opa_binary):
    """The directory was changed after the build, so that its tests would fail there."""
    for module in (work / "policy").rglob("*.rego"):
        if not module.name.endswith("_test.rego"):
            module.write_text("package elsewhere\n")
    placet("bundle", "attest", built, "--tests", work / "policy", "--opa", opa_binary, *signing(CI))


# ---- steps and layouts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory, sigstore, opa_binary):
    """A release whose steps were done by whom the layout names: tests by one, build and signature by another."""
    work = tmp_path_factory.mktemp("released")
    shutil.copytree(shipped("bundles") / "payments", work / "policy")
    (work / "report").write_text("")

    def run(*arguments, identity=None, **options):
        if identity:
            (work / "token").write_text(sigstore.token(identity))
            (work / "token").chmod(0o600)
            arguments = [*arguments[:2], "--trust-config", sigstore.trust_config, "--identity-token", work / "token",
                         *arguments[2:]]  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control_kit, "REPOSITORY", work)
            return placet(*arguments, **options)

    run("step", "run", "test", "--materials", "policy/**/*.rego", "--products", "report", "--",
        "sh", "-c", "echo seen; echo passed > report", identity=TESTER)  # fmt: skip
    run("bundle", "build", "policy", "-o", "payments.tar.gz", "--opa", opa_binary)
    signed = run("bundle", "sign", "payments.tar.gz", "--link", "test.link.sigstore.json", identity=CI)
    assert "verify it by a policy whose `layout` has their steps" in signed.stderr
    run("layout", "new", "payments", "-o", "layout.yaml", "--functionary", CI, "--functionary-issuer",
        sigstore.issuer_url)  # fmt: skip
    layout = yaml.safe_load((work / "layout.yaml").read_text())
    layout["steps"].insert(0, {
        "name": "test",
        "functionaries": [who(sigstore, TESTER)],
        "threshold": 1,
        "expected_materials": [["ALLOW", "policy/*"], ["DISALLOW", "*"]],
        "expected_products": [["ALLOW", "report"], ["DISALLOW", "*"]],
    })  # fmt: skip
    (work / "layout.yaml").write_text(yaml.safe_dump(layout))
    run("layout", "sign", "layout.yaml", identity=OWNER)
    return work, layout, run


@pytest.fixture
def verified(released, sigstore, opa_binary):
    """Verify the release by a policy with a layout, perhaps with other attestations."""
    work, _, _ = released
    bundle = work / "payments.tar.gz"

    def verify(layout, attestations=None):
        policy = {"identities": [who(sigstore, CI)], "layout": layout}
        lines = split_attestations(Path(f"{bundle}.attestations.jsonl").read_bytes())
        return verify_release(
            bundle.read_bytes(),
            Path(f"{bundle}.sigstore.json").read_bytes(),
            lines if attestations is None else attestations(lines),
            policy=VerificationPolicy.model_validate(policy),
            trust=TrustConfig.from_file(sigstore.trust_config),
            opa=Opa(opa_binary),
        )

    return verify


def denial(call):
    with pytest.raises(Denied) as denied:
        call()
    assert "\n" not in str(denied.value)
    return str(denied.value.reason), denied.value.field


def test_a_release_satisfies_a_layout(released, sigstore, tmp_path):
    work, layout, run = released
    options = verification_policy(tmp_path / "v.yaml", sigstore, layout=layout)
    assert json.loads(run("bundle", "verify", "payments.tar.gz", *options).stdout)["verified"] is True

    def checked(owner, name="layout.yaml", expect=0):
        of = ["--certificate-identity", owner, "--certificate-oidc-issuer", sigstore.issuer_url]
        trusted = ["--trust-config", sigstore.trust_config, "--output", "json"]
        done = run("layout", "verify", name, "payments.tar.gz", *of, *trusted, expect=expect)
        return json.loads(done.stdout)

    assert checked(OWNER)["steps"] == {"test": [TESTER], "build": [CI], "sign": [CI]}
    assert checked(CI, expect=3)["reason"] == "evidence.identity"  # nobody said that CI may say how releases are made
    (work / "shorter.yaml").write_text(yaml.safe_dump(layout | {"steps": layout["steps"][1:]}))
    assert checked(OWNER, "shorter.yaml", expect=3)["reason"] == "evidence.missing"
    shutil.copy(work / "layout.yaml.sigstore.json", work / "shorter.yaml.sigstore.json")
    assert checked(OWNER, "shorter.yaml", expect=3)["reason"] == "evidence.subject"


def test_without_the_layout_a_denial_says_that_one_is_needed(released, sigstore, opa_binary):
    work, _, run = released
    said = run("bundle", "verify", "payments.tar.gz", "--certificate-identity", CI, "--certificate-oidc-issuer",
               sigstore.issuer_url, "--trust-config", sigstore.trust_config, "--opa", opa_binary, expect=3)  # fmt: skip
    assert "evidence.identity: " in said.stderr, "somebody else did the step"
    assert "it is a link, so verify by a policy whose `layout` has its step" in said.stderr
    rules = VerificationPolicy(identities=[SignerIdentity(**who(sigstore, one)) for one in (CI, TESTER)])
    with pytest.raises(Denied, match=r"evidence.subject: .*; it is a link, so verify by a policy whose `layout`"):
        verify_release(
            (work / "payments.tar.gz").read_bytes(),
            (work / "payments.tar.gz.sigstore.json").read_bytes(),
            split_attestations((work / "payments.tar.gz.attestations.jsonl").read_bytes()),
            policy=rules,
            trust=TrustConfig.from_file(sigstore.trust_config),
            opa=Opa(opa_binary),
        )


def test_what_a_layout_refuses(released, verified, sigstore):
    _, layout, _ = released

    def changed(step, **members):
        steps = [one | members if one["name"] == step else one for one in layout["steps"]]
        return layout | {"steps": steps}

    def reason(layout):
        return denial(lambda: verified(layout))

    both = [who(sigstore, TESTER), who(sigstore, CI)]
    assert reason(changed("test", functionaries=both[1:])) == ("evidence.identity", "certificate.identity")
    assert reason(changed("test", functionaries=both, threshold=2)) == ("evidence.layout", "steps.test.threshold")
    assert reason(changed("test", expected_command=["true"])) == ("evidence.layout", "steps.test.expected_command")
    nothing = [["DISALLOW", "*"]]
    for step, kind in (("test", "materials"), ("build", "products"), ("sign", "materials")):
        found = reason(changed(step, **{f"expected_{kind}": nothing}))
        assert found == ("evidence.layout", f"steps.{step}.expected_{kind}")
    assert reason(layout | {"expires": "2020-01-01T00:00:00Z"}) == ("evidence.layout", "expires")
    review = layout["steps"][0] | {"name": "review"}
    assert reason(layout | {"steps": [review, *layout["steps"]]}) == ("evidence.layout", "steps.review")
    # The links of build and sign are about the bundle, so that they stand; but the last step did not make it.
    assert reason(layout | {"steps": layout["steps"][:1]}) == ("evidence.layout", "steps.test")
    # Without a layout, nobody but the policy's own identities may sign evidence.
    assert reason(None) == ("evidence.identity", "certificate.identity")
    assert denial(lambda: verified(layout, lambda lines: lines[:-1])) == ("evidence.layout", "steps.test")


def predicate(**changed):
    return {
        "name": "test",
        "command": ["true"],
        "materials": [],
        "byproducts": {"return-value": 0},
        "environment": {},
    } | changed


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (predicate(byproducts={"return-value": 1}), "steps.test.byproducts.return-value"),
        (predicate(byproducts={"return-value": True}), "predicate"),
        (predicate(byproducts={"seconds": 0.5}), "predicate"),
        (predicate(byproducts={"return-value": "0"}), "steps.test.byproducts.return-value"),
        (predicate(materials=[{"name": "policy/x", "digest": {"sha256": "ab"}}]), "predicate"),
        (predicate(materials=[{"name": "policy/x", "digest": {"sha1": "a" * 40}}]), "predicate"),
        (predicate(materials=[{"name": "policy/x", "digest": {"sha256": one * 64}} for one in "ab"]), "predicate"),
        (predicate(unknown=1), "predicate"),
        (predicate(command="true"), "predicate"),
        (
            predicate(materials=[{"name": "elsewhere/x", "digest": {"sha256": "a" * 64}}]),
            "steps.test.expected_materials",
        ),
        (predicate(name="../test"), "certificate.identity"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_links_that_in_toto_would_let_pass(released, verified, tester, wrong, field):
    """Signed by the right functionary all the same. Of another name, it is no link of the layout's at all."""
    link = tester.sign(statements.statement([statements.resource("report", "a" * 64)], statements.LINK, wrong))
    reason, found = denial(lambda: verified(released[1], lambda lines: [*lines[:-1], link]))
    assert found == field
    assert reason == ("evidence.identity" if field == "certificate.identity" else "evidence.layout")


@pytest.fixture(scope="module")
def tester(sigstore):
    return SigningSession(TrustConfig.from_file(sigstore.trust_config), sigstore.token(TESTER))


def test_two_links_of_a_step_that_disagree(released, verified, tester):
    other = tester.sign(
        statements.link("test", command=["true"], materials=[], products=[statements.resource("report", "b" * 64)])
    )
    assert denial(lambda: verified(released[1], lambda lines: [*lines, other])) == ("evidence.layout", "steps.test")


def test_a_link_under_another_steps_name(released, sigstore):
    work, _, run = released
    shutil.copy(work / "test.link.sigstore.json", work / "build.link.sigstore.json")
    said = run("layout", "verify", "layout.yaml", "payments.tar.gz", "--certificate-identity", OWNER,
               "--certificate-oidc-issuer", sigstore.issuer_url, "--trust-config", sigstore.trust_config,
               "--link", "build.link.sigstore.json", expect=3)  # fmt: skip
    assert "build.link.sigstore.json holds the link of the step test" in said.stderr


def test_a_step_records_what_it_made_of_what(released):
    bundle = json.loads((released[0] / "test.link.sigstore.json").read_text())
    link = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert link["predicateType"] == statements.LINK
    assert link["subject"] == [statements.resource("report", digest_of(b"passed\n"))]
    assert link["predicate"]["command"][:2] == ["sh", "-c"]
    assert link["predicate"]["byproducts"] == {"return-value": 0}
    names = [one["name"] for one in link["predicate"]["materials"]]
    assert names == ["policy/payments/authz.rego", "policy/payments/authz_test.rego"]


def test_a_step_that_fails_leaves_no_link(released):
    work, _, run = released
    said = run("step", "run", "broken", "--products", "report", "--", "sh", "-c", "exit 7", identity=TESTER, expect=1)
    assert "sh failed with exit code 7" in said.stderr
    assert not (work / "broken.link.sigstore.json").exists()


# ---- offline -----------------------------------------------------------------------------------------------


def test_verifying_with_a_pinned_root_opens_no_socket(built, signing, sigstore, opa_binary, monkeypatch):
    placet("bundle", "sign", built, *signing(CI))
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 1))  # what is refused here would be seen
    asked.clear()
    release = verify_release(
        built.read_bytes(),
        Path(f"{built}.sigstore.json").read_bytes(),
        split_attestations(Path(f"{built}.attestations.jsonl").read_bytes()),
        policy=VerificationPolicy(identities=[SignerIdentity(**who(sigstore, CI))]),
        trust=TrustConfig.from_file(sigstore.trust_config),
        opa=Opa(opa_binary),
    )
    assert release.signer.identity == CI
    assert asked == []


def test_the_command_verifies_where_there_is_no_network(built, work, signing, sigstore, opa_binary):
    """In a network namespace of its own, in which nobody answers: the command, its OPA, and the conditions."""
    placet("bundle", "sign", built, *signing(CI))
    placet("bundle", "attest", built, "--tests", work / "policy", "--opa", opa_binary, *signing(CI))
    required = [{"type": statements.TEST_RESULT, "condition": "input.predicate.coverage.percent > 0"}]
    options = verification_policy(work / "v.yaml", sigstore, required_predicates=required)

    def alone(*command):
        command = ["unshare", "--net", "--map-root-user", *map(str, command)]
        return subprocess.run(command, capture_output=True, timeout=120, check=False, text=True)

    port = sigstore.issuer_url.rpartition(":")[2]
    reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    assert subprocess.run([sys.executable, "-c", reach], timeout=30, check=False).returncode == 0
    assert "unreachable" in alone(sys.executable, "-c", reach).stderr
    done = alone(control_kit.PLACET, "bundle", "verify", built, "--opa", opa_binary, *options)
    assert (done.returncode, json.loads(done.stdout)["verified"]) == (0, True), done.stderr
    # Without a root of one's own it would have to ask, and says so.
    public = alone(control_kit.PLACET, "bundle", "verify", built, "--opa", opa_binary, *options[:2], "--staging")
    assert public.returncode == 1
    assert "cannot refresh the trust root" in public.stderr


# ---- identities --------------------------------------------------------------------------------------------


def test_a_workload_signs_by_its_spiffe_identity(built, tmp_path, opa_binary):
    """A JWT-SVID in a file, as a SPIRE agent writes it."""
    identity = "spiffe://example.org/ci/release"
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    issuer = Issuer(url, keys.load_or_create(tmp_path / "workloads"))
    server = IssuerServer(issuer, listener)
    server.start()
    with LocalSigstore(tmp_path / "sigstore", spiffe_issuers={url: "example.org"}) as stack:
        now = int(time.time())
        claims = {"iss": url, "sub": identity, "aud": ["sigstore"], "iat": now, "exp": now + 300}
        kid = issuer.jwks()["keys"][0]["kid"]
        (tmp_path / "svid").write_text(
            jwt.encode(claims, issuer._key(), algorithm="ES256", headers={"kid": kid}) + "\n"
        )
        placet("bundle", "sign", built, "--trust-config", stack.trust_config, "--identity-token", tmp_path / "svid")
        options = ["--trust-config", stack.trust_config, "--opa", opa_binary, "--certificate-oidc-issuer", url]
        placet("bundle", "verify", built, "--certificate-identity", identity, *options)
        placet("bundle", "verify", built, "--certificate-identity", identity + "r", *options, expect=3)
    server.stop()

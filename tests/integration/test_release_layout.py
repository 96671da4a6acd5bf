"""A system that takes only releases of its layout: at the control plane, and at a sidecar that checks by itself."""

import httpx
import pytest
import yaml

from app.core import statements
from app.core.bundle import digest_of
from app.core.reason_codes import Reason
from app.core.targets import ATTESTATIONS_FILE, BUNDLE_FILE, SIGNATURE_FILE
from app.core.trust import TrustConfig
from app.local import tools
from app.local.demo.load import Caller
from app.local.demo.meddler import Meddler
from app.local.demo.parts import eventually
from app.local.demo.stack import AUTHOR, HORIZON, SYSTEM, Stack

from .lying_kit import lie
from .release_kit import Session

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

TESTER, REVIEWER, STRANGER = "tester@example.org", "reviewer@example.org", "stranger@example.org"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack whose system demands that two people tested a release, and that the author built and signed it."""
    with Stack(tmp_path_factory.mktemp("layout"), tools.installed("opa")) as stack:
        policy = stack.directory / "verification.yaml"
        issuer = stack.sigstore.issuer_url
        ends = [["DISALLOW", "*"]]

        def step(name, who, materials, products, **members):
            functionaries = [{"identity": one, "issuer": issuer} for one in who]
            return {
                "name": name,
                "functionaries": functionaries,
                "expected_materials": materials + ends,
                "expected_products": products + ends,
                **members,
            }

        built = ["ALLOW", "*.tar.gz"]
        layout = {
            "layout": "payments",
            "expires": "2099-01-01T00:00:00Z",
            "steps": [
                step("test", [TESTER, REVIEWER], [["ALLOW", "policies/*"]], [["ALLOW", "report"]], threshold=2),
                step(
                    "build", [AUTHOR], [["ALLOW", "*.rego"], ["ALLOW", "*data.json"], ["ALLOW", ".manifest"]], [built]
                ),
                step(
                    "sign",
                    [AUTHOR],
                    [["MATCH", "*.tar.gz", "WITH", "PRODUCTS", "FROM", "build"]],
                    [built, ["CREATE", "*.tar.gz.sigstore.json"]],
                ),
            ],
        }
        policy.write_text(
            yaml.safe_dump({"identities": [{"identity": AUTHOR, "issuer": issuer}], "layout": layout}, sort_keys=False)
        )
        stack.placet("system", "update", SYSTEM, "--policy", str(policy))
        stack.policy = policy
        yield stack


@pytest.fixture(scope="module")
def liar(stack):
    liar = Meddler(stack.server)
    liar.start()
    yield liar
    liar.stop()


class People:
    """Who signs links of the step test, each with the real Sigstore."""

    def __init__(self, stack):
        trust = TrustConfig.from_file(stack.sigstore.trust_config)
        self._sessions = {one: Session(stack.sigstore, trust, one) for one in (TESTER, REVIEWER, STRANGER)}

    def link(self, who, report=b"passed\n", command=("sh", "-c", "check")):
        products = [statements.resource("report", digest_of(report))]
        statement = statements.link("test", command=list(command), materials=[], products=products)
        return self._sessions[who].sign(statement)


@pytest.fixture(scope="module")
def people(stack):
    return People(stack)


def release(bundle, *links, of=None):
    """The files of a release: its own links of build and sign, or those `of` another, and these of the step test."""
    lines = (of or bundle).with_name(f"{(of or bundle).name}.attestations.jsonl").read_bytes().splitlines()
    return {
        BUNDLE_FILE: bundle.read_bytes(),
        SIGNATURE_FILE: bundle.with_name(f"{bundle.name}.sigstore.json").read_bytes(),
        ATTESTATIONS_FILE: b"".join(line + b"\n" for line in (*lines, *links)),
    }


def sent(stack, files):
    """The control plane's answer to a release: HTTP status, reason code and field."""
    names = {"bundle": BUNDLE_FILE, "signature": SIGNATURE_FILE, "attestations": ATTESTATIONS_FILE}
    answer = httpx.post(
        f"{stack.server}/api/v1/systems/{SYSTEM}/releases",
        files={part: files[name] for part, name in names.items()},
        headers=stack.authorization(),
        timeout=60,
        trust_env=False,
    )
    body = answer.json()
    return answer.status_code, body.get("reason"), body.get("field")


def says(sidecar, code, detail):
    return any(one["code"] == code and detail in one["detail"] for one in sidecar.status().get("reasons", []))


def asked(stack, sidecar):
    caller = Caller(sidecar.port, sidecar.ca)
    try:
        return caller.ask(stack.request("read")).decision.allow
    finally:
        caller.close()


def test_a_system_that_demands_a_layout(stack, liar, people):
    # What people do: two test, the author builds, signs and publishes. The demo's policies lie in `policies`.
    first = stack.build("v1")
    steps = ["step", "run", "test", "--materials", "policies/v1", "--products", "report"]
    trusted = ["--trust-config", str(stack.sigstore.trust_config)]
    links = []
    for who in (TESTER, REVIEWER):
        links += ["--link", str(stack.directory / f"{who}.link.sigstore.json")]
        command = [*steps, "-o", links[-1], *trusted, "--", "sh", "-c", "echo passed > report"]
        stack.placet(*command, environment=stack.identity(who), cwd=stack.directory)
    stack.placet("bundle", "sign", str(first), *links, *trusted, environment=stack.identity(AUTHOR))
    taken = stack.publish(first)["release"]
    sidecar = stack.start_sidecar("sidecar-a", server=liar.url, policy=stack.policy)
    assert sidecar.status()["release"] == taken == digest_of(first.read_bytes())
    assert asked(stack, sidecar)

    # The next release, by other ways than the layout's.
    second = stack.sign(stack.build("v2", {"review_from": 200}))
    tested, reviewed = people.link(TESTER), people.link(REVIEWER)
    other = people.link(REVIEWER, report=b"failed\n")
    outside = {
        "nobody signed a link of the step test": (release(second), Reason.EVIDENCE_LAYOUT, "steps.test"),
        "1 of 2 functionaries signed the step test": (
            release(second, tested),
            Reason.EVIDENCE_LAYOUT,
            "steps.test.threshold",
        ),
        f"signed by {STRANGER}": (
            release(second, tested, people.link(STRANGER)),
            Reason.EVIDENCE_IDENTITY,
            "certificate.identity",
        ),
        "two links of the step test say different things": (
            release(second, tested, other),
            Reason.EVIDENCE_LAYOUT,
            "steps.test",
        ),
        "the bundle is no product of the last step, sign": (
            # The links of another release, which were all made as the layout says.
            release(second, of=first),
            Reason.EVIDENCE_LAYOUT,
            "steps.sign",
        ),
    }
    # One person's two links, of two certificates, are one functionary's.
    again = release(second, tested, people.link(TESTER))
    assert sent(stack, again) == (422, Reason.EVIDENCE_LAYOUT, "steps.test.threshold")

    for detail, (files, reason, field) in outside.items():
        assert sent(stack, files) == (422, reason, field), detail
        # The control plane is made to hand it out all the same, under its own good keys.
        lie(liar, stack, files)
        eventually(f"refused: {detail}", lambda d=detail, r=reason: says(sidecar, r, d), within=20)
        assert sidecar.status()["release"] == taken
        assert sidecar.status()["sequence"] == 1
    assert asked(stack, sidecar), "the release of the layout is not enforced any more"

    # One that knows no earlier release stays closed, for that reason.
    files, reason, _ = outside["nobody signed a link of the step test"]
    lie(liar, stack, files)
    closed = stack.start_sidecar("sidecar-b", server=liar.url, policy=stack.policy, wait=False)
    eventually("refused at its start", lambda: says(closed, reason, "nobody signed a link of the step test"))
    assert closed.status()["release"] is None
    assert closed.status()["healthy"] is False

    # With what the layout demands both take it, of whoever hands it out; and the control plane does.
    whole = release(second, tested, reviewed)
    assert sent(stack, whole)[0] == 201
    lie(liar, stack, whole)
    for one in (sidecar, closed):
        eventually("taken", lambda one=one: one.status().get("release") == digest_of(whole[BUNDLE_FILE]))
        eventually("in force", lambda one=one: asked(stack, one), within=HORIZON)

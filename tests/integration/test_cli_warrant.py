"""`placet warrant` as people use it: against a real control plane and Sigstore, and offline."""

import json
import time

import httpx
import jwt
import pytest

from app.core import holder_keys
from app.core.warrants import read

from .control_kit import ControlPlane, placet

pytestmark = pytest.mark.stack

DEVELOPER, LEAD = "dev@example.org", "lead@example.org"
SUBJECT = "spiffe://example.org/job-17"
PARTNER = "https://tokens.partner.example"
AUDIENCE = "spiffe://example.org/system/payments"


@pytest.fixture(scope="module")
def plane(tmp_path_factory, sigstore, opa_binary):
    directory = tmp_path_factory.mktemp("plane")
    running = ControlPlane(directory / "control", sigstore, opa_binary)
    signer = ["--certificate-identity", DEVELOPER, "--certificate-oidc-issuer", sigstore.issuer_url]
    running.run("system", "create", "payments", *signer)
    running.run("system", "create", "refunds", *signer)
    keys = directory / "keys.json"
    keys.write_text(json.dumps({"keys": [holder_keys.generate().jwk | {"kid": "1"}]}))
    named = ["--names", "spiffe://example.org/"]
    running.run("issuer", "add", sigstore.issuer_url, "--jwks", keys, "--audience", "payments", *named)
    approvers = [{"identity": LEAD, "issuer": sigstore.issuer_url}]
    governance = directory / "governance.yaml"
    governance.write_text(json.dumps({"approval": {"required": True, "approvers": approvers}}))
    running.run("governance", "set", "refunds", "--file", governance)
    yield running
    running.stop()


@pytest.fixture
def keys(tmp_path):
    """Two holders' keys as the command makes them, the second one encrypted."""
    placet("warrant", "key", "new", tmp_path / "agent.pem")
    placet("warrant", "key", "new", tmp_path / "partner.pem", "--alg", "ES256", PLACET_KEY_PASSPHRASE="a phrase")
    return tmp_path


def issue(plane, *more, system="payments", expect=0, output=("--output", "json")):
    return plane.run(
        "warrant", "issue", "--system", system, "--subject", f"{plane.sigstore.issuer_url}#{SUBJECT}",
        "--action", "refund", "--action", "read*", "--resource", "payment/*", *more, *output, expect=expect,
    )  # fmt: skip


def test_a_warrant_is_issued_listed_verified_and_revoked(plane, tmp_path):
    file = tmp_path / "job.warrant"
    shown = json.loads(issue(plane, "--constraint", "amount<=100", "--uses", "3", "-o", file).stdout)
    assert shown["status"] == "issued"
    assert "token" not in shown
    assert file.stat().st_mode & 0o777 == 0o600
    claims = read(file.read_text().strip()).claims
    assert (claims.jti, claims.uses, claims.audiences) == (shown["id"], 3, [AUDIENCE])
    assert claims.exp - claims.iat == 900

    (row,) = [row for row in plane.json("warrant", "list", "--system", "payments") if row["id"] == shown["id"]]
    assert (row["status"], row["uses_left"]) == ("issued", 3)
    assert row["subject"] == {"issuer": plane.sigstore.issuer_url, "id": SUBJECT}
    others = plane.json("warrant", "list", "--system", "payments", "--subject", "https://nobody.example#x")
    assert others == []

    asked = ["--action", "refund", "--resource", "payment/p-1"]
    verified = plane.json("warrant", "verify", file, "--system", "payments", *asked)
    assert (verified["ids"], verified["holders_checked"]) == ([shown["id"]], True)
    refused = plane.json("warrant", "verify", file, "--system", "payments", "--action", "delete", expect=3)
    assert refused["reason"] == "warrant.action"
    assert "warrant.audience" in plane.run("warrant", "verify", file, "--system", "refunds", expect=3).stderr

    plane.run("warrant", "revoke", shown["id"], "--system", "payments", "--reason", "no longer needed")
    (row,) = plane.json("warrant", "list", "--system", "payments", "--status", "revoked")
    assert row["id"] == shown["id"]
    assert "warrant.revoked" in plane.run("warrant", "fetch", shown["id"], "--system", "payments", expect=3).stderr
    assert "warrant.revoked" in plane.run("warrant", "verify", file, "--system", "payments", expect=3).stderr


def test_the_token_goes_to_stdout_alone_so_that_it_can_be_piped(plane):
    done = issue(plane, output=())
    assert read(done.stdout.strip()).claims.sub == SUBJECT
    inspected = placet("warrant", "inspect", "-", stdin=done.stdout)
    assert "Not verified" in inspected.stderr
    assert SUBJECT in inspected.stdout


def test_asking_again_with_the_same_key_gives_the_same_warrant(plane):
    first, again = (json.loads(issue(plane, "--idempotency-key", "once").stdout) for _ in range(2))
    assert read(first["token"]).claims == read(again["token"]).claims


def test_a_warrant_is_delegated_offline_to_another_domain(plane, keys):
    root, chain = keys / "root.warrant", keys / "chain.warrant"
    issue(plane, "--holder-key", keys / "agent.pem.jwk", "--depth", "2", "-o", root)
    to = ["--to", f"{PARTNER}#agent-2", "--holder-key", keys / "partner.pem.jwk", "--depth", "1"]
    placet("warrant", "delegate", root, "--key", keys / "agent.pem", *to, "--action", "read:a", "-o", chain)
    assert chain.stat().st_mode & 0o777 == 0o600

    further = ["warrant", "delegate", chain, "--key", keys / "partner.pem", "--to", f"{PARTNER}#agent-3"]
    assert "passphrase" in placet(*further, expect=2).stderr
    passphrase = keys / "passphrase"
    passphrase.write_text("a phrase\n")
    further += ["--passphrase-file", passphrase]
    wider = placet(*further, "--action", "read*", expect=3)
    assert "warrant.widened: actions is wider" in wider.stderr
    assert wider.stdout == ""
    whole = placet(*further, "--lifetime", "60s").stdout
    assert len(whole.split()) == 3

    shown = json.loads(placet("warrant", "inspect", "-", "--output", "json", stdin=whole).stdout)
    assert [row["subject"] for row in shown["warrants"]][1:] == [f"{PARTNER}#agent-2", f"{PARTNER}#agent-3"]
    assert shown["remains"]["actions"] == ["read:a"]
    assert 0 < shown["remains"]["seconds_left"] <= 60

    trust = keys / "trust.json"
    with httpx.Client(headers={"Authorization": f"Bearer {plane.token_file.read_text().strip()}"}) as http:
        published = http.get(f"{plane.url}/api/v1/warrant-issuers").json()["issuers"][0]
    trust.write_text(json.dumps({name: published[name] for name in ("issuer", "keys")}))
    offline = ["warrant", "verify", "-", "--trust", trust, "--audience", AUDIENCE, "--output", "json"]
    assert json.loads(placet(*offline, stdin=whole).stdout)["holder"] == f"{PARTNER}#agent-3"
    late = json.loads(placet(*offline, "--at", "+1h", stdin=whole, expect=3).stdout)
    assert late["reason"] == "warrant.expired"

    # The control plane knows who may hold warrants: nobody of this domain, which is not linked.
    (keys / "whole").write_text(whole)
    unlinked = plane.run("warrant", "verify", keys / "whole", "--system", "payments", expect=3)
    assert "warrant.domain" in unlinked.stderr
    revoked = plane.json("warrant", "revoke", "--file", keys / "whole", "--system", "payments")
    assert revoked["revoked"] == shown["warrants"][-1]["id"]


def test_an_approver_signs_what_a_warrant_will_allow(plane, tmp_path):
    file, token = tmp_path / "job.warrant", tmp_path / "lead.jwt"
    asked = issue(plane, "--reason", "ticket 12", "-o", file, system="refunds", expect=3)
    pending = json.loads(asked.stdout)
    assert pending["status"] == "pending"
    assert "warrant.unapproved" in asked.stderr
    assert not file.exists()
    where = [pending["id"], "--system", "refunds"]
    assert "warrant.unapproved" in plane.run("warrant", "fetch", *where, "-o", file, expect=3).stderr

    signing = ["--trust-config", plane.sigstore.trust_config, "--identity-token", token]
    token.write_text(plane.sigstore.token(DEVELOPER))
    token.chmod(0o600)
    assert "give --yes" in plane.run("warrant", "approve", *where, *signing, expect=2).stderr
    stranger = plane.run("warrant", "approve", *where, *signing, "--yes", expect=3)
    assert "evidence.identity" in stranger.stderr

    token.write_text(plane.sigstore.token(LEAD))
    token.chmod(0o600)
    approved = plane.run("warrant", "approve", *where, *signing, "--yes", "--output", "json")
    assert json.loads(approved.stdout)["identity"] == LEAD
    assert "ticket 12" in approved.stderr
    plane.run("warrant", "fetch", *where, "-o", file)
    claims = read(file.read_text().strip()).claims
    assert (claims.jti, claims.actions) == (pending["id"], ["refund", "read*"])
    assert "only a pending one" in plane.run("warrant", "approve", *where, *signing, "--yes", expect=2).stderr


def test_keys_rotate_and_what_the_old_one_signed_stays_valid(plane, tmp_path):
    before = tmp_path / "before.warrant"
    issue(plane, "-o", before)
    rows = plane.json("warrant", "key", "rotate", "--lead", "1s")
    old = read(before.read_text().strip()).kid
    assert {row["kid"]: row["status"] for row in rows if row["purpose"] == "warrant"}[old] == "current"
    time.sleep(1.2)
    after = tmp_path / "after.warrant"
    issue(plane, "-o", after)
    assert read(after.read_text().strip()).kid != old
    for file in (before, after):
        plane.run("warrant", "verify", file, "--system", "payments")
    plane.run("warrant", "key", "withdraw", old)
    assert "warrant.key_unknown" in plane.run("warrant", "verify", before, "--system", "payments", expect=3).stderr
    assert "gone" in {row["status"] for row in plane.json("warrant", "key", "list")}


REFUSED = {
    "a pattern with two stars": (["--action", "a*b*"], "actions"),
    "a lifetime without end": (["--lifetime", "forever"], "--lifetime is a time"),
    "a lifetime that is too long": (["--lifetime", "365d"], "lifetime_seconds"),
    "depth without a key": (["--depth", "1"], "--holder-key"),
    "a constraint of another form": (["--constraint", "amount<100"], "--constraint"),
    "a time without a zone": (["--not-before", "2030-01-01T00:00:00"], "needs a time zone"),
    "an actor without an issuer": (["--actor", "bot"], "--actor is ISSUER#ID"),
}


@pytest.mark.parametrize(("more", "said"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(plane, more, said):
    refused = issue(plane, *more, expect=2)
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_files_are_not_overwritten_and_secrets_are_not_arguments(plane, keys):
    for arguments in (
        ["warrant", "key", "new", keys / "agent.pem"],
        [
            "warrant",
            "issue",
            "--system",
            "payments",
            "--subject",
            "i#a",
            "--action",
            "a",
            "--resource",
            "b/c",
            "-o",
            keys / "agent.pem",
        ],
    ):
        assert "exists" in plane_free(*arguments)
    token = jwt.encode({}, "x" * 32)
    assert "visible to the whole machine" in placet("warrant", "inspect", token, expect=2).stderr
    assert "private key" in issue(plane, "--holder-key", keys / "agent.pem", expect=2).stderr


def plane_free(*arguments):
    return placet(*arguments, expect=2, PLACET_TOKEN="placet_a_b").stderr


def test_what_a_token_says_cannot_control_the_terminal(tmp_path):
    from tests.unit.core.chains import root

    evil = tmp_path / "evil.warrant"
    evil.write_text(root(actions=["\x1b[2J[/red]\u202e"], iss="[bold]x[/nothing]"))
    shown = placet("warrant", "inspect", evil)
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "[bold]x[/nothing]" in shown.stdout
    assert "\u202e" not in shown.stdout

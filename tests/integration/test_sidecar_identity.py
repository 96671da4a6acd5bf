"""Sidecars sign with Sigstore as themselves: the control plane is the issuer that a real Fulcio believes."""

import base64
import json
import os
import re
import signal
import stat
import subprocess
import time
from hashlib import sha256

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from app.core import statements, strict_json
from app.core.errors import Denied, PlacetError
from app.core.evidence import verify_evidence
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.ports import free_port
from app.local.sigstore import LocalSigstore
from app.sidecar import joining
from app.sidecar.config import SidecarFiles

from .control_kit import PLACET, REPOSITORY, ControlPlane, placet
from .proof_stand import SpiffeIssuer

pytestmark = pytest.mark.stack

DOMAIN = "example.org"
ONE = f"spiffe://{DOMAIN}/sidecar/payments/one"
ROOT = sha256(b"root").hexdigest()
SUBJECT = f"sha256:{ROOT}"
STATEMENT = strict_json.canonical(
    {
        "_type": statements.STATEMENT,
        "subject": [{"name": "decision-batch", "digest": {"sha256": ROOT}}],
        "predicateType": "https://placet.dev/decision-batch/v1",
        "predicate": {},
    }
)


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def partner():
    """The issuer of another trust domain, which answers from the start."""
    with SpiffeIssuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def stack(tmp_path_factory, port, partner):
    """Started before the control plane: nobody answers at that issuer's address yet, and it does not mind."""
    spiffe = {f"http://127.0.0.1:{port}": DOMAIN, partner.url: "partner.example"}
    with LocalSigstore(tmp_path_factory.mktemp("sigstore"), spiffe_issuers=spiffe) as running:
        assert all(running.status().values())
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
        yield running


@pytest.fixture(scope="module")
def trust(stack):
    return TrustConfig.from_file(stack.trust_config)


@pytest.fixture(scope="module")
def plane(tmp_path_factory, stack, opa_binary, port):
    running = ControlPlane(tmp_path_factory.mktemp("plane") / "control", stack, opa_binary, port=port)
    running.run(
        *("system", "create", "payments", "--certificate-identity", "dev@example.org"),
        *("--certificate-oidc-issuer", stack.issuer_url),
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(plane, tmp_path_factory):
    """A token that is bound to the sidecar `one`."""
    file = tmp_path_factory.mktemp("token") / "one.token"
    options = [part for scope in ("record:write", "execution:write") for part in ("--scope", scope)]
    plane.run("token", "create", "one", *options, "--system", "payments", "--sidecar", "one", "-o", file)
    return file.read_text().strip()


def identity(plane, token, sidecar="one"):
    answer = httpx.post(
        f"{plane.url}/api/v1/systems/payments/sidecars/{sidecar}/identity",
        headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


def certificate(bundle):
    material = json.loads(bundle)["verificationMaterial"]
    raw = material["certificate"]["rawBytes"]
    return x509.load_der_x509_certificate(base64.b64decode(raw))


def policy(name, issuer):
    return VerificationPolicy(identities=[SignerIdentity(identity=name, issuer=issuer)])


def test_a_token_of_the_control_plane_becomes_evidence(plane, token, trust):
    """Token, certificate, signature, log, verification: nothing in between knows Placet."""
    session = SigningSession(trust, identity(plane, token))
    evidence = session.sign(STATEMENT)
    names = certificate(evidence).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [(type(name), name.value) for name in names] == [(x509.UniformResourceIdentifier, ONE)]
    verified = verify_evidence(
        evidence, subject=SUBJECT, policy=policy(ONE, plane.url), trust=trust, step="decision batch"
    )
    assert verified.signer == SignerIdentity(identity=ONE, issuer=plane.url)
    for other in (policy(ONE.replace("one", "two"), plane.url), policy(ONE, "http://127.0.0.1:1")):
        with pytest.raises(Denied, match=r"evidence\.identity"):
            verify_evidence(evidence, subject=SUBJECT, policy=other, trust=trust, step="decision batch")


def test_trust_domains_are_not_mixed(partner, plane, token, stack, trust):
    """What an issuer says of another's trust domain gets no certificate, though both are trusted."""
    assert SigningSession(trust, partner.token("spiffe://partner.example/sidecar/payments/one"))
    for stranger in (ONE, f"spiffe://{DOMAIN}", "spiffe://partner.example.org/x", "dev@example.org", "payments"):
        with pytest.raises(PlacetError, match="cannot get a signing certificate"):
            SigningSession(trust, partner.token(stranger))
    ours = identity(plane, token)
    claims = jwt.decode(ours, options={"verify_signature": False})
    key = ec.generate_private_key(ec.SECP256R1())
    header = {"kid": jwt.get_unverified_header(ours)["kid"]}
    forged = jwt.encode(claims, key, algorithm="ES256", headers=header)
    theirs = jwt.encode(claims | {"iss": partner.url}, partner._key, algorithm="ES256", headers={"kid": "k"})
    borrowed = jwt.encode(claims, partner._key, algorithm="ES256", headers={"kid": "k"})
    for wrong in (forged, theirs, borrowed):
        with pytest.raises(PlacetError, match="cannot get a signing certificate"):
            SigningSession(trust, wrong)


def test_the_key_rotates_under_fulcio_and_a_withdrawn_one_is_believed_until_it_asks_again(plane, token, trust):
    """Fulcio keeps the keys that it fetched until a token names one that it does not know (docs/keys.md)."""
    old = identity(plane, token)
    assert SigningSession(trust, old)
    rotated = plane.json("warrant", "key", "rotate", "--purpose", "identity", "--lead", "1s")
    assert [one["status"] for one in rotated[:2]] == ["next", "current"]
    deadline = time.monotonic() + 30
    while jwt.get_unverified_header(new := identity(plane, token))["kid"] != rotated[0]["kid"]:
        assert SigningSession(trust, new), "until then the old one signs"
        assert time.monotonic() < deadline
    plane.run("warrant", "key", "withdraw", jwt.get_unverified_header(old)["kid"])
    assert SigningSession(trust, old), "it has not asked again yet"
    assert SigningSession(trust, new)
    with pytest.raises(PlacetError, match="cannot get a signing certificate"):
        SigningSession(trust, old)


def test_another_address_can_be_the_issuer(plane, stack, opa_binary):
    """A second process of the same control plane, such as one behind a proxy."""
    port = free_port()
    command = [PLACET, "server", "run", "--dir", plane.directory, "--port", port, "--opa", opa_binary]
    command += ["--trust-config", stack.trust_config, "--identity-issuer", "https://placet.example.org"]
    behind = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        discovery = httpx.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration", trust_env=False).json()
        assert discovery["issuer"] == "https://placet.example.org"
        assert discovery["jwks_uri"] == "https://placet.example.org/oauth/identity-keys"
    finally:
        behind.terminate()
        said = behind.communicate(timeout=60)[1]
    assert "It issues its sidecars' identities as https://placet.example.org (--identity-issuer)" in said
    wrong = placet("server", "run", "--dir", plane.directory, "--identity-issuer", "http://x.example", expect=2)
    assert wrong.stderr.strip().splitlines() == [
        "placet: --identity-issuer must be https: over plain http anyone on the way could give its keys"
    ]


# ---- joining, as people do it ------------------------------------------------------------------------------


class Sidecar:
    """`placet sidecar run` as a process."""

    def __init__(self, plane, stack, opa, directory, *options, name="two", **environment):
        command = [
            PLACET, "sidecar", "run", "--system", "payments", "--channel", "prod", "--name", name,
            "--dir", directory, "--port", free_port(), "--server", plane.url,
            "--tuf-root", plane.directory / "tuf-root.json", "--trust-config", stack.trust_config,
            "--certificate-identity", "dev@example.org", "--certificate-oidc-issuer", stack.issuer_url,
            "--opa", opa, "--reserve", "1MiB", "--record-space", "4MiB", *options,
        ]  # fmt: skip
        without = {name: value for name, value in os.environ.items() if name != "PLACET_TOKEN"}
        self.process = subprocess.Popen(
            [*map(str, command)], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, env=without | environment
        )

    def end(self, number=signal.SIGTERM):
        """End it; returns what it said."""
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said

    def refused(self, code=1):
        """What it said before it ended by itself, with this exit code."""
        said = self.process.communicate(timeout=60)[1].strip()
        assert self.process.returncode == code, said
        return said


def shown(plane, name="two"):
    with plane.api() as api:
        found = [one for one in api.get("/api/v1/systems/payments/sidecars").json() if one["sidecar"] == name]
    return found[0] if found else {"condition": None, "at": None}


def condition(plane, name="two"):
    return shown(plane, name)["condition"]


def answers(url):
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def until(check, seconds=60):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_sidecar_joins_once_and_goes_on_with_its_own_token(plane, stack, opa_binary, tmp_path, trust):
    join, directory = tmp_path / "join.token", tmp_path / "two"
    invited = plane.json("sidecar", "invite", "payments", "two", "--expires", "5m", "-o", join)
    assert "join_token" not in invited
    assert stat.S_IMODE(join.stat().st_mode) == 0o600

    first = Sidecar(plane, stack, opa_binary, directory, "--join-token", join)
    until(lambda: condition(plane) == "unhealthy")  # heard of; nothing is published on its channel yet
    kept = directory / "private" / "enrolment.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    mine = json.loads(kept.read_text())
    assert (mine["sidecar"], mine["joined_with"]) == ("two", invited["id"])
    assert mine["token"] not in first.end()[1]

    # Somebody who copied the join token comes too late, and that is kept.
    thief = Sidecar(plane, stack, opa_binary, tmp_path / "thief", "--join-token", join)
    assert thief.refused(code=3) == (
        "placet: denied: sidecar.invitation: cannot join: this join token was used already; "
        "ask for another one: placet sidecar invite"
    )
    assert not (tmp_path / "thief" / "private" / "enrolment.json").exists()
    (seen,) = plane.json("sidecar", "invitations", "payments")
    assert (seen["status"], seen["refusals"], seen["refused_from"]) == ("used", 1, "127.0.0.1")

    # Started again with the same arguments, and without the file: it has its own token.
    for options in (("--join-token", join), ()):
        before = shown(plane)["at"]
        again = Sidecar(plane, stack, opa_binary, directory, *options, PLACET_TOKEN="placet_x_y")
        until(lambda before=before: shown(plane)["at"] > before)
        assert again.process.poll() is None
        again.end()
    assert json.loads(kept.read_text()) == mine
    (seen,) = plane.json("sidecar", "invitations", "payments")
    assert seen["refusals"] == 1

    # It signs as itself, until it is evicted.
    assert SigningSession(trust, identity(plane, mine["token"], "two")).identity.endswith("/sidecar/payments/two")
    evicted = plane.json("sidecar", "evict", "payments", "two", "--reason", "its host was broken into")
    assert (evicted["evicted_by"], evicted["reason"]) == ("first administrator", "its host was broken into")
    (listed,) = plane.json("sidecar", "list", "payments")
    assert (listed["condition"], listed["evicted"]["by"]) == ("evicted", "first administrator")
    answer = httpx.post(
        f"{plane.url}/api/v1/systems/payments/sidecars/two/identity",
        headers={"Authorization": f"Bearer {mine['token']}"}, trust_env=False,
    )  # fmt: skip
    assert (answer.status_code, answer.json()["reason"]) == (403, "sidecar.evicted")
    refused = plane.run("sidecar", "invite", "payments", "two", expect=3)
    assert re.fullmatch(r"placet: denied: sidecar\.evicted: .*its host was broken into", refused.stderr.strip())
    readmitted = plane.run("sidecar", "readmit", "payments", "two")
    assert "Invite it anew: placet sidecar invite payments two" in readmitted.stderr
    plane.run("sidecar", "invite", "payments", "two", "-o", tmp_path / "again.token")
    anew = Sidecar(plane, stack, opa_binary, directory, "--join-token", tmp_path / "again.token")
    before = shown(plane)["at"]
    until(lambda: shown(plane)["at"] > before)
    anew.end()
    assert json.loads(kept.read_text())["joined_with"] != mine["joined_with"]


def test_what_does_not_fit_is_one_clear_line_and_uses_nothing_up(plane, tmp_path):
    with plane.api() as api:
        path = "/api/v1/systems/payments/sidecars/three/invitations"
        good = api.post(path, json={}).json()["join_token"]
    files = SidecarFiles(tmp_path / "three")
    files.prepare()

    def own(join_token=None, name="three", where=files, server=plane.url):
        return joining.own_token(where, server, None, "payments", name, join_token)

    def fails(text, *arguments, **keywords):
        with pytest.raises(PlacetError) as caught:
            own(*arguments, **keywords)
        assert str(caught.value) == text

    assert own() is None
    malformed = "the join token is malformed; it looks like placet-join_ID_SECRET"
    for text in ("", "hello", "a_b", "placet-join_é_x", "placet-join_a_b c", "placet-join_a_b\nc"):
        fails(malformed, text)
    denied = "sidecar.invitation: cannot join: this join token is"
    fails(f"{denied} not known here", "placet-join_ab_cd")
    fails(f"{denied} for the sidecar three of payments", good, name="four")
    with pytest.raises(PlacetError, match="cannot join: the control plane does not answer"):
        own(good, server="http://127.0.0.1:1")
    assert not joining.kept(files).exists()
    mine = own(good)
    assert own(good) == own() == mine

    other = f"{files.root} is the directory of the sidecar three of payments; give this one a directory of its own"
    fails(other, name="four")
    kept = joining.kept(files)
    kept.chmod(0o640)
    fails(f"others can read {kept}; have this sidecar's token revoked, and invite it anew")
    kept.chmod(0o600)
    for spoilt in ("", "[]", "{}", '{"token": 1, "system": "payments", "sidecar": "three", "joined_with": "x"}'):
        kept.write_text(spoilt)
        fails(f"{kept} is damaged; delete it, and invite this sidecar anew")


def test_wrong_usage_of_the_commands(plane, stack, opa_binary, tmp_path):
    missing = tmp_path / "join.token"
    unreadable = Sidecar(plane, stack, opa_binary, tmp_path / "x", "--join-token", missing)
    both = Sidecar(plane, stack, opa_binary, tmp_path / "x", "--join-token", missing, "--token-file", missing)
    for sidecar, text in (
        (unreadable, f"cannot read the join token {missing}: No such file or directory"),
        (both, "give one of --token-file, --join-token and --identity-token"),
    ):
        said = sidecar.process.communicate(timeout=60)[1].strip()
        assert (sidecar.process.returncode, said) == (2, f"placet: {text}")
    plane.run("token", "create", "x", "--scope", "record:write", "--sidecar", "one", expect=2)
    plane.run("sidecar", "invite", "payments", "two", "--expires", "soon", expect=2)
    plane.run("sidecar", "invite", "payments", "two", "--expires", "2d", expect=2)
    hyphen = plane.run("warrant", "key", "withdraw", "-njTSygPd3eYghvb", expect=1)
    assert hyphen.stderr.strip() == "placet: there is no key -njTSygPd3eYghvb that could be withdrawn"

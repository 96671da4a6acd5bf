"""Warrants as a served control plane gives them: key rotation under load, token exchange, and crashes."""

import json
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import jwt
import pytest
from tuf.ngclient import Updater

from app.control.keyring import PURPOSES
from app.control.signing_keys import ONLINE_ROLES
from app.core.warrants import read
from tests.integration.test_control_plane import Server, initialised, placet
from tests.integration.test_control_plane import database as database

pytestmark = pytest.mark.stack

JWT = "urn:ietf:params:oauth:token-type:jwt"
AUDIENCE = "spiffe://placet.internal/system/payments"


@pytest.fixture
def server(tmp_path, database, sigstore, opa_binary):
    running = Server(initialised(tmp_path / "control", database), sigstore.trust_config, opa_binary).start()
    prepare(running, sigstore)
    yield running
    running.stop()


def prepare(server, sigstore):
    """A system and the local Sigstore's own OIDC issuer, which vouches for workloads too."""
    identity = ["--certificate-identity", "dev@example.org", "--certificate-oidc-issuer", sigstore.issuer_url]
    server.placet("system", "create", "payments", *identity)
    with server.api() as api:
        body = {"issuer": sigstore.issuer_url, "audiences": ["payments"], "jwks": sigstore.jwks()}
        answer = api.post("/api/v1/issuers", json=body)
        assert answer.is_success, answer.text


def request(sigstore, **changes):
    return {
        "subject": {"issuer": sigstore.issuer_url, "id": "job-17"},
        "actions": ["refund"],
        "resources": ["payment/*"],
        "lifetime_seconds": 300,
        **changes,
    }


def issue(api, sigstore, **changes):
    answer = api.post("/api/v1/systems/payments/warrants", json=request(sigstore, **changes))
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


def published_keys(server, cache):
    """The keys of warrants as python-tuf's own client finds them now."""
    (cache / "targets").mkdir(parents=True, exist_ok=True)
    client = Updater(
        metadata_dir=str(cache),
        metadata_base_url=f"{server.url}/tuf/metadata/",
        target_dir=str(cache / "targets"),
        target_base_url=f"{server.url}/tuf/targets/",
        bootstrap=(server.directory / "tuf-root.json").read_bytes(),
    )
    client.refresh()
    path = client.download_target(client.get_targetinfo("state.json"))
    (signer,) = json.loads(Path(path).read_bytes())["warrant_issuers"]
    return signer["keys"]


def test_keys_rotate_under_load_without_a_gap(server, sigstore, tmp_path):
    """Whoever looked at the published keys less than the lead ago can verify every warrant, through two rotations."""
    lead, publishing = 8, 4  # seconds; the lead begins when it is asked for, and the key is published a little later
    issued, looked, over = [], [], threading.Event()

    def ask():
        with server.api() as api:
            while not over.is_set():
                token = issue(api, sigstore)
                issued.append((time.monotonic(), token))

    def look():
        while not over.is_set():
            began = time.monotonic()
            looked.append((began, published_keys(server, tmp_path / "cache")))
            time.sleep(0.1)

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(work) for work in (ask, ask, look)]
        try:
            for _ in range(2):
                with server.api() as api:
                    answer = api.post("/api/v1/signing-keys/warrant/rotate", json={"lead_seconds": lead})
                    assert answer.status_code == 201, answer.text
                coming = answer.json()[0]["kid"]
                wait_for(lambda: issued and kid_of(issued[-1][1]) == coming)  # noqa: B023 - waited for here
        finally:
            over.set()
        for one in running:
            one.result()
    judged = set()
    for at, token in issued:
        for began, keys in looked:
            if at - lead + publishing < began < at:
                judged.add(kid_of(token))
                assert kid_of(token) in keys, "signed by a key that was not published for the lead"
                assert jwt.decode(token, jwt.PyJWK(keys[kid_of(token)]), algorithms=["EdDSA"], audience=AUDIENCE)
                break
    assert len(judged) == 3, "each of the three keys signed while somebody looked"
    everything = published_keys(server, tmp_path / "cache")
    assert {kid_of(token) for _, token in issued} <= set(everything), "what the retired keys signed is still good"


def kid_of(token):
    return jwt.get_unverified_header(token)["kid"]


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_an_oidc_token_is_exchanged_and_nothing_of_it_is_left(server, sigstore, tmp_path):
    """The exchange as a gateway makes it, with tokens of a real issuer; then every byte on disk is looked through."""
    governance = {
        "exchange": [
            {
                "issuer": sigstore.issuer_url,
                "subject": "spiffe://placet.internal/*",
                "actions": ["refund"],
                "resources": ["payment/*"],
                "max_lifetime_seconds": 300,
            }
        ]
    }
    with server.api() as api:
        body = {"issuer": sigstore.issuer_url, "audiences": ["payments"], "jwks": sigstore.jwks()}
        body |= {"names": "spiffe://placet.internal/"}
        assert api.post("/api/v1/issuers", json=body).is_success
        path = "/api/v1/systems/payments/governance"
        answer = api.put(path, json={"document": governance, "version": api.get(path).json()["version"]})
        assert answer.status_code == 200, answer.text
    subject = sigstore.token("spiffe://placet.internal/job-17", audience="payments")
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": subject,
        "subject_token_type": JWT,
        "audience": AUDIENCE,
        "scope": "refund",
    }
    answer = httpx.post(f"{server.url}/oauth/token", data=form, timeout=30)
    assert answer.status_code == 200, answer.text
    warrant = answer.json()["access_token"]
    claims = read(warrant).claims
    assert (claims.sub, claims.actions) == ("spiffe://placet.internal/job-17", ["refund"])
    other = sigstore.token("spiffe://placet.internal/job-17", audience="ledger")
    refused = httpx.post(f"{server.url}/oauth/token", data=form | {"subject_token": other}, timeout=30)
    assert (refused.status_code, refused.json()["reason"]) == (400, "identity.audience")
    log = server.process.stderr
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=30)
    left = log.read()
    files = [path.read_bytes() for path in server.directory.rglob("*") if path.is_file()]
    for token in (subject, other, warrant):
        for part in token.split(".")[1:]:
            assert part not in left
            assert not [file for file in files if part.encode() in file]


def test_killing_the_control_plane_never_gives_a_use_away(server, sigstore):
    """20 uses, three crashes while sidecars redeem: what was confirmed is counted, and never more than 20."""
    with server.api() as api:
        token = issue(api, sigstore, uses=20)
    claims = read(token).claims
    warrant = {"jti": claims.jti, "issuer": claims.iss, "uses": 20, "expires_at": claims.exp}
    headers = {"Authorization": f"Bearer {server.token_file.read_text().strip()}"}
    confirmed, too_late, spent, over = set(), set(), [], threading.Event()

    def sidecar(name):
        with httpx.Client(base_url=server.url, headers=headers, timeout=5) as client:
            while not over.is_set():
                body = {
                    "execution": uuid.uuid4().hex,
                    "sidecar": name,
                    "instance": "i1",
                    "subject": {"issuer": sigstore.issuer_url, "id": "job-17"},
                    "warrants": [warrant],
                }
                while not redeemed(client, body) and not over.is_set():
                    time.sleep(0.2)  # as an agent does: the same execution again, until there is an answer
                time.sleep(0.1)

    def redeemed(client, body):
        with suppress(httpx.HTTPError):
            answer = client.post("/api/v1/systems/payments/executions", json=body)
            if answer.status_code in {200, 201}:
                confirmed.add(body["execution"])
            elif answer.json().get("reason") == "warrant.spent":
                spent.append(body["execution"])
            elif answer.status_code == 409:
                too_late.add(body["execution"])  # the answer was lost, and the restart took more than a minute
            return answer.status_code < 500
        return False

    threads = [threading.Thread(target=sidecar, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(0.4)
            server.stop(signal.SIGKILL)
            server.start()
        wait_for(lambda: len(spent) >= 3)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    with server.api() as api:
        stored = api.get("/api/v1/systems/payments/executions?limit=200").json()["items"]
        (shown,) = api.get("/api/v1/systems/payments/warrants").json()["items"]
    assert len(stored) == 20
    assert shown["uses_left"] == 0
    assert confirmed | too_late == {one["execution"] for one in stored}, "each use is somebody's, and no other"
    assert confirmed


def test_a_directory_of_the_version_before_gets_its_keys_at_the_next_start(tmp_path, sigstore, opa_binary):
    """Migrated from the first schema: no key is there, and the start makes them."""
    directory = initialised(tmp_path / "control")
    for purpose in PURPOSES:
        for file in (directory / "keys").glob(f"{purpose}-*"):
            file.unlink()
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"sqlite:///{directory / 'placet.db'}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM signing_key"))
    engine.dispose()
    placet("server", "migrate", "--dir", directory)
    running = Server(directory, sigstore.trust_config, opa_binary).start()
    try:
        prepare(running, sigstore)
        with running.api() as api:
            assert issue(api, sigstore)
        assert len(list((directory / "keys").glob("*.pem"))) == len(ONLINE_ROLES) + len(PURPOSES)
    finally:
        running.stop()

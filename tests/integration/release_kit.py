"""A release signed by the real local Sigstore, and what tests do to it: shared by the test_release_* modules."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from app.core import archive, statements
from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.opa import Opa
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification import VerifiedRelease, verify_release
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.sigstore import LocalSigstore

DEVELOPER = "dev@example.org"
TIMES = {"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z"}


def bundle(rule: str = "default allow := false") -> bytes:
    manifest = {"roots": ["app"], "revision": "r1", "metadata": {"placet": {"entrypoint": "app/allow"}}}
    return archive.write_archive(
        {".manifest": json.dumps(manifest).encode(), "a.rego": f"package app\n\n{rule}\n".encode()}
    )


def provenance(of: bytes) -> bytes:
    return statements.provenance(statements.resource("x.tar.gz", digest_of(of)), sources=[], manifest={}, **TIMES)


def link(of: bytes) -> bytes:
    return statements.link("build", command=["make"], materials=[], products=[statements.resource("x", digest_of(of))])


class Session:
    """Signs as one identity for as long as the tests run: a certificate lasts ten minutes, a file of tests longer."""

    def __init__(self, sigstore: LocalSigstore, trust: TrustConfig, identity: str = DEVELOPER) -> None:
        self._sigstore, self._trust, self._identity = sigstore, trust, identity
        self._current: SigningSession | None = None

    def sign(self, statement: bytes) -> bytes:
        current = self._current
        if current is None or current.valid_until - datetime.now(UTC) < timedelta(minutes=2):
            current = self._current = SigningSession(self._trust, self._sigstore.token(self._identity))
        return current.sign(statement)


@dataclass(frozen=True)
class Release:
    """Two releases by one signer: `bundle` with its evidence, and `other` with its own."""

    sigstore: LocalSigstore
    trust: TrustConfig
    opa: Opa
    policy: VerificationPolicy
    session: Session
    bundle: bytes
    signature: bytes
    attestation: bytes
    other: bytes
    other_signature: bytes

    def verify(self, **changed: Any) -> VerifiedRelease:
        """Verify the release with something of it changed. The right thing verifies; so only the change denies."""
        parts = {
            "bundle": self.bundle,
            "signature": self.signature,
            "attestations": [self.attestation],
            "policy": self.policy,
            "trust": self.trust,
            "opa": self.opa,
            **changed,
        }
        return verify_release(parts.pop("bundle"), parts.pop("signature"), parts.pop("attestations"), **parts)

    def denial(self, **changed: Any) -> Denied:
        with pytest.raises(Denied) as denied:
            self.verify(**changed)
        assert "\n" not in str(denied.value)
        return denied.value

    def allow(self, identity: str = DEVELOPER, issuer: str | None = None, **members: Any) -> VerificationPolicy:
        one = SignerIdentity(identity=identity, issuer=issuer or self.sigstore.issuer_url)
        return VerificationPolicy(identities=[one], **members)


@cache
def signed_release(sigstore: LocalSigstore, opa_binary: Any) -> Release:
    """Signed once for each Sigstore. The log has entries before, so that proofs have hashes."""
    trust = TrustConfig.from_file(sigstore.trust_config)
    session = Session(sigstore, trust)
    mine, other = bundle(), bundle("default allow := true")
    other_signature = session.sign(provenance(other))
    signature, attestation = session.sign(provenance(mine)), session.sign(link(mine))
    one = SignerIdentity(identity=DEVELOPER, issuer=sigstore.issuer_url)
    policy = VerificationPolicy(identities=[one])
    return Release(
        sigstore, trust, Opa(opa_binary), policy, session, mine, signature, attestation, other, other_signature
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document, the document itself first."""
    found = [path]
    if isinstance(value, dict | list):
        for name, below in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(below, (*path, name))
    return found


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def without(document: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(document)
    del at(changed, path[:-1])[path[-1]]
    return changed

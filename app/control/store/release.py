"""Releases and their evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table
from app.core.verification_policy import SignerIdentity


class Release(Table, table=True):
    """A bundle that was verified, and the sizes and digests of the files that TUF serves for it."""

    __tablename__ = "release"

    digest: str = Field(primary_key=True, max_length=71)
    revision: str
    entrypoint: str
    roots: list[str] = Field(sa_type=JSON)
    signer_identity: str
    signer_issuer: str
    signed_at: datetime = Field(sa_type=Instant)
    provenance: dict[str, Any] = Field(sa_type=JSON)
    bundle_length: int
    signature_length: int
    signature_sha256: str = Field(max_length=64)
    attestations_length: int
    attestations_sha256: str = Field(max_length=64)
    taken_at: datetime = Field(default_factory=now, sa_type=Instant)


class Evidence(Table, table=True):
    """One attestation of a release, by the SHA-256 of its Sigstore bundle: a set, so repeats change nothing."""

    __tablename__ = "evidence"

    release: str = Field(primary_key=True, foreign_key="release.digest", max_length=71)
    sha256: str = Field(primary_key=True, max_length=64)
    predicate_type: str
    signer_identity: str
    signer_issuer: str
    signed_at: datetime = Field(sa_type=Instant)
    statement: dict[str, Any] = Field(sa_type=JSON)
    #: The Sigstore bundle, JSON on one line, as it was uploaded.
    raw: bytes
    taken_at: datetime = Field(default_factory=now, sa_type=Instant)

    @property
    def signer(self) -> SignerIdentity:
        """Who signed it."""
        return SignerIdentity(identity=self.signer_identity, issuer=self.signer_issuer)

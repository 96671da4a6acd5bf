"""The keys with which the control plane signs warrants, attestation results and sidecars' identities."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class SigningKey(Table, table=True):
    """One key of one purpose: its public half, and where the private one lies. Rows stay: they are evidence.

    What a key is for now follows from the times alone (`app.control.keyring`), so nothing has to run at a moment.
    """

    __tablename__ = "signing_key"

    #: RFC 7638 thumbprint.
    kid: str = Field(primary_key=True, max_length=64)
    purpose: str = Field(max_length=16, index=True)
    #: Where the private key lies, as `app.control.key_store` reads it; no secret.
    uri: str = Field(max_length=2048)
    jwk: dict[str, str] = Field(sa_type=JSON)
    announced_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: It is published before this time and signs from it on, until another key does.
    signs_from: datetime = Field(sa_type=Instant)
    #: Seconds since the epoch: the latest `exp` of what it signed.
    signed_until: int = Field(default=0, sa_type=BigInteger)
    withdrawn_at: datetime | None = Field(default=None, sa_type=Instant)
    announced_by: str | None = Field(default=None, max_length=12)
    withdrawn_by: str | None = Field(default=None, max_length=12)

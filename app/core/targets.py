"""What the control plane publishes through TUF, as documents that it and the sidecar share.

Targets: `SYSTEM/CHANNEL.json` (a `ChannelPointer`), `state.json` (a `PublishedState`) and
`releases/DIGEST/…` (a bundle and its evidence). The signed timestamp carries the time of its issue in a
field of its own (`ISSUED_AT`), from which a sidecar counts its horizon, whatever the metadata's expiry says.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.core import strict_json

#: Member of the signed TUF timestamp: RFC 3339 time of issue in UTC, such as `2026-01-31T12:00:00.000Z`.
ISSUED_AT = "x-placet-issued-at"

STATE_TARGET = "state.json"

BUNDLE_FILE = "bundle.tar.gz"
SIGNATURE_FILE = "bundle.tar.gz.sigstore.json"
ATTESTATIONS_FILE = "bundle.tar.gz.attestations.jsonl"

#: Bytes of the published state at most: OPA takes it whole with every lease, in one request.
MAX_STATE = 96 * 1024

#: Names of systems, channels and sidecars: a DNS label, so that each fits a SPIFFE path and a file name.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]

#: A SHA-256 digest as it is written everywhere: `sha256:` and 64 lower-case hexadecimal digits.
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def encode(self) -> bytes:
        """The document as RFC 8785 bytes."""
        return strict_json.canonical(self.model_dump(mode="json"))


class ChannelPointer(_Document):
    """Which release a channel of a system runs. A rollback is a new, higher sequence to an older release."""

    system: Name
    channel: Name
    sequence: Annotated[int, Field(ge=1, lt=2**53)]
    release: Digest
    #: Seconds that a sidecar may go on after the last signed time of issue that it saw.
    horizon_seconds: Annotated[int, Field(ge=1, le=30 * 86400)]


class QuarantinedSubject(_Document):
    """A verified subject that is denied everything."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    subject: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    reason: Annotated[str, StringConstraints(max_length=1000)]
    #: RFC 3339, UTC.
    since: str


class TrustedIssuer(_Document):
    """An issuer of workload identities: its audiences and its vetted public keys, JWK by key id."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    audiences: Annotated[list[str], Field(min_length=1, max_length=32)]
    keys: Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=64)]


class PublishedState(_Document):
    """What every sidecar must know besides its release."""

    quarantine: list[QuarantinedSubject]
    issuers: list[TrustedIssuer]


def channel_target(system: str, channel: str) -> str:
    """The target path of a channel's pointer."""
    return f"{system}/{channel}.json"


def release_target(digest: str, file: str) -> str:
    """The target path of one file of the release whose bundle has `digest` (`sha256:…`)."""
    return f"releases/{digest.removeprefix('sha256:')}/{file}"

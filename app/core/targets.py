"""What the control plane publishes through TUF, as documents that it and the sidecar share.

Targets: `SYSTEM/CHANNEL.json` (a `ChannelPointer`), `SYSTEM.governance.json` (`app.core.governance`), `state.json`
(a `PublishedState`) and `releases/DIGEST/…` (a bundle and its evidence). The signed timestamp carries the time of its
issue in a field of its own (`ISSUED_AT`), from which a sidecar counts its horizon, whatever the metadata's expiry says.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.core import strict_json

#: Member of the signed TUF timestamp: RFC 3339 time of issue in UTC, such as `2026-01-31T12:00:00.000Z`.
ISSUED_AT = "x-placet-issued-at"

#: Member of the signed TUF root: the control plane's trust domain. The root is signed offline and pinned by sidecars,
#: so that whoever has the control plane cannot take the name of another one, and with it what was signed for that.
DOMAIN = "x-placet-domain"

STATE_TARGET = "state.json"

BUNDLE_FILE = "bundle.tar.gz"
SIGNATURE_FILE = "bundle.tar.gz.sigstore.json"
ATTESTATIONS_FILE = "bundle.tar.gz.attestations.jsonl"

#: Bytes of the published state and a system's governance together: OPA takes both with every lease, in one request.
MAX_STATE = 96 * 1024

#: Names of systems, channels and sidecars: a DNS label, so that each fits a SPIFFE path and a file name.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]

#: A SHA-256 digest as it is written everywhere: `sha256:` and 64 lower-case hexadecimal digits.
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Document(BaseModel):
    """A published document: strict, and of one encoding."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def encode(self) -> bytes:
        """The document as RFC 8785 bytes."""
        return strict_json.canonical(self.model_dump(mode="json"))


class ChannelPointer(Document):
    """Which release a channel of a system runs. A rollback is a new, higher sequence to an older release."""

    system: Name
    channel: Name
    sequence: Annotated[int, Field(ge=1, lt=2**53)]
    release: Digest
    #: Seconds that a sidecar may go on after the last signed time of issue that it saw.
    horizon_seconds: Annotated[int, Field(ge=1, le=30 * 86400)]


#: An issuer, a subject, a domain: one line of text.
Line = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class QuarantinedSubject(Document):
    """A verified subject that is denied everything."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    subject: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    reason: Annotated[str, StringConstraints(max_length=1000)]
    #: RFC 3339, UTC.
    since: str


class QuarantinedName(Document):
    """An execution, a segment or a domain that is denied everything."""

    kind: Literal["execution", "segment", "domain"]
    name: Line
    reason: Annotated[str, StringConstraints(max_length=1000)]
    #: RFC 3339, UTC.
    since: str


class TrustedIssuer(Document):
    """An issuer of workload identities: its audiences and its vetted public keys, JWK by key id.

    Of kind `spiffe` the issuer is a trust domain's id (`spiffe://DOMAIN`): it vouches for JWT-SVIDs, which need no
    `iss`, and with `x509_roots` for X.509-SVIDs.
    """

    issuer: Line
    kind: Literal["oidc", "kubernetes", "spiffe"] = "oidc"
    #: The trust domain on whose behalf it vouches; empty: the control plane's own.
    domain: Annotated[str, StringConstraints(max_length=255)] = ""
    #: Every subject that it vouches for begins so. Empty: any but those that begin like SPIFFE or Kubernetes names.
    names: Annotated[str, StringConstraints(max_length=2048)] = ""
    audiences: Annotated[list[str], Field(min_length=1, max_length=32)]
    keys: Annotated[dict[str, dict[str, Any]], Field(max_length=64)]
    #: PEM, one certificate each.
    x509_roots: Annotated[list[str], Field(max_length=8)] = []


class TrustedSigner(Document):
    """Who signs warrants, or attestation results: its name, its domain and its vetted public keys, JWK by key id."""

    issuer: Line
    domain: Line
    keys: Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=16)]


class Grant(Document):
    """What a subject may do beyond asking for itself."""

    issuer: Line
    subject: Line
    grants: Annotated[list[Literal["assert-subject", "forward-certificate"]], Field(min_length=1)]


class PublishedState(Document):
    """What every sidecar must know besides its release and its system's governance."""

    #: The control plane's own trust domain.
    domain: Line
    quarantine: list[QuarantinedSubject]
    quarantined: list[QuarantinedName] = []
    issuers: list[TrustedIssuer]
    #: Whose root warrants count, and whose attestation results.
    warrant_issuers: list[TrustedSigner] = []
    attesters: list[TrustedSigner] = []
    #: Foreign trust domains whose subjects and warrants are taken at all.
    links: list[Line] = []
    grants: list[Grant] = []


def channel_target(system: str, channel: str) -> str:
    """The target path of a channel's pointer."""
    return f"{system}/{channel}.json"


def governance_target(system: str) -> str:
    """The target path of a system's governance. No name has a dot, so nothing else lies there."""
    return f"{system}.governance.json"


def release_target(digest: str, file: str) -> str:
    """The target path of one file of the release whose bundle has `digest` (`sha256:…`)."""
    return f"releases/{digest.removeprefix('sha256:')}/{file}"

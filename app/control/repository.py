"""The TUF repository: signed metadata over the targets that the database names (TUF 1.0, python-tuf).

Metadata lies in the database beside what it publishes, so that a change, its targets, snapshot and timestamp
are one transaction: a reader sees all of it or none, and so does whoever starts after a kill. Old versions stay
for `KEEP`, for clients in the middle of a refresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from sqlmodel import Session, col, delete, not_
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from app.control.signing_keys import ONLINE_ROLES, OnlineKeys
from app.control.store import TufMetadata
from app.control.store.columns import now
from app.core.targets import DOMAIN, ISSUED_AT

#: How long each role's metadata is valid. A sidecar's horizon is counted from ISSUED_AT, whatever these say; the
#: root's is long because there is no command yet that signs a new one.
VALIDITY = {
    Root.type: timedelta(days=5 * 365),
    Targets.type: timedelta(days=90),
    Snapshot.type: timedelta(days=30),
    Timestamp.type: timedelta(days=1),
}
KEEP = timedelta(hours=1)

TIMESTAMP_FILE = "timestamp.json"


@dataclass(frozen=True)
class Published:
    """The metadata that clients are given now."""

    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]

    @classmethod
    def read(cls, session: Session) -> Published | None:
        """What the database holds; None before the first publication."""
        row = session.get(TufMetadata, TIMESTAMP_FILE)
        if row is None:
            return None
        timestamp = Metadata[Timestamp].from_bytes(row.body)
        snapshot = Metadata[Snapshot].from_bytes(_body(session, timestamp.signed.snapshot_meta, Snapshot.type))
        targets = Metadata[Targets].from_bytes(_body(session, snapshot.signed.meta["targets.json"], Targets.type))
        return cls(timestamp, snapshot, targets)

    @property
    def issued_at(self) -> datetime:
        """When the timestamp was signed."""
        return datetime.fromisoformat(self.timestamp.signed.unrecognized_fields[ISSUED_AT])


class Repository:
    """Signs with the online keys. Every method must run in a `Store.publish` transaction."""

    def __init__(self, keys: OnlineKeys) -> None:
        self._keys = keys

    def publish(self, session: Session, targets: Mapping[str, TargetFile]) -> None:
        """Make `targets` what clients see. Roles that neither changed nor age are left; the timestamp never is."""
        at, before = now(), Published.read(session)
        targets_meta = self._targets(session, dict(targets), before, at)
        snapshot_meta = self._snapshot(session, targets_meta, before, at)
        self._timestamp(session, snapshot_meta, before, at)
        self._prune(session, snapshot_meta, targets_meta, at)

    def _targets(
        self, session: Session, files: dict[str, TargetFile], before: Published | None, at: datetime
    ) -> MetaFile:
        if before and before.targets.signed.targets == files and not _ages(before.targets.signed, at):
            return before.snapshot.signed.meta["targets.json"]
        version = before.targets.signed.version + 1 if before else 1
        signed = Targets(version=version, expires=_expiry(Targets.type, at), targets=files)
        return self._write(session, f"{version}.targets.json", signed, self._keys.targets)

    def _snapshot(self, session: Session, targets: MetaFile, before: Published | None, at: datetime) -> MetaFile:
        meta = {"targets.json": targets}
        if before and before.snapshot.signed.meta == meta and not _ages(before.snapshot.signed, at):
            return before.timestamp.signed.snapshot_meta
        version = before.snapshot.signed.version + 1 if before else 1
        signed = Snapshot(version=version, expires=_expiry(Snapshot.type, at), meta=meta)
        return self._write(session, f"{version}.snapshot.json", signed, self._keys.snapshot)

    def _timestamp(self, session: Session, snapshot: MetaFile, before: Published | None, at: datetime) -> None:
        signed = Timestamp(
            version=before.timestamp.signed.version + 1 if before else 1,
            expires=_expiry(Timestamp.type, at),
            snapshot_meta=snapshot,
            unrecognized_fields={ISSUED_AT: at.isoformat(timespec="milliseconds").replace("+00:00", "Z")},
        )
        self._write(session, TIMESTAMP_FILE, signed, self._keys.timestamp)

    def _write(self, session: Session, name: str, signed: Signed, signer: CryptoSigner) -> MetaFile:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signer)
        body = metadata.to_bytes()
        session.merge(TufMetadata(name=name, body=body))
        session.flush()
        return MetaFile.from_data(signed.version, body, ["sha256"])

    def _prune(self, session: Session, snapshot: MetaFile, targets: MetaFile, at: datetime) -> None:
        current = [TIMESTAMP_FILE, f"{snapshot.version}.snapshot.json", f"{targets.version}.targets.json"]
        session.execute(
            delete(TufMetadata)
            .where(col(TufMetadata.written_at) < at - KEEP)
            .where(not_(col(TufMetadata.name).in_(current)))
            .where(not_(col(TufMetadata.name).endswith(".root.json")))
        )


def first_root(online: OnlineKeys, root: CryptoSigner, domain: str) -> bytes:
    """Version 1 of the root role: it names the key of each role and the trust domain, and the root key signs it."""
    signed = Root(
        version=1,
        expires=_expiry(Root.type, now()),
        consistent_snapshot=True,
        unrecognized_fields={DOMAIN: domain},
    )
    signed.add_key(root.public_key, Root.type)
    for role in ONLINE_ROLES:
        signed.add_key(getattr(online, role).public_key, role)
    metadata = Metadata(signed)
    metadata.sign(root)
    return metadata.to_bytes()


def _body(session: Session, meta: MetaFile, role: str) -> bytes:
    return session.get_one(TufMetadata, f"{meta.version}.{role}.json").body


def _expiry(role: str, at: datetime) -> datetime:
    return (at + VALIDITY[role]).replace(microsecond=0)


def _ages(signed: Signed, at: datetime) -> bool:
    """Whether more than half of its validity is over."""
    return signed.expires - at < VALIDITY[signed.type] / 2

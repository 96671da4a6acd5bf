"""What is published: the TUF targets that follow from the database (see `app.core.targets`)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func
from sqlmodel import Session, col, select
from tuf.api.metadata import TargetFile

from app.control.objects import Objects
from app.control.problems import Conflict
from app.control.store import Issuer, Pointer, Quarantine, Release, System
from app.core.targets import (
    ATTESTATIONS_FILE,
    BUNDLE_FILE,
    MAX_STATE,
    SIGNATURE_FILE,
    STATE_TARGET,
    ChannelPointer,
    PublishedState,
    QuarantinedSubject,
    TrustedIssuer,
    channel_target,
    release_target,
)


def targets(session: Session, objects: Objects, published: set[str]) -> dict[str, TargetFile]:
    """Every target by its path. Documents whose object key is not in `published` are put into the object store.

    The files of releases lie there already: uploads put them before their transaction.
    """
    found: dict[str, TargetFile] = {}
    for path, body in _documents(session):
        target = TargetFile.from_data(path, body, ["sha256"])
        if object_key(target) not in published:
            objects.put(object_key(target), body)
        found[path] = target
    for target in _release_files(session):
        found[target.path] = target
    return found


def object_key(target: TargetFile) -> str:
    """Where a target lies in the object store: exactly where a TUF client asks for it, below `targets/`."""
    return f"targets/{target.get_prefixed_paths()[0]}"


def release_file(digest: str, file: str, sha256: str, length: int) -> TargetFile:
    """The target of one file of a release."""
    return TargetFile(length, {"sha256": sha256}, release_target(digest, file))


def current_pointers(session: Session) -> list[Pointer]:
    """The current position of every channel."""
    newest = select(Pointer.system, Pointer.channel, func.max(Pointer.sequence)).group_by(
        Pointer.system, Pointer.channel
    )
    heads = {(system, channel): sequence for system, channel, sequence in session.exec(newest)}
    return [
        pointer
        for pointer in session.exec(select(Pointer).order_by(Pointer.system, Pointer.channel))
        if heads[pointer.system, pointer.channel] == pointer.sequence
    ]


def _documents(session: Session) -> Iterator[tuple[str, bytes]]:
    horizons = dict(session.exec(select(System.name, System.horizon_seconds)).all())
    for pointer in current_pointers(session):
        document = ChannelPointer(
            system=pointer.system,
            channel=pointer.channel,
            sequence=pointer.sequence,
            release=pointer.release,
            horizon_seconds=horizons[pointer.system],
        )
        yield channel_target(pointer.system, pointer.channel), document.encode()
    state = _state(session).encode()
    if len(state) > MAX_STATE:
        raise Conflict(
            f"quarantine and issuers together would take {len(state)} bytes; sidecars take {MAX_STATE}: "
            "lift what is over, or remove issuers"
        )
    yield STATE_TARGET, state


def _state(session: Session) -> PublishedState:
    quarantined = session.exec(
        select(Quarantine).where(col(Quarantine.lifted_at).is_(None)).order_by(col(Quarantine.id))
    )
    return PublishedState(
        quarantine=[
            QuarantinedSubject(
                issuer=row.issuer,
                subject=row.subject,
                reason=row.reason,
                since=row.since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            )
            for row in quarantined
        ],
        issuers=[
            TrustedIssuer(issuer=row.issuer, audiences=row.audiences, keys=row.keys)
            for row in session.exec(select(Issuer).order_by(col(Issuer.id)))
        ],
    )


def _release_files(session: Session) -> Iterator[TargetFile]:
    """Only what a channel points to: an older release comes back with its pointer."""
    digests = {pointer.release for pointer in current_pointers(session)}
    for release in session.exec(select(Release).where(col(Release.digest).in_(digests)).order_by(Release.digest)):
        yield release_file(release.digest, BUNDLE_FILE, release.digest.removeprefix("sha256:"), release.bundle_length)
        yield release_file(release.digest, SIGNATURE_FILE, release.signature_sha256, release.signature_length)
        yield release_file(release.digest, ATTESTATIONS_FILE, release.attestations_sha256, release.attestations_length)

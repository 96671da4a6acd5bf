"""Releases: taken only after the control plane verified them itself, kept by digest, evidence merged as a set.

A release may be carried by several systems, and TUF serves one set of evidence for it. So what is added must
satisfy the verification policy of every system that carries it: nobody can spoil a release for others.
What the same person says again supersedes what they said before (`app.control.superseded`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlmodel import Session, col, select

from app.control import superseded, systems
from app.control.plane import Plane
from app.control.problems import Conflict, NotFound, TooLarge, Unavailable
from app.control.publication import object_key, release_files
from app.control.store import Carried, Evidence, Release, System
from app.control.tokens import Access
from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.verification import MAX_ATTESTED, VerifiedRelease, split_attestations
from app.core.verification_policy import VerificationPolicy

#: Bytes of each part of an upload, and of all attestations of a release together.
MAX_BUNDLE = 64 * 1024 * 1024
MAX_SIGNATURE = 1024 * 1024
MAX_ATTESTATIONS = MAX_ATTESTED

_ATTEMPTS = 3


@dataclass(frozen=True)
class Upload:
    """What a publisher sent."""

    bundle: bytes
    signature: bytes
    attestations: list[bytes]


@dataclass(frozen=True)
class _Known:
    """What the database said before verification: it must still say so when the result is stored."""

    release: Release | None
    evidence: frozenset[str]
    carriers: frozenset[str]

    @classmethod
    def read(cls, session: Session, digest: str) -> _Known:
        evidence = session.exec(select(Evidence.sha256).where(Evidence.release == digest))
        carriers = session.exec(select(Carried.system).where(Carried.digest == digest))
        return cls(session.get(Release, digest), frozenset(evidence), frozenset(carriers))

    def same_as(self, other: _Known) -> bool:
        return (self.evidence, self.carriers) == (other.evidence, other.carriers)


def take(plane: Plane, by: Access, system: str, upload: Upload) -> tuple[Release, bool]:
    """Verify a release and store it, and whether it is new to the system. Raises `Denied` when it does not verify."""
    try:
        for _ in range(_ATTEMPTS):
            taken = _take_once(plane, by, system, upload)
            if taken is not None:
                return taken
    except Denied as denied:
        plane.metrics.refusals.labels(str(denied.reason)).inc()
        raise
    raise Unavailable("others publish the same release at this moment; try again")


def _take_once(plane: Plane, by: Access, system: str, upload: Upload) -> tuple[Release, bool] | None:
    with plane.store.read() as session:
        receiver = systems.find(session, system)
        known = _Known.read(session, digest_of(upload.bundle))
        others = [systems.find(session, name) for name in sorted(known.carriers - {system})]
        stored = _stored_evidence(session, known)

    # The upload by itself satisfies the policy of the system that takes it …
    verified = plane.verify(upload.bundle, upload.signature, upload.attestations, systems.policy_of(receiver))
    # … and, merged with what is stored, the policies of all that carry it.
    merged = verified
    if known.release is not None:
        spoken = superseded.newest([*stored, *verified.attestations])
        merged = _verify_merged(plane, upload, known.release, [one.raw for one in spoken], [receiver, *others])

    attestations = _jsonl(merged)
    release = _row(merged, upload.bundle, attestations)
    _put_files(plane, release, upload.bundle, merged.signature.raw, attestations)
    with plane.publishing() as session:
        if not known.same_as(_Known.read(session, release.digest)):
            return None
        if known.release is not None:
            release.taken_at = known.release.taken_at
        session.merge(release)
        session.flush()
        for row in _evidence_rows(merged):
            if row.sha256 not in known.evidence:
                session.add(row)
        if system not in known.carriers:
            session.add(Carried(system=system, digest=release.digest, published_by=by.id))
    return release, system not in known.carriers


def find(session: Session, system: str, digest: str) -> tuple[Release, Carried]:
    """A release that a system carries. Raises `NotFound`."""
    systems.find(session, system)
    carried, release = session.get(Carried, (system, digest)), session.get(Release, digest)
    if carried is None or release is None:
        raise NotFound(f"the system {system} has no release {digest}; publish it first")
    return release, carried


def listed(session: Session, system: str) -> list[tuple[Release, Carried]]:
    """The releases of a system, newest first."""
    systems.find(session, system)
    query = (
        select(Release, Carried)
        .where(Release.digest == Carried.digest, Carried.system == system)
        .order_by(col(Carried.published_at).desc(), Carried.digest)
    )
    return list(session.exec(query).all())


def evidence_of(session: Session, digest: str) -> list[Evidence]:
    """The attestations that are published of a release, in the order of their signatures."""
    query = select(Evidence).where(Evidence.release == digest)
    return superseded.newest(session.exec(query.order_by(col(Evidence.signed_at), Evidence.sha256)))


def require_accepted(plane: Plane, system: str, digest: str) -> VerificationPolicy:
    """Verify a release by the policy of its system as it is now: it was taken under the one of its time.

    Returns that policy. Raises `NotFound` where the system has no such release, or `Denied`.
    """
    with plane.store.read() as session:
        release, _ = find(session, system, digest)
        rules = systems.policy_of(systems.find(session, system))
    bundle, signature, attestations = (plane.objects.get(object_key(file)) for file in release_files(release))
    plane.verify(bundle, signature, split_attestations(attestations), rules)
    return rules


def _stored_evidence(session: Session, known: _Known) -> list[VerifiedStatement]:
    rows = evidence_of(session, known.release.digest) if known.release else []
    return [VerifiedStatement(one.predicate_type, one.statement, one.signer, one.signed_at, one.raw) for one in rows]


def _verify_merged(
    plane: Plane, upload: Upload, release: Release, attestations: Sequence[bytes], carriers: Iterable[System]
) -> VerifiedRelease:
    """The stored signature with old and new evidence, verified for each carrier."""
    signature = _stored_signature(plane, release, upload)
    results = [plane.verify(upload.bundle, signature, attestations, systems.policy_of(carrier)) for carrier in carriers]
    return results[0]


def _stored_signature(plane: Plane, release: Release, upload: Upload) -> bytes:
    if sha256(upload.signature).hexdigest() == release.signature_sha256:
        return upload.signature
    signature = plane.objects.get(object_key(release_files(release)[1]))
    if sha256(signature).hexdigest() != release.signature_sha256:
        raise Conflict(f"the stored signature of {release.digest} was changed; upload the original files to restore it")
    return signature


def _put_files(plane: Plane, release: Release, bundle: bytes, signature: bytes, attestations: bytes) -> None:
    """Object first, then the transaction: what the database names is always there. Putting again also repairs."""
    for file, body in zip(release_files(release), (bundle, signature, attestations), strict=True):
        plane.objects.put(object_key(file), body)


def _jsonl(verified: VerifiedRelease) -> bytes:
    statements = sorted(verified.attestations, key=lambda one: (one.signed_at, sha256(one.raw).hexdigest()))
    body = b"".join(one.raw + b"\n" for one in statements)
    if len(body) > MAX_ATTESTATIONS:
        raise TooLarge(f"the attestations of this release would be larger than {MAX_ATTESTATIONS} bytes together")
    return body


def _row(verified: VerifiedRelease, bundle: bytes, attestations: bytes) -> Release:
    return Release(
        digest=verified.digest,
        revision=verified.manifest.revision,
        entrypoint=verified.manifest.entrypoint,
        roots=list(verified.manifest.roots),
        signer_identity=verified.signer.identity,
        signer_issuer=verified.signer.issuer,
        signed_at=verified.signed_at,
        provenance=verified.provenance,
        bundle_length=len(bundle),
        signature_length=len(verified.signature.raw),
        signature_sha256=sha256(verified.signature.raw).hexdigest(),
        attestations_length=len(attestations),
        attestations_sha256=sha256(attestations).hexdigest(),
    )


def _evidence_rows(verified: VerifiedRelease) -> list[Evidence]:
    return [
        Evidence(
            release=verified.digest,
            sha256=sha256(one.raw).hexdigest(),
            predicate_type=one.predicate_type,
            signer_identity=one.signer.identity,
            signer_issuer=one.signer.issuer,
            signed_at=one.signed_at,
            statement=one.statement,
            raw=one.raw,
        )
        for one in {one.raw: one for one in verified.attestations}.values()
    ]

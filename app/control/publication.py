"""What is published: the TUF targets that follow from the database (see `app.core.targets`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select
from tuf.api.metadata import TargetFile

from app.control import attestation_results, domains, governance, grants, issuers, modes, quarantine, revocations
from app.control.governance_document import STATUS, GovernanceDocument
from app.control.keyring import Keyring, Purpose
from app.control.objects import Objects
from app.control.problems import Conflict
from app.control.store import Issuer, IssuerSource, Pointer, Quarantine, Release, System, WarrantRevocation
from app.core import masking, strict_json
from app.core.governance import RequiredEnvironment, SystemGovernance, audience_of, control_plane_id
from app.core.targets import (
    ATTESTATIONS_FILE,
    BUNDLE_FILE,
    MAX_STATE,
    SIGNATURE_FILE,
    STATE_TARGET,
    ChannelPointer,
    Document,
    Grant,
    PublishedState,
    QuarantinedName,
    QuarantinedSubject,
    TrustedIssuer,
    TrustedSigner,
    channel_target,
    governance_target,
    release_target,
)

#: Bytes of `MAX_STATE` that nothing but quarantine, with the results that it revokes, may use: nobody can fill the room
#: so that a subject cannot be denied any more.
RESERVED = 24 * 1024
#: And bytes that no system's governance, revocations included, may use: nobody of one system can keep an issuer's new
#: keys, which are every system's, from being taken.
SHARED = 20 * 1024
_NO_QUARANTINE: dict[str, list[Any]] = {"quarantine": [], "quarantined": []}


def targets(session: Session, objects: Objects, published: set[str], domain: str) -> dict[str, TargetFile]:
    """Every target by its path. Documents whose object key is not in `published` are put into the object store.

    The files of releases lie there already: uploads put them before their transaction.
    """
    found: dict[str, TargetFile] = {}
    for path, body in documents(session, domain):
        target = TargetFile.from_data(path, body, ["sha256"])
        if object_key(target) not in published:
            objects.put(object_key(target), body)
        found[path] = target
    for target in _release_files(session):
        found[target.path] = target
    return found


def differs(session: Session, told: Mapping[str, TargetFile], domain: str) -> bool:
    """Whether a document follows from the database that is not among those which were published."""
    return any(
        told.get(path) != TargetFile.from_data(path, body, ["sha256"]) for path, body in documents(session, domain)
    )


def object_key(target: TargetFile) -> str:
    """Where a target lies in the object store: exactly where a TUF client asks for it, below `targets/`."""
    return f"targets/{target.get_prefixed_paths()[0]}"


def release_file(digest: str, file: str, sha256: str, length: int) -> TargetFile:
    """The target of one file of a release."""
    return TargetFile(length, {"sha256": sha256}, release_target(digest, file))


def release_files(release: Release) -> tuple[TargetFile, TargetFile, TargetFile]:
    """The targets of a release: the bundle, its signature, its attestations."""
    digest = release.digest
    return (
        release_file(digest, BUNDLE_FILE, digest.removeprefix("sha256:"), release.bundle_length),
        release_file(digest, SIGNATURE_FILE, release.signature_sha256, release.signature_length),
        release_file(digest, ATTESTATIONS_FILE, release.attestations_sha256, release.attestations_length),
    )


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


def documents(session: Session, domain: str) -> Iterator[tuple[str, bytes]]:
    """Each document that follows from the database, by its path."""
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
    state = _state(session, domain)
    body = _encoded(state)
    whole, calm = (len(one) + _growth(state) for one in (body, _encoded(state.model_copy(update=_NO_QUARANTINE))))
    _require_room("issuers, domains and grants together", calm, whole)
    yield STATE_TARGET, body
    for system, told in _governances(session, horizons, domain):
        text, calm_text = _encoded(told), _encoded(told.model_copy(update={"revoked_results": []}))
        grown = _segment_growth(told) + masking.growth(told.masking)
        what, size = f"the governance of {system}", len(calm_text) + grown
        if size > MAX_STATE - RESERVED - SHARED:
            raise Conflict(
                f"{what} would take {size} bytes, more than {MAX_STATE - RESERVED - SHARED}: set a shorter one"
            )
        what += ", with what is for all systems,"
        _require_room(what, calm + size, whole + len(text) + grown)
        yield governance_target(system), text


def _growth(state: PublishedState) -> int:
    """Bytes by which the state grows when a sidecar writes it for OPA: each key becomes a key set in a JSON string."""
    sets = [one.keys for one in state.issuers] + [one.keys for one in state.warrant_issuers + state.attesters]
    return sum(4 * len(key) + 64 for keys in sets for key in keys.values())


def _segment_growth(told: SystemGovernance) -> int:
    """And a system's governance: every name and prefix says its segment."""
    return sum((len(one.subjects) + len(one.resources)) * (len(one.name) + 28) for one in told.segments)


def _require_room(what: str, calm: int, whole: int) -> None:
    """Fail when sidecars could not take it. `calm` is the size without what a quarantine adds."""
    if calm > MAX_STATE - RESERVED:
        raise Conflict(
            f"{what} would take {calm} bytes; {MAX_STATE - RESERVED} are for what is no quarantine: remove issuers, or "
            "set a shorter governance"
        )
    if whole > MAX_STATE:
        raise Conflict(f"{what} with all quarantines would take {whole} bytes; sidecars take {MAX_STATE}: lift some")


def _state(session: Session, domain: str) -> PublishedState:
    entries, links, sources = quarantine.in_force(session), domains.listed(session), issuers.sources(session)
    return PublishedState(
        domain=domain,
        quarantine=[
            QuarantinedSubject(issuer=row.issuer, subject=row.subject, reason=row.reason, since=_since(row))
            for row in entries
            if row.kind == quarantine.SUBJECT
        ],
        quarantined=[
            QuarantinedName.model_validate(
                {"kind": row.kind, "name": row.subject, "reason": row.reason, "since": _since(row)}
            )
            for row in entries
            if row.kind != quarantine.SUBJECT
        ],
        issuers=[
            _issuer(row, sources.get(row.id or 0)) for row in session.exec(select(Issuer).order_by(col(Issuer.id)))
        ],
        warrant_issuers=_signers(session, domain, "warrant") + domains.warrant_issuers(links),
        attesters=_signers(session, domain, "attestation") + domains.attesters(links),
        links=[link.domain for link in links],
        grants=[
            Grant.model_validate({"issuer": row.issuer, "subject": row.subject, "grants": row.grants})
            for row in grants.listed(session)
        ],
    )


def _issuer(row: Issuer, source: IssuerSource | None) -> TrustedIssuer:
    """Keys that are too old are left out here, so that they stop to count whatever else works or does not."""
    document = row.model_dump(exclude={"id", "changed_at"})
    if issuers.is_withdrawn(row, source):
        document |= {"keys": {}, "x509_roots": []}
    return TrustedIssuer.model_validate(document)


def _governances(session: Session, systems: Iterable[str], domain: str) -> Iterator[tuple[str, SystemGovernance]]:
    documents, modes_of = governance.every(session), modes.published(session)
    results = attestation_results.revoked(session)
    with_revoked_warrants = set(session.exec(select(WarrantRevocation.system).distinct()))
    for system in systems:
        document = documents.get(system, GovernanceDocument())
        revoked, overflow = results.get(system, ([], False))
        yield (
            system,
            SystemGovernance(
                system=system,
                audience=audience_of(domain, system),
                warrant_required=document.warrant_required,
                max_identity_age_seconds=document.max_identity_age_seconds,
                environment=document.environment if not overflow else _unsatisfiable(document),
                segments=document.segments,
                flows=document.flows,
                masking=document.masking,
                workflows=document.workflows,
                modes=modes_of.get(system, []),
                revoked_warrants=revocations.revoked(session, system) if system in with_revoked_warrants else [],
                revoked_results=revoked,
            ),
        )


def _encoded(document: Document) -> bytes:
    return _canonical(document.model_dump_json())


def _unsatisfiable(document: GovernanceDocument) -> list[RequiredEnvironment]:
    """More results were revoked than sidecars can be told: until those have expired, none counts."""
    return [one.model_copy(update={"accept": {**one.accept, STATUS: ["none"]}}) for one in document.environment]


@lru_cache(maxsize=2048)
def _canonical(text: str) -> bytes:
    """RFC 8785 bytes of a document: slow to make, and seldom another one than before."""
    return strict_json.canonical(strict_json.loads(text.encode()))


def _signers(session: Session, domain: str, purpose: Purpose) -> list[TrustedSigner]:
    """The control plane itself; nobody before it has a key."""
    keys = Keyring.published(session, purpose)
    return [TrustedSigner(issuer=control_plane_id(domain), domain=domain, keys=keys)] if keys else []


def _since(row: Quarantine) -> str:
    return row.since.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _release_files(session: Session) -> Iterator[TargetFile]:
    """Only what a channel points to: an older release comes back with its pointer."""
    digests = {pointer.release for pointer in current_pointers(session)}
    for release in session.exec(select(Release).where(col(Release.digest).in_(digests)).order_by(Release.digest)):
        yield from release_files(release)

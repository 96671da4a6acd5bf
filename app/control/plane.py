"""The control plane as one object: its database, objects, TUF repository and verifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sqlmodel import Session
from tuf.api.metadata import Metadata, Root

from app.control import attestation_results, libraries, publication
from app.control.batch_readers import Readers
from app.control.key_store import KeyStore
from app.control.keyring import Keyring
from app.control.metrics import Metrics
from app.control.objects import Objects
from app.control.outbound import Outbound
from app.control.repository import Published, Repository
from app.control.settings import Settings
from app.control.signing_keys import OnlineKeys
from app.control.store import Seals, Store, TufMetadata
from app.core.compose import Library
from app.core.errors import Denied, PlacetError, UsageError
from app.core.evidence import VerifiedStatement
from app.core.reason_codes import Reason
from app.core.targets import DOMAIN
from app.core.verification import VerifiedRelease
from app.core.verification_policy import VerificationPolicy

#: The address at which `placet server run` listens unless told otherwise.
DEFAULT_IDENTITY_ISSUER = "http://127.0.0.1:8470"

#: (bundle, signature, attestations, policy) -> the verified release; raises `Denied`.
Verifier = Callable[[bytes, bytes, Sequence[bytes], VerificationPolicy], VerifiedRelease]


#: Refuses a verification policy that could never be evaluated; raises `UsageError`.
PolicyCheck = Callable[[VerificationPolicy], None]


class StatementVerifier(Protocol):
    """Verifies one Sigstore bundle about what has the digest `subject`; raises `Denied` (`app.core.evidence`)."""

    def __call__(self, raw: bytes, *, subject: str, policy: VerificationPolicy, step: str) -> VerifiedStatement:
        """The verified statement."""


def verify_nothing(raw: bytes, *, subject: str, policy: VerificationPolicy, step: str) -> VerifiedStatement:
    """For a control plane that was given no Sigstore instance: it takes no signed statement."""
    raise Denied(Reason.EVIDENCE_INVALID, "this control plane trusts no Sigstore instance", step=step)


def without_conditions(policy: VerificationPolicy) -> None:
    """For a control plane that was given no OPA: it takes no condition, since it cannot tell whether it compiles."""
    if any(one.condition is not None for one in policy.requirements):
        raise UsageError("this control plane has no OPA to compile conditions with")


@dataclass(frozen=True)
class Plane:
    """Everything that a request needs."""

    settings: Settings
    store: Store
    objects: Objects
    repository: Repository
    verify: Verifier
    keyring: Keyring
    verify_statement: StatementVerifier = verify_nothing
    #: What it may ask of the network by itself.
    outbound: Outbound = field(default_factory=Outbound)
    #: Verifies the statements of decision batches by the lineage log. None: there is no lineage log.
    verify_batch: StatementVerifier | None = None
    #: The URL by which it issues identities to its sidecars; empty: it issues none.
    identity_issuer: str = DEFAULT_IDENTITY_ISSUER
    check_policy: PolicyCheck = without_conditions
    metrics: Metrics = field(default_factory=Metrics)
    #: Reads the records of batches.
    readers: Readers = field(default_factory=Readers)
    #: Whether records are taken without a signature where there is no lineage log.
    unsigned_records: bool = True

    @classmethod
    def open(
        cls,
        settings: Settings,
        verify: Verifier,
        verify_statement: StatementVerifier = verify_nothing,
        outbound: Outbound = Outbound(),  # noqa: B008 - frozen
        verify_batch: StatementVerifier | None = None,
        identity_issuer: str = DEFAULT_IDENTITY_ISSUER,
        check_policy: PolicyCheck = without_conditions,
        readers: Readers | None = None,
        unsigned_records: bool = True,
    ) -> Plane:
        """Open what `placet server init` made. Fails in one line when the database is not this directory's."""
        from app.control.store import migrations  # a tenth of what those import who only check what is stored

        store = Store(settings.database_url, Seals.load(settings.seal_key))
        keys = OnlineKeys.load(settings.keys)
        with store.answering():
            migrations.require_current(store, str(settings.directory))
            keys.require_delegation(_own_root(settings, store))
            if not store.has_our_seals():
                raise PlacetError(
                    f"{settings.seal_key} is not the key of this database's seals, or the database was changed. Where "
                    f"placet server fsck --dir {settings.directory} names seal/key and nothing else, run placet server "
                    "seal --row seal/key; else restore the key from a backup, or run placet server seal if it is lost"
                )
        objects = Objects(settings.objects_url)
        objects.mark()
        libraries.keep(objects, Library.shipped())
        keyring = Keyring(KeyStore(settings.keys))
        return cls(
            settings, store, objects, Repository(keys), verify, keyring, verify_statement, outbound, verify_batch,
            identity_issuer, check_policy, readers=readers or Readers(), unsigned_records=unsigned_records,
        )  # fmt: skip

    @contextmanager
    def publishing(self) -> Iterator[Session]:
        """Change what sidecars are told: when the block ends, the change and its TUF metadata are committed as one.

        What rested on what was changed goes with it.
        """
        with self.store.publish() as session:
            yield session
            session.flush()
            before = Published.read(session)
            told = before.targets.signed.targets if before else {}
            if publication.differs(session, told, self.settings.domain):  # seldom: a timestamp is due every few seconds
                attestation_results.revoke_unfounded(session, self.settings.domain)
            known = set(map(publication.object_key, told.values()))
            self.repository.publish(session, publication.targets(session, self.objects, known, self.settings.domain))

    def republish(self) -> None:
        """Write every published document anew and sign what the database says: done at each start."""
        with self.store.publish() as session:
            self.keyring.ensure(session)
            attestation_results.revoke_unfounded(session, self.settings.domain)
            self.repository.publish(session, publication.targets(session, self.objects, set(), self.settings.domain))

    def issued_at(self) -> datetime | None:
        """When the current timestamp was signed."""
        with self.store.read() as session:
            published = Published.read(session)
        return published.issued_at if published else None

    def close(self) -> None:
        """End the processes that read for it, and close the database."""
        self.readers.close()
        self.store.close()


def _own_root(settings: Settings, store: Store) -> Metadata[Root]:
    try:
        pinned = settings.root_metadata.read_bytes()
    except OSError as error:
        raise PlacetError(f"cannot read {settings.root_metadata}: {error.strerror}") from error
    with store.read() as session:
        row = session.get(TufMetadata, "1.root.json")
    if row is None or row.body != pinned:
        raise PlacetError(f"the database belongs to another control plane than {settings.directory}")
    root = Metadata[Root].from_bytes(pinned)
    if root.signed.unrecognized_fields.get(DOMAIN) != settings.domain:
        raise PlacetError(f"the TUF root is not of the domain {settings.domain}: sidecars would refuse all of it")
    return root

"""The control plane as one object: its database, objects, TUF repository and verifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session
from tuf.api.metadata import Metadata, Root

from app.control import publication
from app.control.metrics import Metrics
from app.control.objects import Objects
from app.control.repository import Published, Repository
from app.control.settings import Settings
from app.control.signing_keys import OnlineKeys
from app.control.store import Store, TufMetadata, migrations
from app.core.errors import PlacetError
from app.core.verification import VerifiedRelease
from app.core.verification_policy import VerificationPolicy

#: (bundle, signature, attestations, policy) -> the verified release; raises `Denied`.
Verifier = Callable[[bytes, bytes, Sequence[bytes], VerificationPolicy], VerifiedRelease]


@dataclass(frozen=True)
class Plane:
    """Everything that a request needs."""

    settings: Settings
    store: Store
    objects: Objects
    repository: Repository
    verify: Verifier
    metrics: Metrics = field(default_factory=Metrics)

    @classmethod
    def open(cls, settings: Settings, verify: Verifier) -> Plane:
        """Open what `placet server init` made. Fails in one line when the database is not this directory's."""
        store = Store(settings.database_url)
        keys = OnlineKeys.load(settings.keys)
        with store.answering():
            migrations.require_current(store, str(settings.directory))
            keys.require_delegation(_own_root(settings, store))
        objects = Objects(settings.objects_url)
        objects.mark()
        return cls(settings, store, objects, Repository(keys), verify)

    @contextmanager
    def publishing(self) -> Iterator[Session]:
        """Change what sidecars are told: when the block ends, the change and its TUF metadata are committed as one."""
        with self.store.publish() as session:
            yield session
            session.flush()
            before = Published.read(session)
            known = set(map(publication.object_key, before.targets.signed.targets.values())) if before else set()
            self.repository.publish(session, publication.targets(session, self.objects, known))

    def republish(self) -> None:
        """Write every published document anew and sign what the database says: done at each start."""
        with self.store.publish() as session:
            self.repository.publish(session, publication.targets(session, self.objects, set()))

    def issued_at(self) -> datetime | None:
        """When the current timestamp was signed."""
        with self.store.read() as session:
            published = Published.read(session)
        return published.issued_at if published else None

    def close(self) -> None:
        """Close the database."""
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
    return Metadata[Root].from_bytes(pinned)

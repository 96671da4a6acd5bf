"""Trust states that sidecars had in force: archived by digest, so that replay finds what a decision rested on.

A sidecar brings a state before the batch that names it. States that no stored batch names yet are bounded for each
sidecar, so that nobody with its API token alone can fill the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import bindparam, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from app.control import systems
from app.control.plane import Plane
from app.control.problems import Invalid, TooLarge, TooMany
from app.control.store import TrustState
from app.control.store.columns import now
from app.control.tokens import Access
from app.core import strict_json

#: Bytes of a trust state. What a sidecar writes to OPA is shorter.
MAX_STATE = 256 * 1024

#: States of one sidecar, or of the tokens that are bound to none, which came within `WINDOW` and which no stored batch
#: names. A batch of 1,000 records names a few.
MAX_UNNAMED = 256
WINDOW = timedelta(days=1)

#: Made once: each batch needs it.
_NEW = (
    select(TrustState)
    .where(
        TrustState.system == bindparam("of"),
        col(TrustState.digest).in_(bindparam("digests", expanding=True)),
        col(TrustState.named).is_(False),
    )
    .order_by(col(TrustState.digest))
    .with_for_update(key_share=True)
)


def keep(plane: Plane, by: Access, system: str, digest: str, document: bytes) -> None:
    """Store the document whose SHA-256 is `digest` (`sha256:…`). Raises `Invalid` when it is that of another.

    Raises `TooMany` when others wait for their batches: that sidecar may try again when those have come.
    """
    with plane.store.read() as session:
        systems.find(session, system)
    if len(document) > MAX_STATE:
        raise TooLarge(f"a trust state has at most {MAX_STATE} bytes")
    if f"sha256:{sha256(document).hexdigest()}" != digest:
        raise Invalid("the document has another digest")
    try:
        strict_json.load_object(document)
    except strict_json.StrictJSONError as error:
        raise Invalid(f"the trust state is {error}") from error
    with plane.store.read() as session:
        known = session.get(TrustState, (system, digest)) is not None
        if not known and plane.verify_batch is not None:  # elsewhere nothing says which are named
            _require_room(session, system, by.sidecar or "")
    plane.objects.put(_key(system, digest), document)
    if not known:
        _note(plane, TrustState(system=system, digest=digest, sidecar=by.sidecar or ""))


def named(session: Session, system: str, digests: Sequence[str]) -> None:
    """A batch that names these states is stored."""
    if digests:
        for state in session.scalars(_NEW, {"of": system, "digests": list(digests)}):
            state.named = True
            session.add(state)
        session.flush()


def find(plane: Plane, system: str, digest: str) -> bytes:
    """The document with that digest. Raises `NotFound`, and `Invalid` when the store gives another."""
    document = plane.objects.get(_key(system, digest))
    if f"sha256:{sha256(document).hexdigest()}" != digest:
        raise Invalid(f"the stored trust state {digest} was changed")
    return document


def _require_room(session: Session, system: str, sidecar: str) -> None:
    theirs = (TrustState.system == system, TrustState.sidecar == sidecar, col(TrustState.named).is_(False))
    query = select(func.count()).select_from(TrustState).where(*theirs, col(TrustState.received_at) > now() - WINDOW)
    if (count := session.exec(query).one()) >= MAX_UNNAMED:
        raise TooMany(f"{count} trust states wait for batches that name them; send those batches first")


def _note(plane: Plane, row: TrustState) -> None:
    try:
        with plane.store.write() as session:
            session.add(row)
    except IntegrityError:  # another request brought the same at the same moment
        with plane.store.read() as session:
            if session.get(TrustState, (row.system, row.digest)) is None:
                raise


def _key(system: str, digest: str) -> str:
    return f"states/{system}/{digest.removeprefix('sha256:')}.json"

"""Executions that use up warrants: counted here, in one transaction, because no sidecar alone can know the count.

Two that start at the same moment wait for each other on the warrant's own row, on SQLite and on PostgreSQL: one more
use than a warrant allows is never confirmed, whichever sidecars ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from app.control import revocations, systems
from app.control.problems import Conflict, Forbidden
from app.control.store import Execution, Redemption, Warrant, sealing
from app.control.store.bulk import insert_where
from app.control.store.columns import now
from app.control.tokens import Access
from app.core.governance import control_plane_id
from app.core.reason_codes import Reason

#: A sidecar that did not hear the answer may ask again for so long.
REPEAT_FOR = timedelta(seconds=60)

#: A count is kept longer than its warrant lasts, and a warrant that expired longer ago than the skew is refused: so
#: no warrant is ever counted from the beginning again.
KEEP_FOR = timedelta(hours=1)
SKEW = timedelta(seconds=5)


@dataclass(frozen=True)
class Counted:
    """One warrant of limited use: its `jti`, `iss` and `uses`, and its `exp`, seconds since the epoch."""

    jti: str
    issuer: str
    uses: int
    expires_at: int

    @property
    def key(self) -> str:
        """What its count is filed under."""
        return counted_under(self.issuer, self.jti)


@dataclass(frozen=True)
class Start:
    """An execution that a sidecar wants to start."""

    system: str
    id: str
    sidecar: str
    instance: str
    subject_issuer: str
    subject_id: str
    warrants: tuple[Counted, ...]


def start(session: Session, by: Access, home: str, wanted: Start) -> tuple[Execution, bool]:
    """Count one use of every warrant, all or none, and say whether that is new; in a transaction that writes.

    The same again within a minute of the first is confirmed without counting. Raises `Forbidden` with the reason
    `warrant.revoked`, `warrant.expired` or `warrant.invalid`, and `Conflict` with `warrant.spent` or
    `execution.conflict`.
    """
    systems.find(session, wanted.system)
    ordered = sorted(wanted.warrants, key=lambda one: one.key)  # one order for all: nobody waits in a circle
    if len({one.key for one in ordered}) != len(ordered):
        raise Conflict("a warrant stands twice in the request", reason=str(Reason.EXECUTION_CONFLICT))
    for one in ordered:
        _require_standing(session, home, wanted.system, one)
    _forget_expired(session)
    row = Execution(
        **{name: value for name, value in asdict(wanted).items() if name != "warrants"},
        warrants=[asdict(one) for one in ordered],
        started_by=by.id,
    )
    if not _insert(session, row):
        return _repeated(session, row), False
    for one in ordered:
        _use(session, one)
    return row, True


def counted_under(issuer: str, jti: str) -> str:
    """The key of a warrant's count."""
    return sha256(f"{jti}\n{issuer}".encode()).hexdigest()


def counts(session: Session, home: str, ids: Sequence[str]) -> dict[str, int]:
    """By id, how often warrants that this control plane issued were used; those never used are left out."""
    keys = [counted_under(control_plane_id(home), jti) for jti in ids]
    found = session.exec(select(Redemption).where(col(Redemption.key).in_(keys)))
    return {row.jti: row.used for row in found}


def _require_standing(session: Session, home: str, system: str, one: Counted) -> None:
    if revocations.of(session, system, one.jti) is not None:
        raise Forbidden(f"the warrant {one.jti} was revoked", reason=str(Reason.WARRANT_REVOKED))
    if datetime.fromtimestamp(one.expires_at, UTC) <= now() - SKEW:
        raise Forbidden(f"the warrant {one.jti} has expired", reason=str(Reason.WARRANT_EXPIRED))
    if one.issuer != control_plane_id(home):
        return
    # Our own: what the sidecar read in it must be what we issued.
    issued = session.get(Warrant, one.jti)
    claims = issued.claims if issued is not None and issued.system == system else None
    if claims is None or (claims.get("uses"), claims["exp"]) != (one.uses, one.expires_at):
        raise Forbidden(
            f"the warrant {one.jti} was not issued so by this control plane", reason=str(Reason.WARRANT_INVALID)
        )


def _use(session: Session, one: Counted) -> None:
    until = datetime.fromtimestamp(one.expires_at, UTC)
    _insert(session, Redemption(key=one.key, issuer=one.issuer, jti=one.jti, uses=one.uses, expires_at=until))
    known = (col(Redemption.key) == one.key, col(Redemption.uses) == one.uses, col(Redemption.expires_at) == until)
    left = update(Redemption).where(*known, col(Redemption.used) < one.uses).values(used=Redemption.used + 1)
    counted = left.returning(col(Redemption.key)).execution_options(synchronize_session=False)
    if session.execute(counted).first() is not None:
        return
    found = session.get(Redemption, one.key, populate_existing=True)
    if found is None or (found.uses, found.expires_at) != (one.uses, until):
        raise Conflict(
            f"the warrant {one.jti} was used before with another number of uses or another expiry",
            reason=str(Reason.EXECUTION_CONFLICT),
        )
    raise Conflict(f"the warrant {one.jti} has no uses left of {one.uses}", reason=str(Reason.WARRANT_SPENT))


def _repeated(session: Session, row: Execution) -> Execution:
    """The execution of that id, if it is the very same and so young that its sidecar may have missed the answer."""
    found = session.get_one(Execution, (row.system, row.id))
    compared = ("sidecar", "instance", "subject_issuer", "subject_id", "warrants")
    same = all(getattr(found, name) == getattr(row, name) for name in compared)
    if not same or found.started_at + REPEAT_FOR < now():
        raise Conflict(f"the execution {row.id} was started already", reason=str(Reason.EXECUTION_CONFLICT))
    return found


def _insert(session: Session, row: Execution | Redemption) -> bool:
    """Add a row unless its key is taken; waits for whoever is about to take it. Says whether it was added."""
    connection, table = session.connection(), row.metadata.tables[str(row.__tablename__)]
    added = insert_where(connection, table).values(**row.model_dump()).on_conflict_do_nothing()
    found = connection.execute(added.returning(*table.primary_key)).fetchall()
    sealing.seal(session, table, found)
    return bool(found)


def _forget_expired(session: Session) -> None:
    """A few at a time, and none that another transaction is about to forget."""
    over = select(Redemption.key).where(col(Redemption.expires_at) < now() - KEEP_FOR).limit(100)
    gone = delete(Redemption).where(col(Redemption.key).in_(over.with_for_update(skip_locked=True)))
    session.execute(gone.execution_options(synchronize_session=False))

"""Allowances: which workload may enrol as a sidecar by its identity, without an invitation.

An allowance ends when somebody says so, and when a sidecar that it covers is evicted: whoever has that
sidecar's host may have the workload's tokens too. None of them that was issued before is taken again, by whichever
allowance it comes.

A name has one holder: a workload, or whoever a person invited or gave a token. While the API token of the one counts,
the other gets none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session, col, select

from app.control import lineage, standing, systems, tokens
from app.control.problems import Forbidden, NotFound
from app.control.store import Allowance, ApiToken, Enrolment, Eviction
from app.control.store.columns import now
from app.control.tokens import SIDECAR_SCOPES, Access, Scope
from app.core.reason_codes import Reason
from app.core.warrant_scope import covers
from app.core.warrants import Principal

log = logging.getLogger("placet.control")


def allow(session: Session, by: Access, home: str, system: str, sidecar: str, who: Principal) -> tuple[Allowance, bool]:
    """Let a workload enrol as a sidecar of that name, or pattern of names, and say whether that is new.

    Whoever allows must have what the sidecar will be allowed. Raises `Forbidden`, and `Invalid` for an issuer that
    nobody trusts.
    """
    systems.find(session, system)
    by.require(Scope.TOKEN_WRITE, system)
    tokens.require_givable(by, SIDECAR_SCOPES, system)
    standing.require(session, home, [who])
    _serialise(session, system)
    for row in of(session, system, who):
        if row.ended_at is None and row.sidecar == sidecar:
            return row, False
    row = Allowance(
        system=system,
        sidecar=sidecar,
        issuer=who.issuer,
        subject=who.id,
        not_before=fresh_from(session, system, who, sidecar),
        created_by=by.id,
        created_by_name=by.name,
    )
    session.add(row)
    session.flush()
    log.info("%s may enrol as %s of %s, says the token %s (%s)", who, sidecar, system, by.name, by.id)
    return row, True


def end(session: Session, by: Access, system: str, identifier: int) -> Allowance:
    """Let the workload enrol no more; sidecars that have enrolled go on. Raises `NotFound`."""
    row = session.get(Allowance, identifier)
    if row is None or row.system != system or row.ended_at is not None:
        raise NotFound(f"the system {system} has no allowance {identifier} that is in force")
    _end([row], by)
    session.add(row)
    session.flush()
    return row


def end_for(session: Session, by: Access, eviction: Eviction) -> None:
    """End every allowance that covers the sidecar which is evicted."""
    _serialise(session, eviction.system)
    in_force = select(Allowance).where(Allowance.system == eviction.system, col(Allowance.ended_at).is_(None))
    rows = [row for row in session.exec(in_force) if covers([row.sidecar], eviction.sidecar)]
    _end(rows, by, eviction.sidecar)
    session.add_all(rows)
    session.flush()


def of(session: Session, system: str, who: Principal) -> list[Allowance]:
    """Everything that a workload is or was allowed in a system, oldest first."""
    theirs = (Allowance.system == system, Allowance.issuer == who.issuer, Allowance.subject == who.id)
    return list(session.exec(select(Allowance).where(*theirs).order_by(col(Allowance.id))))


def fresh_from(session: Session, system: str, who: Principal, sidecar: str) -> datetime | None:
    """Since when a workload's token must be issued to enrol as `sidecar`, a name or a pattern.

    It is the last eviction of such a name, or of one that the workload was ever allowed: there its tokens lay open.
    It is told from the evictions alone, so that no allowance which ended or began in between hides one.
    """
    patterns = [sidecar, *(row.sidecar for row in of(session, system, who))]
    evictions = session.exec(select(Eviction.sidecar, Eviction.evicted_at).where(Eviction.system == system))
    return max((at for name, at in evictions if covers(patterns, name)), default=None)


def listed(session: Session, system: str, limit: int = 100) -> list[Allowance]:
    """The newest allowances of a system, and what became of them."""
    query = select(Allowance).where(Allowance.system == system)
    return list(session.exec(query.order_by(col(Allowance.id).desc()).limit(limit)))


def enrolments(session: Session, system: str, limit: int = 100) -> list[tuple[Enrolment, Allowance]]:
    """The newest enrolments of a system, each with the allowance by which it came."""
    query = select(Enrolment, Allowance).join(Allowance, col(Allowance.id) == Enrolment.allowance)
    newest = query.where(Enrolment.system == system).order_by(col(Enrolment.id).desc()).limit(limit)
    return list(session.exec(newest))


def holders(session: Session, system: str, sidecar: str) -> list[Principal | None]:
    """Who has an API token of this one sidecar that counts; None: whoever a person invited, or gave it."""
    query = select(ApiToken.id, Allowance).join(Enrolment, col(Enrolment.api_token) == ApiToken.id, isouter=True)
    query = query.join(Allowance, col(Allowance.id) == Enrolment.allowance, isouter=True)
    bound = (ApiToken.system == system, ApiToken.sidecar == sidecar, col(ApiToken.revoked_at).is_(None))
    found = session.exec(query.where(*bound))
    return [Principal(issuer=row.issuer, id=row.subject) if row else None for _, row in found]


def held_by_workload(session: Session, system: str, sidecar: str) -> Principal | None:
    """The workload that enrolled as the sidecar and whose API token counts, until this transaction ends."""
    lineage.serialise(session, system, sidecar)  # as an enrolment does
    return next((one for one in holders(session, system, sidecar) if one is not None), None)


def require_no_workload(session: Session, system: str, sidecar: str) -> None:
    """Raise `Forbidden` with the reason `sidecar.taken` when a workload is the sidecar."""
    if (who := held_by_workload(session, system, sidecar)) is not None:
        raise Forbidden(taken(who, system, sidecar), reason=str(Reason.SIDECAR_TAKEN))


def taken(who: Principal, system: str, sidecar: str) -> str:
    """What whoever is to be the sidecar beside a workload is told."""
    return (
        f"{who} enrolled as the sidecar {sidecar} of {system} (placet sidecar enrolments); "
        "disallow it and have its API token revoked"
    )


def status(row: Allowance) -> str:
    """`open`, `ended` or `evicted`."""
    return "open" if row.ended_at is None else "evicted" if row.evicted else "ended"


def _serialise(session: Session, system: str) -> None:
    """Until this transaction ends, no eviction in the system misses what is being allowed, and none is being given."""
    lineage.serialise(session, system, "*")  # no sidecar has this name


def _end(rows: Iterable[Allowance], by: Access, evicted: str | None = None) -> None:
    at = now()
    for row in rows:
        row.ended_at, row.ended_by, row.ended_by_name, row.evicted = at, by.id, by.name, evicted
        log.info("%s may enrol as %s of %s no more (%s)", row.subject, row.sidecar, row.system, by.name)

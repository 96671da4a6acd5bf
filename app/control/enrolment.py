"""Enrolment: a sidecar is invited, joins once, and may be evicted. Those of workloads are in `workloads`.

An invitation is a join token, `placet-join_ID_SECRET`: hashed at rest, short-lived, exchanged once for an API token
that is bound to the one sidecar. An evicted sidecar has nothing: no identity, and no token that counts.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from app.control import allowances, lineage, systems, tokens
from app.control.problems import Forbidden, Invalid, NotFound
from app.control.store import ApiToken, Eviction, JoinToken, Sidecar
from app.control.store.columns import now
from app.control.tokens import SIDECAR_SCOPES, Access, Scope
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: Seconds that an invitation lasts, by default and at most.
LIFETIME = 600
MAX_LIFETIME = 86400

#: Where a join token is exchanged; it needs no API token.
JOIN = "/api/v1/join"

_PREFIX = "placet-join"


@dataclass(frozen=True)
class Joined:
    """What a join came to: the API token and its secret; or, when it was refused, why."""

    token: ApiToken | None = None
    secret: str = ""
    refused: str = ""
    reason: Reason | None = None


def invite(
    session: Session, by: Access, system: str, sidecar: str, lifetime_seconds: int = LIFETIME
) -> tuple[JoinToken, str]:
    """A join token for one sidecar, and its text, which exists nowhere else.

    Whoever invites must have what the sidecar will be allowed. Raises `Forbidden`, also for a sidecar that is evicted,
    or that a workload enrolled as.
    """
    if not 1 <= lifetime_seconds <= MAX_LIFETIME:
        raise Invalid(f"an invitation lasts between 1 and {MAX_LIFETIME} seconds")
    systems.find(session, system)
    by.require(Scope.TOKEN_WRITE, system)
    tokens.require_givable(by, SIDECAR_SCOPES, system)
    require_admitted(session, system, sidecar)
    allowances.require_no_workload(session, system, sidecar)
    secret = secrets.token_urlsafe(32)
    row = JoinToken(
        id=secrets.token_hex(6),
        system=system,
        sidecar=sidecar,
        secret_sha256=tokens.hashed(secret),
        scopes=sorted(map(str, SIDECAR_SCOPES)),
        created_by=by.id,
        expires_at=now() + timedelta(seconds=lifetime_seconds),
    )
    session.add(row)
    session.flush()
    return row, f"{_PREFIX}_{row.id}_{secret}"


def is_invitation(session: Session, presented: str) -> bool:
    """Whether somebody made this join token, whatever became of it. It only reads: who guesses keeps nobody waiting."""
    return _presented(session, presented) is not None


def join(session: Session, presented: str, system: str, sidecar: str, address: str) -> Joined:
    """Exchange a join token for the sidecar's API token, in a transaction that writes and that must be committed.

    A refusal is a result and no exception, so that what was tried is kept: of a token whose secret was right, how
    often, when and from which `address`.
    """
    row = _presented(session, presented)
    if row is None:
        return unknown(address)
    # One statement takes it, so that two who present it at the same moment do not both get one.
    unused = (col(JoinToken.id) == row.id, col(JoinToken.used_at).is_(None), col(JoinToken.void_at).is_(None))
    if refused := _unfit(session, row, system, sidecar):
        return _refuse(session, row, *refused, address)
    # The transaction waits here for a workload that enrols meanwhile.
    if (who := allowances.held_by_workload(session, system, sidecar)) is not None:
        return _refuse(session, row, Reason.SIDECAR_TAKEN, allowances.taken(who, system, sidecar), address)
    taken = session.execute(
        update(JoinToken)
        .where(*unused)
        .values(used_at=now(), used_from=address[:64])
        .execution_options(synchronize_session=False)
    )
    session.refresh(row)
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        return _refuse(session, row, Reason.SIDECAR_INVITATION, "this join token was used already", address)
    scopes = [Scope(scope) for scope in row.scopes]
    token, text = tokens.issue(session, f"sidecar {sidecar}", scopes, system, sidecar, created_by=row.created_by)
    row.api_token = token.id
    session.add(row)
    session.flush()
    log.info("the sidecar %s of %s joined from %s", sidecar, system, address)
    return Joined(token, text)


def unknown(address: str) -> Joined:
    """The refusal of a join token that nobody made."""
    log.warning("a join token that nobody made was presented from %s", address)
    return Joined(refused="this join token is not known here", reason=Reason.SIDECAR_INVITATION)


def evict(session: Session, by: Access, system: str, sidecar: str, reason: str) -> tuple[Eviction, bool]:
    """Evict a sidecar, heard of or not, and say whether that is new; in a transaction that writes.

    From its commit on no token of the sidecar counts (the gate looks), its invitations are void,
    and workloads that may be it may no more. What was being
    taken from the sidecar is stored before, or refused.
    """
    systems.find(session, system)
    lineage.serialise(session, system, sidecar)
    if (found := eviction(session, system, sidecar)) is not None:
        return found, False
    row = Eviction(system=system, sidecar=sidecar, reason=reason, evicted_by=by.id, evicted_by_name=by.name)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # somebody else did at the same moment
        found = eviction(session, system, sidecar)
        if found is None:
            raise
        return found, False
    _void_invitations(session, system, sidecar)
    allowances.end_for(session, by, row)
    log.warning("the sidecar %s of %s was evicted with the token %s (%s)", sidecar, system, by.name, by.id)
    return row, True


def is_known(session: Session, system: str, sidecar: str) -> bool:
    """Whether the sidecar was heard of, or somebody invited it or made a token for it."""
    return session.get(Sidecar, (system, sidecar)) is not None or any(
        session.exec(select(kind.id).where(kind.system == system, kind.sidecar == sidecar).limit(1)).first() is not None
        for kind in (JoinToken, ApiToken)
    )


def readmit(session: Session, by: Access, system: str, sidecar: str) -> Eviction:
    """End an eviction; its row stays as evidence. The old tokens are revoked: it must join anew. Raises `NotFound`."""
    row = eviction(session, system, sidecar)
    if row is None:
        raise NotFound(f"the sidecar {sidecar} of {system} is not evicted")
    row.readmitted_at, row.readmitted_by, row.readmitted_by_name = now(), by.id, by.name
    session.add(row)
    session.flush()
    _void_invitations(session, system, sidecar)
    bound = (col(ApiToken.system) == system, col(ApiToken.sidecar) == sidecar, col(ApiToken.revoked_at).is_(None))
    session.execute(update(ApiToken).where(*bound).values(revoked_at=now()))
    log.warning("the sidecar %s of %s was readmitted with the token %s (%s)", sidecar, system, by.name, by.id)
    return row


def eviction(session: Session, system: str, sidecar: str) -> Eviction | None:
    """The eviction of a sidecar that is in force."""
    return session.exec(select(Eviction).where(*evicting(system, sidecar))).first()


def evicting(system: Any, sidecar: Any) -> tuple[Any, ...]:
    """Which evictions of a sidecar are in force, for a query; names, or parameters of it."""
    return Eviction.system == system, Eviction.sidecar == sidecar, col(Eviction.readmitted_at).is_(None)


def is_evicted(session: Session, system: str, sidecar: str) -> bool:
    """Whether a sidecar is evicted now."""
    return eviction(session, system, sidecar) is not None


def require_admitted(session: Session, system: str, sidecar: str) -> None:
    """Raise `Forbidden` with the reason `sidecar.evicted` when the sidecar is evicted."""
    if (row := eviction(session, system, sidecar)) is not None:
        raise Forbidden(
            f"the sidecar {sidecar} of {system} was evicted at {row.evicted_at.isoformat(timespec='seconds')}: "
            f"{row.reason}",
            reason=str(Reason.SIDECAR_EVICTED),
        )


def evicted(session: Session, system: str | None = None) -> dict[tuple[str, str], Eviction]:
    """Every eviction in force, by system and sidecar."""
    query = select(Eviction).where(col(Eviction.readmitted_at).is_(None))
    rows = session.exec(query.where(Eviction.system == system) if system else query)
    return {(row.system, row.sidecar): row for row in rows}


def invitations(session: Session, system: str, limit: int = 100) -> list[JoinToken]:
    """The newest join tokens of a system, and what became of them."""
    query = select(JoinToken).where(JoinToken.system == system)
    return list(session.exec(query.order_by(col(JoinToken.created_at).desc()).limit(limit)))


def status(row: JoinToken) -> str:
    """`open`, `used`, `void` or `expired`."""
    if row.used_at is not None:
        return "used"
    if row.void_at is not None:
        return "void"
    return "open" if row.expires_at > now() else "expired"


def _presented(session: Session, presented: str) -> JoinToken | None:
    """The join token of that id, if the secret is right."""
    identifier, secret = tokens.parts(presented, _PREFIX)
    row = session.get(JoinToken, identifier) if identifier else None
    right = tokens.is_secret(secret, row.secret_sha256 if row else None)
    return row if right else None


def _unfit(session: Session, row: JoinToken, system: str, sidecar: str) -> tuple[Reason, str] | None:
    """Why a join token does not do; None when it does."""
    code = Reason.SIDECAR_INVITATION
    if (row.system, row.sidecar) != (system, sidecar):
        return code, f"this join token is for the sidecar {row.sidecar} of {row.system}"
    if is_evicted(session, system, sidecar):  # which makes its join tokens void
        return Reason.SIDECAR_EVICTED, "the sidecar was evicted"
    if (state := status(row)) != "open":
        why = {"used": "was used already", "void": "is void: the sidecar was evicted since"}.get(state, "has expired")
        return code, f"this join token {why}; ask for another one: placet sidecar invite"
    inviter = tokens.recall(session, row.created_by)
    if inviter is None or not all(inviter.may(Scope(scope)) for scope in [Scope.TOKEN_WRITE, *row.scopes]):
        return code, "the token of whoever invited was revoked; ask for another join token"
    return None


def _refuse(session: Session, row: JoinToken, code: Reason, why: str, address: str) -> Joined:
    """Keep that it was tried: whoever knows a join token and may not use it may have stolen it."""
    # Counted by the database: of many who are refused at the same moment none is lost.
    seen = {"refusals": JoinToken.refusals + 1, "refused_at": now(), "refused_from": address[:64]}
    session.execute(
        update(JoinToken).where(col(JoinToken.id) == row.id).values(**seen).execution_options(synchronize_session=False)
    )
    log.warning("the join token %s of %s/%s was refused to %s: %s", row.id, row.system, row.sidecar, address, why)
    return Joined(refused=why, reason=code)


def _void_invitations(session: Session, system: str, sidecar: str) -> None:
    pending = (col(JoinToken.used_at).is_(None), col(JoinToken.void_at).is_(None))
    theirs = (col(JoinToken.system) == system, col(JoinToken.sidecar) == sidecar)
    session.execute(update(JoinToken).where(*theirs, *pending).values(void_at=now()))

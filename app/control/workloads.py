"""Workloads that enrol as sidecars: an identity token of a trusted issuer, for the API token of one sidecar.

The token must be for this control plane and nobody else: whoever else it were for could present it here. It may be
presented again while it is fresh, as after the sidecar lost its API token; what it got before is then revoked. What
somebody else got under the same name is not, another workload or whoever was invited: that one is in the way until a
person revokes its API token.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import update
from sqlmodel import Session, col, select

from app.control import allowances, enrolment, governance, identity_tokens, lineage, standing, tokens
from app.control.enrolment import Joined
from app.control.identity_tokens import Identity
from app.control.store import Allowance, ApiToken, Enrolment
from app.control.store.columns import now
from app.control.tokens import SIDECAR_SCOPES
from app.core.errors import Denied
from app.core.governance import control_plane_id
from app.core.reason_codes import Reason
from app.core.warrant_scope import covers

log = logging.getLogger("placet.control")

#: Where a workload enrols; it needs no API token.
ENROL = "/api/v1/enrol"

#: Seconds since its `iat` that a token is taken, where the system's governance does not say fewer. Kubernetes renews
#: those of an hour after 48 minutes.
MAX_AGE = 3600

_WHAT = "identity_token"


@dataclass(frozen=True)
class Presented:
    """What somebody asks for who presents an identity token."""

    token: str
    system: str
    sidecar: str
    address: str


def verify(session: Session, home: str, presented: Presented) -> Identity:
    """Whose token this is. Raises `Denied` with the reason why it is not taken, and `Forbidden` for a quarantine.

    It only reads: who guesses keeps nobody waiting.
    """
    own = control_plane_id(home)
    most = governance.of(session, presented.system).max_identity_age_seconds
    max_age = MAX_AGE if most is None else min(most, MAX_AGE)
    found = identity_tokens.verify(session, home, presented.token, also_for=own, max_age=max_age, what=_WHAT)
    if found.claims["aud"] not in (own, [own]):
        raise Denied(Reason.IDENTITY_AUDIENCE, f"the {_WHAT} must be for {own} and for nobody else", step=_WHAT)
    if found.actors:
        raise Denied(Reason.IDENTITY_ACTORS, f"the {_WHAT} is of somebody who acts for another (act)", step=_WHAT)
    standing.require(session, home, [found.who])
    return found


def is_known(session: Session, who: Identity, system: str) -> bool:
    """Whether the workload is or was allowed anything in that system. It only reads."""
    return bool(allowances.of(session, system, who.who))


def unknown(who: Identity, presented: Presented) -> Joined:
    """The refusal of a workload that nobody ever allowed."""
    return _refused(who, presented, Reason.SIDECAR_NOT_ALLOWED)


def enrol(session: Session, who: Identity, presented: Presented) -> Joined:
    """Give a verified workload the sidecar's API token, in a transaction that writes and that must be committed.

    A refusal is a result and no exception, so that it is kept: how often, when and from which address.
    """
    system, sidecar = presented.system, presented.sidecar
    lineage.serialise(session, system, sidecar)  # as an eviction does: before it, or refused
    theirs = [row for row in allowances.of(session, system, who.who) if covers([row.sidecar], sidecar)]
    if not theirs:
        return unknown(who, presented)
    row = next((one for one in theirs if one.ended_at is None), theirs[-1])
    if (reason := _unfit(session, row, who, sidecar)) is not None:
        seen = {"refusals": Allowance.refusals + 1, "refused_at": now(), "refused_from": presented.address[:64]}
        of_row = update(Allowance).where(col(Allowance.id) == row.id).values(**seen)
        session.execute(of_row.execution_options(synchronize_session=False))
        return _refused(who, presented, reason)
    _revoke_earlier(session, system, sidecar)
    token, text = tokens.issue(
        session, f"sidecar {sidecar}", SIDECAR_SCOPES, system, sidecar, created_by=row.created_by
    )
    made = Enrolment(
        system=system,
        sidecar=sidecar,
        allowance=row.id or 0,
        token_sha256=sha256(presented.token.encode()).hexdigest(),
        token_issued_at=datetime.fromtimestamp(who.claims["iat"], UTC),
        enrolled_from=presented.address[:64],
        api_token=token.id,
    )
    session.add(made)
    session.flush()
    log.info("%s enrolled as the sidecar %s of %s from %s", who.who, sidecar, system, presented.address)
    return Joined(token, text)


def _unfit(session: Session, row: Allowance, who: Identity, sidecar: str) -> Reason | None:
    """Why an allowance does not do; None when it does."""
    if row.evicted is not None or enrolment.is_evicted(session, row.system, sidecar):
        return Reason.SIDECAR_EVICTED
    if row.ended_at is not None:
        return Reason.SIDECAR_NOT_ALLOWED
    fresh_from = allowances.fresh_from(session, row.system, who.who, sidecar)
    if fresh_from is not None and who.claims["iat"] < fresh_from.timestamp():
        return Reason.IDENTITY_STALE
    if any(one != who.who for one in allowances.holders(session, row.system, sidecar)):
        return Reason.SIDECAR_TAKEN
    return None


def _refused(who: Identity, presented: Presented, reason: Reason) -> Joined:
    named = f"{who.who} as the sidecar {presented.sidecar} of {presented.system}"
    log.warning("refused to enrol %s from %s: %s", named, presented.address, reason)
    why = {
        Reason.SIDECAR_EVICTED: "was evicted (placet sidecar list); have it allowed again: placet sidecar allow",
        Reason.SIDECAR_NOT_ALLOWED: "is not allowed; have it allowed: placet sidecar allow",
        Reason.IDENTITY_STALE: "needs a token that was issued after the eviction",
        Reason.SIDECAR_TAKEN: "is not who has that sidecar's API token (placet sidecar enrolments, token list); "
        "have that one revoked",
    }
    return Joined(refused=f"{named} {why[reason]}", reason=reason)


def _revoke_earlier(session: Session, system: str, sidecar: str) -> None:
    """Revoke what the sidecar got this way before: it was lost, or somebody else has it."""
    before = select(Enrolment.api_token).where(Enrolment.system == system, Enrolment.sidecar == sidecar)
    lost = (col(ApiToken.id).in_(before), col(ApiToken.revoked_at).is_(None))
    session.execute(update(ApiToken).where(*lost).values(revoked_at=now()))

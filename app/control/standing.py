"""Whether somebody may be given anything at all: a trusted issuer, the right kind of name, a linked domain, and no
quarantine. The rules are those of decisions (`rego/placet/`), so that nobody gets a warrant that nobody would take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlmodel import Session, col, select

from app.control import issuers, quarantine
from app.control.problems import Forbidden, Invalid
from app.control.store import DomainLink, Issuer, Quarantine
from app.core.letter_case import lowered
from app.core.reason_codes import Reason
from app.core.warrants import Principal

#: Beginnings of names that belong to somebody in particular.
_SPIFFE, _KUBERNETES = "spiffe:", "system:serviceaccount:"

#: SPIFFE ID specification, section 2: a trust domain, and path segments that are neither empty nor dots alone.
_WORKLOAD = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)+")
_MAX_WORKLOAD = 2048


def require(session: Session, home: str, principals: Iterable[Principal]) -> None:
    """Fail unless each of `principals` stands. `home` is the control plane's own domain.

    Raises `Invalid` for an issuer that nobody trusts, and `Forbidden` with a reason for the rest.
    """
    for number, one in enumerate(principals):
        issuer = issuers.find(session, one.issuer)
        if issuer is None:
            raise Invalid(f"the issuer {one.issuer} is not trusted; add it: placet issuer add")
        domain = issuer.domain or home
        if not vouches(issuer, one.id):
            raise Forbidden(f"{one.issuer} may not vouch for {one.id}", reason=str(Reason.IDENTITY_DOMAIN))
        if not is_linked(session, home, domain):
            raise Forbidden(f"the domain {domain} is not linked", reason=str(Reason.WARRANT_DOMAIN))
        if _denied(session, quarantine.SUBJECT, one.id, one.issuer):
            reason = Reason.QUARANTINE_ACTOR if number else Reason.QUARANTINE_SUBJECT
            raise Forbidden(f"{one.id} of {one.issuer} is in quarantine", reason=str(reason))
        if _denied(session, "domain", domain):
            raise Forbidden(f"the domain {domain} is in quarantine", reason=str(Reason.QUARANTINE_DOMAIN))


def is_linked(session: Session, home: str, domain: str) -> bool:
    """Whether subjects of this trust domain are taken at all."""
    return domain == home or session.get(DomainLink, domain) is not None


def vouches(issuer: Issuer, subject: str) -> bool:
    """Whether an issuer may vouch for a subject of that name."""
    if not subject.startswith(issuer.names):
        return False
    if issuer.names.startswith("spiffe://"):
        return len(subject) <= _MAX_WORKLOAD and _WORKLOAD.fullmatch(subject) is not None
    if issuer.names.startswith(_KUBERNETES):
        return True
    # An issuer of plain names cannot give names that look like workloads', however they are spelt.
    return not lowered(subject).startswith((_SPIFFE, _KUBERNETES))


def _denied(session: Session, kind: quarantine.Kind, name: str, issuer: str = "") -> bool:
    found = select(Quarantine.id).where(
        Quarantine.kind == kind,
        Quarantine.issuer == issuer,
        Quarantine.subject == name,
        col(Quarantine.lifted_at).is_(None),
    )
    return session.exec(found.limit(1)).first() is not None

"""What is known of a release's effect on past decisions, and whether a channel may point to it.

A report is what somebody with a token sent who made past decisions again (`placet decision impact --record`); nobody
signs it. How many records there were is counted here, so that none can be left out in silence.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.control import systems
from app.control.decision_filter import Filter
from app.control.problems import Invalid, NotFound
from app.control.store import Carried, Decision, ImpactReport, Pointer, System
from app.control.store.columns import now
from app.control.tokens import Access
from app.core.complaint import printable
from app.core.errors import Denied
from app.core.instant import written
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: Seconds of past decisions that a report must cover, unless the system says otherwise; and at most.
DEFAULT_SINCE, MAX_SINCE = 7 * 86400, 366 * 86400

#: A report that ends longer ago says nothing of today.
MAX_AGE = timedelta(days=1)

_STEP = "impact"


@dataclass(frozen=True)
class Rule:
    """What a system demands before a channel points to a release that it has not pointed to before."""

    #: Records that may change or be unknown: so many, or so many in a hundred; None: any.
    max_changed: int | None = None
    max_percent: float | None = None
    since_seconds: int = DEFAULT_SINCE

    @classmethod
    def of(cls, system: System) -> Rule | None:
        """The rule of a system; None when it demands nothing."""
        return cls(**system.impact) if system.impact is not None else None

    def limit(self, records: int) -> int | None:
        """How many of so many records may change."""
        if self.max_percent is not None:
            return int(records * self.max_percent / 100)
        return self.max_changed


def demand(session: Session, name: str, rule: Rule | None) -> System:
    """Set or take away what a system demands."""
    system = systems.find(session, name)
    system.impact = None if rule is None else dict(vars(rule))
    session.add(system)
    session.flush()
    return system


def record(session: Session, by: Access, report: ImpactReport) -> ImpactReport:
    """Keep a report about a release that its system carries. Raises `Invalid` for one that contradicts itself."""
    systems.find(session, report.system)
    if session.get(Carried, (report.system, report.release)) is None:
        raise NotFound(f"the system {report.system} has no release {report.release}; publish it first")
    if report.since >= report.until or report.until > now() + timedelta(minutes=1):
        raise Invalid("a report covers some past time")
    if report.changed + report.unavailable > report.records:
        raise Invalid("more records changed, or are unavailable, than were decided again")
    if sum(group["count"] for group in report.groups) != report.changed:
        raise Invalid("the groups do not add up to what changed")
    report.complete = report.records == _stored(session, report)
    report.recorded_by, report.recorded_by_name = by.id, by.name
    session.add(report)
    session.flush()
    said = f"{report.changed} of {report.records} records change, {report.unavailable} are unavailable"
    log.info("impact of %s in %s by %s: %s", report.release, report.system, printable(by.name), said)
    return report


def latest(session: Session, system: str, release: str) -> ImpactReport | None:
    """The report on a release that came last."""
    query = select(ImpactReport).where(ImpactReport.system == system, ImpactReport.release == release)
    return session.exec(query.order_by(col(ImpactReport.id).desc()).limit(1)).first()


def listed(session: Session, system: str, release: str | None = None, limit: int = 50) -> list[ImpactReport]:
    """The newest reports of a system, perhaps of one release."""
    systems.find(session, system)
    query = select(ImpactReport).where(ImpactReport.system == system)
    if release is not None:
        query = query.where(ImpactReport.release == release)
    return list(session.exec(query.order_by(col(ImpactReport.id).desc()).limit(limit)))


def require(session: Session, system: System, channel: str, release: str) -> None:
    """Deny unless the system's rule lets the channel point to the release.

    A release that the channel has pointed to before may always come back: what it decides is known, and a rollback
    must not wait. Raises `Denied` with `impact.missing` or `impact.exceeded`.
    """
    rule = Rule.of(system)
    if rule is None or _was_there(session, system.name, channel, release):
        return
    report = latest(session, system.name, release)
    if lacking := _lacking(rule, report):
        raise Denied(Reason.IMPACT_MISSING, lacking, step=_STEP, field="release")
    assert report is not None
    limit, found = rule.limit(report.records), report.changed + report.unavailable
    if limit is not None and found > limit:
        detail = f"{report.changed} of {report.records} past decisions change and {report.unavailable} are unknown; "
        raise Denied(Reason.IMPACT_EXCEEDED, f"{detail}{limit} may", step=_STEP, field="release")


def _lacking(rule: Rule, report: ImpactReport | None) -> str:
    """Why a report does not do; empty when it does."""
    if report is None:
        return "there is no report of the release's impact"
    if not report.complete:
        return f"report {report.id} does not cover all records of its time"
    if report.until < now() - MAX_AGE:
        return f"report {report.id} ends at {written(report.until)}, more than a day ago"
    if report.until - report.since < timedelta(seconds=rule.since_seconds):
        return f"report {report.id} begins at {written(report.since)}, less than {rule.since_seconds} s before its end"
    return ""


def _was_there(session: Session, system: str, channel: str, release: str) -> bool:
    there = (Pointer.system == system, Pointer.channel == channel, Pointer.release == release)
    return session.exec(select(Pointer.sequence).where(*there).limit(1)).first() is not None


def _stored(session: Session, report: ImpactReport) -> int:
    """How many decisions of that time are stored."""
    where: list[Any] = list(Filter(system=report.system, since=report.since, until=report.until).conditions())
    return session.exec(select(func.count()).select_from(Decision).where(*where)).one()

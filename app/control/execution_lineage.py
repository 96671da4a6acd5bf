"""The lineage of an execution: its story and its graph, of evidence from any source (`app.core.execution_evidence`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from app.control.lineage_rows import RowEvidence
from app.control.plane import Plane
from app.control.problems import Conflict, NotFound
from app.control.store import Link
from app.core import execution_evidence, graph
from app.core.execution_evidence import Key, Source
from app.core.link_names import END, START


@dataclass(frozen=True)
class Wanted:
    """Where an execution ran, as far as that is known: the same id may stand in several places."""

    system: str | None = None
    sidecar: str | None = None
    instance: str | None = None

    def holds(self, key: Key) -> bool:
        """Whether it may be this one."""
        return all(given in (None, there) for given, there in zip(vars(self).values(), key, strict=False))


def stored(plane: Plane, identifier: str, only_system: str | None, *, wanted: Wanted, depth: int) -> graph.Document:
    """By what this control plane holds; nothing of other systems than `only_system`, unless that is None."""
    with plane.store.read() as session:
        source = RowEvidence(session, plane.objects, plane.verify_statement, only_system)
        return of(source, identifier, wanted=wanted, depth=depth)


def of(source: Source, identifier: str, *, wanted: Wanted, depth: int) -> graph.Document:
    """By what a source finds. Raises `NotFound`, and `Conflict` where several executions have this id."""
    return graph.build(execution_evidence.gather(source, choose(source, identifier, wanted), depth))


def choose(source: Source, identifier: str, wanted: Wanted) -> Key:
    """The one execution of this id in the place that is wanted. Raises `NotFound`, `Conflict`."""
    found = [key for key in source.executions(identifier) if wanted.holds(key)]
    if not found:
        raise NotFound(f"no sidecar has stated anything about an execution {identifier}")
    if len(found) > 1:
        places = ", ".join("/".join(key[:3]) for key in found[:8])
        raise Conflict(f"several executions are called {identifier}: say which system, sidecar, instance: {places}")
    return found[0]


@dataclass(frozen=True)
class Started:
    """An execution, as far as rows tell it."""

    key: Key
    started_at: datetime
    ended_at: datetime | None


def listed(
    session: Session, system: str | None, limit: int, before: int | None = None
) -> tuple[list[Started], int | None]:
    """Executions by the statements of their starts, those that came last first; and where the next older ones begin."""
    earlier = aliased(Link)
    same = [getattr(earlier, name) == getattr(Link, name) for name in ("system", "sidecar", "instance", "execution")]
    again = select(earlier.id).where(*same, earlier.number < Link.number)
    query = select(Link).where(Link.kind == START, ~exists(again))
    if system is not None:
        query = query.where(Link.system == system)
    if before is not None:
        query = query.where(col(Link.id) < before)
    found = list(session.exec(query.order_by(col(Link.id).desc()).limit(limit + 1)))
    rows = found[:limit]
    ends = select(Link).where(Link.kind == END, col(Link.execution).in_([row.execution for row in rows]))
    ended = {_key(row): row.at for row in session.exec(ends)}
    items = [Started(_key(row), row.at, ended.get(_key(row))) for row in rows]
    return items, rows[-1].id if len(found) > limit else None


def _key(row: Link) -> Key:
    return Key(row.system, row.sidecar, row.instance, row.execution or "")

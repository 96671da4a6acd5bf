"""The lineage of an execution: its story and its graph, of evidence from any source (`app.core.execution_evidence`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select, tuple_

from app.control.lineage_rows import RowEvidence, read_link
from app.control.objects import Objects
from app.control.plane import Plane
from app.control.problems import Conflict, NotFound
from app.control.store import Link
from app.core import execution_evidence, graph
from app.core.errors import Denied
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


#: How an execution ended whose statement of that was lost or changed in the store: fsck names it.
UNREADABLE = "unreadable"
#: Statements that are read at once: the store may be far away.
_READERS = 8


@dataclass(frozen=True)
class Ended:
    """When an execution ended, how, and the code of why, where its end names one."""

    at: datetime
    outcome: str
    reason: str | None


@dataclass(frozen=True)
class Started:
    """An execution of which a start was stated, and its end if there is one."""

    key: Key
    started_at: datetime
    ended: Ended | None


def listed(
    session: Session, objects: Objects, system: str | None, limit: int, before: int | None = None
) -> tuple[list[Started], int | None]:
    """Executions by the statements of their starts, those that came last first; and where the next older ones begin."""
    earlier = aliased(Link)
    fields = ("system", "sidecar", "instance", "execution")
    same = [getattr(earlier, name) == getattr(Link, name) for name in fields]
    again = select(earlier.id).where(*same, earlier.number < Link.number)
    query = select(Link).where(Link.kind == START, ~exists(again))
    if system is not None:
        query = query.where(Link.system == system)
    if before is not None:
        query = query.where(col(Link.id) < before)
    found = list(session.exec(query.order_by(col(Link.id).desc()).limit(limit + 1)))
    rows = found[:limit]
    # Executions of others may have the same ids, as many as they like.
    whole = tuple_(*(col(getattr(Link, name)) for name in fields))
    ours = whole.in_([tuple(getattr(row, name) for name in fields) for row in rows])
    ends = select(Link).where(Link.kind == END, col(Link.execution).in_({row.execution for row in rows}), ours)
    with ThreadPoolExecutor(_READERS) as readers:
        ended = dict(readers.map(lambda row: (_key(row), _ended(objects, row)), list(session.exec(ends))))
    items = [Started(_key(row), row.at, ended.get(_key(row))) for row in rows]
    return items, rows[-1].id if len(found) > limit else None


def _ended(objects: Objects, row: Link) -> Ended:
    """What the sidecar signed of it: rows do not hold it."""
    try:
        said = read_link(objects, row).byproducts
    except (Denied, NotFound):
        return Ended(row.at, UNREADABLE, None)
    return Ended(row.at, said["outcome"], said["reason"])


def _key(row: Link) -> Key:
    return Key(row.system, row.sidecar, row.instance, row.execution or "")

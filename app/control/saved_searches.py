"""Searches under a name: of one system, or of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, func, or_, select

from app.control import systems
from app.control.problems import Conflict, NotFound
from app.control.store import SavedSearch
from app.control.store.columns import now

#: Searches that a control plane keeps.
MAX_SEARCHES = 1000


def save(session: Session, name: str, system: str | None, document: dict[str, Any], saved_by: str) -> SavedSearch:
    """Save a filter, as the API names it, under a name, in the place of one that has the name already."""
    if system is not None:
        systems.find(session, system)
    found = session.get(SavedSearch, (system or "", name))
    if found is None:
        if session.exec(select(func.count()).select_from(SavedSearch)).one() >= MAX_SEARCHES:
            raise Conflict(f"{MAX_SEARCHES} searches are saved already; delete some")
        found = SavedSearch(system=system or "", name=name, filter=document, saved_by=saved_by)
    found.filter, found.saved_by, found.saved_at = document, saved_by, now()
    session.add(found)
    return found


def find(session: Session, name: str, system: str | None) -> SavedSearch:
    """The search of that name, of the system or else of all."""
    for of in dict.fromkeys((system or "", "")):
        if (found := session.get(SavedSearch, (of, name))) is not None:
            return found
    raise NotFound(f"no search is saved as {name}" + (f" for {system}" if system else ""))


def listed(session: Session, only_system: str | None) -> Sequence[SavedSearch]:
    """All saved searches; those of one system and of all, for whom sees but one."""
    query = select(SavedSearch).order_by(col(SavedSearch.name), col(SavedSearch.system))
    if only_system is not None:
        query = query.where(or_(SavedSearch.system == only_system, SavedSearch.system == ""))
    return session.exec(query).all()


def delete(session: Session, name: str, system: str | None) -> None:
    """Delete the search of exactly this system, or of all."""
    found = session.get(SavedSearch, (system or "", name))
    if found is None:
        raise NotFound(f"no search is saved as {name}" + (f" for {system}" if system else " for all systems"))
    session.delete(found)

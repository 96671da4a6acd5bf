"""The filter of decisions as a question of the API names it; several routes take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Query
from sqlmodel import Session

from app.control import decision_filter, saved_searches, systems
from app.control.api.access import PlaneOf, by
from app.control.decision_filter import MAX_TEXT, MAX_WHERE, Filter
from app.control.problems import Forbidden
from app.control.tokens import Access, Scope

Reader = Annotated[Access, by(Scope.DECISION_READ, everywhere=True)]

#: Names of fields that questions name otherwise.
PARAMETERS = {"subject_id": "subject", "subject_issuer": "issuer", "resource_id": "resource"}

_Short = Annotated[str | None, Query(max_length=63)]
_Long = Annotated[str | None, Query(max_length=512)]


def only_system(access: Access, asked: str | None) -> str | None:
    """The system whose decisions may be seen: a bound token sees its own."""
    if access.system is not None and asked not in (None, access.system):
        raise Forbidden(f"this token is bound to the system {access.system}")
    return access.system or asked


def known_system(session: Session, access: Access, asked: str | None) -> str | None:
    """The same of a system that there is: of another one a list would be empty, as if nothing had happened there.

    Raises `Forbidden`, `NotFound`.
    """
    if (system := only_system(access, asked)) is not None:
        systems.find(session, system)
    return system


def filter_of(document: Mapping[str, Any]) -> Filter:
    """The filter that a question describes, by the names of `Filter`. Raises `Invalid`."""
    members = {name: value for name, value in document.items() if value}
    for name in ("since", "until"):
        if name in members:
            members[name] = decision_filter.moment(members[name])
    if "where" in members:
        members["where"] = decision_filter.where(members["where"])
    return Filter(**members)


def document(
    system: _Short = None,
    outcome: Annotated[str | None, Query(max_length=10)] = None,
    since: Annotated[str | None, Query(max_length=40)] = None,
    until: Annotated[str | None, Query(max_length=40)] = None,
    text: Annotated[str | None, Query(max_length=MAX_TEXT, description="Words of the record; all occur.")] = None,
    where: Annotated[
        list[str] | None,
        Query(max_length=MAX_WHERE, description="At this JSON path this value: `input.context.amount=40`."),
    ] = None,
    mode: Annotated[str | None, Query(max_length=16)] = None,
    execution: _Long = None,
    sidecar: _Short = None,
    subject: _Long = None,
    issuer: _Long = None,
    action: _Long = None,
    resource_type: _Long = None,
    resource: _Long = None,
    reason: Annotated[str | None, Query(max_length=100)] = None,
    policy: Annotated[str | None, Query(max_length=80)] = None,
) -> dict[str, Any]:
    """What was asked for, by the names of `Filter`, times as they were written."""
    asked = {
        "system": system, "outcome": outcome, "since": since, "until": until, "text": text,
        "where": where or [], "mode": mode, "execution": execution, "sidecar": sidecar,
        "subject_id": subject, "subject_issuer": issuer, "action": action, "resource_type": resource_type,
        "resource_id": resource, "reason": reason, "policy": policy,
    }  # fmt: skip
    return {name: value for name, value in asked.items() if value}


def wanted(
    plane: PlaneOf,
    access: Reader,
    asked: Annotated[dict[str, Any], Depends(document)],
    saved: Annotated[str | None, Query(max_length=63, description="A saved search; other filters narrow it.")] = None,
) -> Filter:
    """What the question looks for, in what its token may see."""
    with plane.store.read() as session:
        return wanted_by(session, access, asked, saved)


def wanted_by(session: Session, access: Access, asked: Mapping[str, Any], saved: str | None) -> Filter:
    """The filter of a question, within a saved search if it names one, in what the token may see. Raises `Problem`."""
    system = known_system(session, access, asked.get("system"))
    members = dict(asked)
    if saved:
        found = saved_searches.find(session, saved, system)
        members = {**found.filter, **asked}
        if found.system:
            system = only_system(access, found.system)
    return replace(filter_of(members), system=system or members.get("system"))


FilterOf = Annotated[Filter, Depends(wanted)]

"""Segments in the trust state: exact names for look-up, prefixes with the longest first, flows by source and target."""

from __future__ import annotations

from typing import Any

from app.core.errors import Denied
from app.core.governance import SystemGovernance
from app.core.reason_codes import Reason


def of(governance: SystemGovernance) -> dict[str, Any] | None:
    """`trust.segments`: None when the system has none. Raises `Denied` for what could mean two segments."""
    if not governance.segments:
        return None
    names: set[str] = set()
    subjects: dict[str, dict[str, str]] = {}
    subject_prefixes: dict[str, dict[str, str]] = {}
    resources: dict[str, str] = {}
    resource_prefixes: dict[str, str] = {}
    for segment in governance.segments:
        if segment.name in names:
            raise Denied(Reason.METADATA_INVALID, f"the segment {segment.name} stands twice")
        names.add(segment.name)
        for one in segment.subjects:
            exact, prefixes = subjects.setdefault(one.issuer, {}), subject_prefixes.setdefault(one.issuer, {})
            _place(one.subject, segment.name, exact, prefixes)
        for pattern in segment.resources:
            _place(pattern, segment.name, resources, resource_prefixes)
    flows: dict[str, dict[str, list[str]]] = {}
    for flow in governance.flows:
        flows.setdefault(flow.source, {}).setdefault(flow.target, []).extend(flow.actions)
    return {
        "subjects": {issuer: exact for issuer, exact in subjects.items() if exact},
        "subject_prefixes": {issuer: _longest_first(found) for issuer, found in subject_prefixes.items() if found},
        "resources": resources,
        "resource_prefixes": _longest_first(resource_prefixes),
        "flows": flows,
    }


def _place(pattern: str, segment: str, exact: dict[str, str], prefixes: dict[str, str]) -> None:
    place, name = (prefixes, pattern[:-1]) if pattern.endswith("*") else (exact, pattern)
    if place.setdefault(name, segment) != segment:
        raise Denied(Reason.METADATA_INVALID, f"{pattern} is in the segments {place[name]} and {segment}")


def _longest_first(prefixes: dict[str, str]) -> list[dict[str, str]]:
    ordered = sorted(prefixes, key=lambda prefix: (-len(prefix), prefix))
    return [{"prefix": prefix, "segment": prefixes[prefix]} for prefix in ordered]

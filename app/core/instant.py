"""Times as statements and predicates write them: RFC 3339, UTC, in whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime


def written(at: datetime) -> str:
    """The time, such as `2026-01-31T12:00:00Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

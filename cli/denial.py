"""A denial as a person reads it: one line, with the step of the verification that failed and the place in the input."""

from __future__ import annotations

from app.core.errors import Denied


def told(denied: Denied) -> str:
    """What was denied, and where, unless it says so itself."""
    where = [f"step {denied.step}"] if denied.step else []
    if denied.field and denied.field not in denied.detail:
        where.append(denied.field)
    return f"{denied} ({', '.join(where)})" if where else str(denied)

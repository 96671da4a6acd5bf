"""A verifier's denial as a person reads it: one line, with the step that failed and the place in the input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.core.errors import Denied


@contextmanager
def placed() -> Iterator[None]:
    """Say of a denial which step failed, and where in the input."""
    try:
        yield
    except Denied as denied:
        where = ", ".join(filter(None, (f"step {denied.step}" if denied.step else "", denied.field)))
        detail = f"{denied.detail} ({where})" if where else denied.detail
        raise Denied(denied.reason, detail, step=denied.step, field=denied.field) from denied

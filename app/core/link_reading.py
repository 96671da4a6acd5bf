"""Reading a statement of lineage, strictly: whatever is not as it would be written is `link.malformed`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from app.core import strict_json
from app.core.complaint import complaint, place
from app.core.errors import Denied
from app.core.reason_codes import Reason

#: RFC 3339, UTC, in whole seconds.
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def malformed(detail: str, field: str | None = None) -> Denied:
    """The denial of a statement that is none of lineage."""
    return Denied(Reason.LINK_MALFORMED, f"{field}: {detail}" if field else detail, step="link", field=field)


def document(raw: bytes, most: int) -> dict[str, Any]:
    """The statement as JSON, of at most so many bytes. Raises `Denied`."""
    if len(raw) > most:
        raise malformed(f"a statement has at most {most} bytes")
    try:
        return strict_json.load_object(raw)
    except strict_json.StrictJSONError as error:
        raise malformed(str(error)) from error


def validated(form: Any, value: Any, within: str = "") -> Any:
    """A part of the statement in its form; `within` is where it stands. Raises `Denied`."""
    try:
        return form.model_validate(value)
    except ValidationError as error:
        at = ".".join(part for part in (within, place(error)) if part)
        raise Denied(Reason.LINK_MALFORMED, complaint(error), step="link", field=at) from error


def moment(text: str, field: str) -> datetime:
    """A time of the statement. Raises `Denied` for a day that is none."""
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise malformed("there is no such time", field) from error


def require_canonical(statement: bytes, raw: bytes) -> None:
    """Raise `Denied` unless these bytes are how the statement is written, in order and in form (RFC 8785)."""
    if statement != raw:
        raise malformed("not RFC 8785 bytes")

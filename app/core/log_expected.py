"""What a lineage log must hold: the entries that a control plane has evidence of, as it lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from app.core import strict_json
from app.core.checkpoint import MAX_CHECKPOINT
from app.core.complaint import complaint
from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded
from app.core.log_source import LogUnavailable

#: Bytes of a file of expected entries.
MAX_FILE = 256 * 1024 * 1024
#: Pages without an entry, one after the other: what was refused and cannot be read any more is counted, not listed.
MAX_EMPTY = 16

_Line = Annotated[str, StringConstraints(max_length=512)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ExpectedEntry(_Form):
    """One entry, by what the control plane holds of it."""

    #: What it is evidence of, for a person: `batch payments/a/INSTANCE/120`.
    name: _Line
    #: Its place in the log, a decimal string.
    index: Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")]
    #: The leaf hash of its `canonicalizedBody` (RFC 6962), hexadecimal; None where the control plane's own evidence
    #: of it cannot be read any more.
    leaf: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None
    #: The checkpoint that whoever signed it saw, as a signed note; None as well then.
    checkpoint: Annotated[str, StringConstraints(max_length=MAX_CHECKPOINT)] | None


class ExpectedPage(_Form):
    """Some entries, in the order in which the control plane stored them."""

    #: How the identities begin whose entries must all be here.
    identities: _Line
    entries: list[ExpectedEntry]
    #: Where the next page begins; also when nothing more is there yet.
    next: _Line
    more: bool


class Onwards:
    """Sees that pages lead somewhere: whoever promises more for ever would keep us from looking at the log."""

    def __init__(self) -> None:
        self._empty = 0

    def require(self, after: str | None, reached: str, entries: int, *, more: bool) -> None:
        """Judge the page behind `after`. Raises `LogUnavailable`."""
        self._empty = 0 if entries else self._empty + 1
        if more and (reached == after or self._empty > MAX_EMPTY):
            raise LogUnavailable("what must be in the log is not told: a page leads nowhere, and promises more")


class Expected(Protocol):
    """Who says what the log must hold."""

    def page(self, after: str | None) -> ExpectedPage:
        """The page that begins behind `after`, or the first one. Raises `PlacetError`."""


class ExpectedFile:
    """A file of expected entries, as `placet lineage entries` writes it: one page, which is read again each time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._page = checked_page(_object(file), str(file))

    def page(self, after: str | None) -> ExpectedPage:
        """As `Expected.page`: a file has one page."""
        return self._page


def checked_page(document: Any, source: str) -> ExpectedPage:
    """A page of which the form is right. Raises `PlacetError`: nothing can be said of what nobody can read."""
    try:
        return ExpectedPage.model_validate(document)
    except ValidationError as error:
        raise PlacetError(f"{source} holds no list of expected entries: {complaint(error)}") from error


def _object(file: Path) -> dict[str, Any]:
    try:
        return strict_json.load_object(read_bounded(file, MAX_FILE, "the expected entries"))
    except strict_json.StrictJSONError as error:
        raise UsageError(f"{file}: {error}") from error

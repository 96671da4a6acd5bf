"""Breaks of lineage and their clearing, as the control plane signs them: changes of how far a sidecar is trusted.

Their form is in docs/lineage.md. A sidecar's own journal cannot say them: a sidecar that is not honest would not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import StringConstraints

from app.core import link_reading, statements
from app.core.instant import written
from app.core.link_form import Code, Decimal, Instance, Part, Time
from app.core.link_names import Ref, descriptors, payload_digest, sidecar_ref
from app.core.link_reading import malformed, moment, require_canonical, validated
from app.core.targets import Digest

BREAK = f"{statements.PLACET}/lineage-break/v1"

OPENED, STOPPED, CLEARED = "opened", "stopped", "cleared"
#: In the order in which they may be said of one break.
CHANGES = (OPENED, STOPPED, CLEARED)

#: Bytes of a statement.
MAX_STATEMENT = 64 * 1024

_Sidecar = Annotated[str, StringConstraints(pattern=r"^spiffe://[a-z0-9._-]{1,255}/sidecar/[a-z0-9-]+/[a-z0-9-]+$")]
_Text = Annotated[str, StringConstraints(max_length=4096)]


class _Form(Part):
    """The predicate."""

    sidecar: _Sidecar
    instance: Instance | None
    number: Decimal
    change: Literal["opened", "stopped", "cleared"]
    kind: Code
    detail: _Text
    stops: bool
    of: Digest
    at: Time
    stops_at: Time | None = None
    opened: Digest | None
    by: _Text | None
    reason: _Text | None


@dataclass(frozen=True)
class BreakStatement:
    """A break was opened, it stops its sidecar from now on, or a person cleared it."""

    sidecar: str
    #: None where the refused statement could not be read.
    instance: str | None
    #: The break's number at its control plane.
    number: int
    change: str
    #: Its reason code, and what is told with it.
    kind: str
    detail: str
    #: Whether it stops the sidecar until it is cleared.
    stops: bool
    #: SHA-256 of the statement that speaks against the sidecar, or of the body that was refused.
    of: str
    #: When, by the control plane's clock, UTC, in whole seconds.
    at: datetime
    #: The digest of the statement that it was opened; None in that one.
    opened: str | None = None
    #: Of what is cleared: who cleared it, and why.
    by: str | None = None
    reason: str | None = None
    #: From when on it stops the sidecar, where the system bears it for a time; None: from the beginning.
    stops_at: datetime | None = None

    @property
    def subject(self) -> Ref:
        """The sidecar's instance, as its own journal names it."""
        return sidecar_ref(self.sidecar, self.instance or "")

    @property
    def digest(self) -> str:
        """`payload_digest` of the statement."""
        return payload_digest(self.statement())

    def statement(self) -> bytes:
        """The statement, as the bytes that are signed."""
        predicate: dict[str, Any] = {**vars(self), "number": str(self.number), "at": written(self.at)}
        # Only where there is one: statements that were signed before there were such breaks stay what they are.
        del predicate["stops_at"]
        if self.stops_at is not None:
            predicate["stops_at"] = written(self.stops_at)
        return statements.statement(descriptors([self.subject]), BREAK, predicate)

    @staticmethod
    def read(raw: bytes) -> BreakStatement:
        """Read a statement, which must be its RFC 8785 bytes. Raises `Denied` with `link.malformed`."""
        document = link_reading.document(raw, MAX_STATEMENT)
        if document.get("predicateType") != BREAK:
            raise malformed("it is about no break", "predicateType")
        form = validated(_Form, document.get("predicate"))
        at = moment(form.at, "at")
        stops_at = form.stops_at and moment(form.stops_at, "stops_at")
        says = BreakStatement(**{**form.model_dump(), "number": int(form.number), "at": at, "stops_at": stops_at})
        if (says.by is not None, says.reason is not None) != (says.change == CLEARED,) * 2:
            raise malformed("who cleared what, and why, is told of what is cleared, and of nothing else", "change")
        if (says.opened is None) != (says.change == OPENED):
            raise malformed("whatever follows the opening names its statement, and nothing else does", "opened")
        if says.change == STOPPED and says.stops_at != says.at:
            raise malformed("it stops at the time that was told, and no other", "stops_at")
        require_canonical(says.statement(), raw)
        return says


@dataclass(frozen=True)
class ToldBreak:
    """A statement of which signature and place in the log are proved."""

    says: BreakStatement
    #: `payload_digest` of the statement.
    digest: str
    signed_at: datetime
    log_index: int


def within(
    told: Iterable[ToldBreak], instance: str, first: datetime, last: datetime | None, limit: int
) -> list[ToldBreak]:
    """Of a sidecar's breaks, in their order those of an instance (or of nobody knows which) that were opened between
    two times, and what followed: that it stopped the sidecar, and its clearing. With those that its system bore then:
    opened before, and not cleared."""
    every = sorted(told, key=lambda one: (one.says.number, CHANGES.index(one.says.change)))
    over = {one.says.number for one in every if one.says.change == CLEARED and one.says.at < first}
    found: list[ToldBreak] = []
    opened: set[int] = set()
    for one in every:
        says = one.says
        if says.instance not in (instance, None):
            continue
        borne = says.stops_at is not None and says.number not in over
        if says.change == OPENED and (first <= says.at or borne) and (last is None or says.at <= last):
            opened.add(says.number)
        if says.number in opened:
            found.append(one)
    return found[:limit]

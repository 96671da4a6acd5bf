"""The errors that people see. Each carries one line that says what is wrong and what to do about it.

Exit codes of `placet`: 0 done, 1 failed, 2 wrong usage, 3 denied.
"""

from __future__ import annotations

from typing import Any, ClassVar

from app.core.reason_codes import Reason


class PlacetError(Exception):
    """Something failed. The text is one clear line, without a trailing full stop."""

    exit_code: ClassVar[int] = 1


class UsageError(PlacetError):
    """The caller asked for something that makes no sense: a missing file, a wrong option, a bad name."""

    exit_code: ClassVar[int] = 2


class Denied(PlacetError):
    """A verification or a decision said no.

    `reason` is the stable code; `step` names the step of the verification that failed and `field` the exact
    place in the input, where there is one.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, reason: Reason, detail: str, *, step: str | None = None, field: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.step = step
        self.field = field

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions would come out of another process with their text alone."""
        return _denied, (type(self), self.reason, self.detail, self.step, self.field)

    def as_dict(self) -> dict[str, Any]:
        """The denial as the JSON that the CLI and the API print."""
        return {"reason": str(self.reason), "detail": self.detail, "step": self.step, "field": self.field}


class TooSlow(Denied):
    """A denial because something took too long on this host, now. It says nothing lasting about the input."""


def reason_of(given: Any) -> Reason | None:
    """The reason that an answer gives, if it is one that we know: it may give anything, also a list or an object."""
    try:
        return Reason(given)
    except ValueError:
        return None


def _denied(kind: type[Denied], reason: Reason, detail: str, step: str | None, field: str | None) -> Denied:
    return kind(reason, detail, step=step, field=field)

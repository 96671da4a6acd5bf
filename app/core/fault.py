"""One thing that is wrong with a bundle: what, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.errors import Denied
from app.core.reason_codes import Reason

#: What helps against a denial that does not say so itself.
_REMEDIES = {
    Reason.DATA_MALFORMED: "data is one JSON object in UTF-8 without a byte order mark, each member once",
    Reason.DATA_OUTSIDE_ROOTS: "move it below a root, or add its root",
    Reason.MANIFEST_MALFORMED: "a manifest is a JSON object of roots, revision and metadata, without a byte order mark",
}


@dataclass(frozen=True)
class Fault:
    """The verifier stops at the first; an author is told all of them."""

    reason: Reason
    #: One line that names what is wrong.
    message: str
    #: One line that says what to do.
    remedy: str
    #: The file, or the manifest's member.
    field: str | None = None

    @classmethod
    def of(cls, denied: Denied) -> Fault:
        """The verifier's denial as a fault, where nothing more is known about what to do."""
        return cls(
            denied.reason,
            denied.detail,
            _REMEDIES.get(denied.reason, f"docs/reasons.md explains {denied.reason}"),
            denied.field,
        )

    def denied(self, step: str | None = None) -> Denied:
        """The fault as the verifier's denial."""
        return Denied(self.reason, f"{self.message}; {self.remedy}", step=step, field=self.field)

    def as_dict(self) -> dict[str, str | None]:
        """The fault as JSON shows it."""
        return {"reason": str(self.reason), "message": self.message, "remedy": self.remedy, "field": self.field}

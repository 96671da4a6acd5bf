"""What came of a record that was decided again."""

from __future__ import annotations

import json
from enum import StrEnum

import msgspec

from app.core.reason_codes import Reason


class Verdict(StrEnum):
    """What came of one record."""

    SAME = "same"
    DIFFERS = "differs"
    UNAVAILABLE = "unavailable"


class Replayed(msgspec.Struct, frozen=True):
    """One record, decided again. The results are JSON as OPA wrote it; `None`: there is none."""

    decision_id: str | None
    verdict: Verdict
    detail: str | None = None
    recorded: str | None = None
    replayed: str | None = None

    @property
    def reason(self) -> Reason | None:
        """The reason code of what is not the same."""
        reasons = {Verdict.DIFFERS: Reason.REPLAY_DIFFERS, Verdict.UNAVAILABLE: Reason.REPLAY_UNAVAILABLE}
        return reasons.get(self.verdict)

    def line(self) -> str:
        """One line of JSON, in which results keep the text of their numbers."""
        members = {"decision_id": self.decision_id, "verdict": str(self.verdict)}
        if self.reason is not None:
            members |= {"reason": str(self.reason), "detail": self.detail}
        text = json.dumps(members, ensure_ascii=False)
        if self.verdict is Verdict.DIFFERS:
            text = f'{text[:-1]}, "recorded": {self.recorded or "null"}, "replayed": {self.replayed or "null"}}}'
        return text

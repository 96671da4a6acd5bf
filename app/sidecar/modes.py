"""Shadow and break-glass: declarations signed by people, verified here against the sidecar's own policy.

What does not verify has no effect and is reported. What verifies is in force between its beginning and its end, and
is told to OPA only then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.errors import Denied
from app.core.governance import SignedMode, SystemGovernance
from app.core.modes import Mode
from app.core.reason_codes import Reason
from app.sidecar.doubts import boot_seconds

log = logging.getLogger("placet.sidecar")

#: Seconds until a declaration that does not count is looked at again.
_RETRY = 60.0
#: What tells one declaration from another: audience, kind, evidence.
_Key = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True)
class _Judged:
    """What a declaration came to, and when that was, by the boot clock."""

    found: Mode | Denied
    at: float


class Modes:
    """The modes of one system. Updated by one thread, read by several."""

    def __init__(self, verify: Callable[[Sequence[str], str], Mode]) -> None:
        """`verify` takes evidence and the system's audience; raises `Denied` for what does not count."""
        self._verify = verify
        self._judged: dict[_Key, _Judged] = {}
        self._said: frozenset[str] = frozenset()

    def update(self, governance: SystemGovernance) -> None:
        """Verify what is declared now. A declaration that is withdrawn ends at once."""
        now, before = boot_seconds(), self._judged
        judged: dict[_Key, _Judged] = {}
        for declared in governance.modes:
            key = (governance.audience, declared.kind, tuple(declared.evidence))
            known = before.get(key)
            # One that failed is tried again now and then: the clock or the trust may have been wrong.
            keep = known is not None and (isinstance(known.found, Mode) or now - known.at < _RETRY)
            judged[key] = known if known is not None and keep else _Judged(self._judge(declared, governance), now)
        self._judged = judged

    def failures(self) -> list[Denied]:
        """Why each declaration that does not count does not."""
        return [one.found for one in self._judged.values() if isinstance(one.found, Denied)]

    def in_force(self, now_ns: int) -> list[Mode]:
        """The modes in force at a time in nanoseconds since the epoch."""
        modes = [one.found for one in self._judged.values() if isinstance(one.found, Mode)]
        current = [mode for mode in modes if mode.from_ns <= now_ns < mode.until_ns]
        self._say(current)
        return current

    def _judge(self, declared: SignedMode, governance: SystemGovernance) -> Mode | Denied:
        try:
            mode = self._verify(declared.evidence, governance.audience)
        except Denied as denied:
            log.warning("a declared %s has no effect: %s", declared.kind, denied.detail)
            return denied
        if mode.kind != declared.kind:
            return Denied(Reason.MODE_INVALID, f"published as {declared.kind}, signed as {mode.kind}")
        return mode

    def _say(self, current: list[Mode]) -> None:
        names = frozenset(mode.id for mode in current)
        for mode in current:
            if mode.id not in self._said:
                log.warning("%s %s is in force until %s: %s", mode.kind, mode.id, mode.until.isoformat(), mode.reason)
        for name in self._said - names:
            log.warning("the mode %s is over", name)
        self._said = names


def as_trusted(modes: Sequence[Mode]) -> dict[str, list[dict[str, Any]]]:
    """The modes in the form of the trust state's member `modes`."""
    return {
        "shadow": [_times(mode) for mode in modes if mode.kind == "shadow"],
        "break_glass": [
            {
                **_times(mode),
                "subjects": [{"issuer": one.issuer, "id": one.id} for one in mode.subjects],
                "actions": list(mode.actions),
                "resources": list(mode.resources),
                "reason": mode.reason,
                "by": list(mode.by),
            }
            for mode in modes
            if mode.kind == "break-glass"
        ],
    }


def as_reported(modes: Sequence[Mode]) -> list[dict[str, str]]:
    """The modes as a status shows them."""
    return [{"kind": mode.kind, "id": mode.id, "until": mode.until.isoformat()} for mode in modes]


def _times(mode: Mode) -> dict[str, Any]:
    return {"id": mode.id, "from_ns": mode.from_ns, "until_ns": mode.until_ns}

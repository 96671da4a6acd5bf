"""Keeps this sidecar's environment attested: sends evidence to the control plane, and holds the results.

A result is a JWT that OPA verifies. It is refreshed before it expires; one that expired is dropped. When the control
plane refuses the evidence, what it vouched for before is dropped at once; when it does not answer, that stands.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.sidecar.control_plane import NotAccepted

log = logging.getLogger("placet.sidecar")

#: Characters of one result.
MAX_RESULT = 8192
#: Seconds until the next try after a failure: at first, and at most.
_BACKOFF, _BACKOFF_MAX = 1.0, 60.0
#: Seconds between two refreshes, whatever the control plane says.
_SOONEST, _LATEST = 1.0, 3600.0
_TYP = "ear+jwt"


@dataclass(frozen=True)
class Expected:
    """What a result must say: about whom, and for whom."""

    sidecar: str
    audience: str


@dataclass(frozen=True)
class _Held:
    token: str
    expires_at: float


class Environment:
    """The attestation results of one sidecar. One thread refreshes, several read."""

    def __init__(
        self,
        evidence: Callable[[], list[dict[str, Any]]],
        attest: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]],
        expected: Callable[[], Expected | None],
        changed: Callable[[], None],
    ) -> None:
        """`evidence` reads it anew each time; `attest` asks the control plane; `changed` is told of a new result."""
        self._evidence = evidence
        self._attest = attest
        self._expected = expected
        self._changed = changed
        self._held: _Held | None = None
        self._backoff = _BACKOFF
        #: Why the last refresh failed, if it did.
        self.failure: Denied | None = None

    def results(self, now: float) -> tuple[str, ...]:
        """The results that have not expired at `now`, in seconds since the epoch."""
        held = self._held
        return (held.token,) if held and now < held.expires_at else ()

    def expires_at(self) -> float | None:
        """When the result that is held expires, in seconds since the epoch; None without one."""
        return self._held.expires_at if self._held else None

    def step(self) -> float:
        """Refresh once. Returns the seconds until the next time."""
        expected = self._expected()
        if expected is None:
            return _SOONEST  # the domain is not known before the first metadata
        try:
            held, refresh = _read(self._attest(self._evidence()), expected, time.time())
        except (NotAccepted, PlacetError) as error:
            return self._fail(error)
        self._held = held
        self._backoff = _BACKOFF
        if self.failure is not None:
            log.info("the environment is attested again")
        self.failure = None
        self._changed()
        return refresh

    def _fail(self, error: PlacetError) -> float:
        if getattr(error, "reason", None) == Reason.ENVIRONMENT_REFUSED and self._held:
            self._held = None
            self._changed()
        detail = error.detail if isinstance(error, Denied) else str(error)
        if self.failure is None or self.failure.detail != detail:
            log.warning("the environment was not attested: %s", detail)
        self.failure = Denied(Reason.ENVIRONMENT_UNAVAILABLE, detail)
        wait, self._backoff = self._backoff, min(self._backoff * 2, _BACKOFF_MAX)
        return wait


def _read(answer: Mapping[str, Any], expected: Expected, now: float) -> tuple[_Held, float]:
    """The result in the control plane's answer, and when to refresh it. OPA verifies the signature, not this."""
    token = answer.get("result")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_RESULT:
        raise _unavailable(f"the answer holds no result of at most {MAX_RESULT} characters")
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
        ends = datetime.fromisoformat(str(answer.get("expires_at"))).timestamp()
    except (jwt.PyJWTError, ValueError) as error:
        raise _unavailable(f"the result is not well formed: {error}") from error
    about, audience, expires = claims.get("sub_id"), claims.get("aud"), claims.get("exp")
    if header.get("typ") != _TYP:
        raise _unavailable(f"the result's type is {header.get('typ')!r}, not {_TYP}")
    if not isinstance(about, dict) or about.get("sub") != expected.sidecar or claims.get("sub") != expected.sidecar:
        raise _unavailable("the result is not about this sidecar")
    if expected.audience not in (audience if isinstance(audience, list) else [audience]):
        raise _unavailable("the result is not for this system")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not now < expires or ends > expires + 1:
        raise _unavailable("the result has expired, or does not say when it will")
    left = expires - now
    asked = answer.get("refresh_after_seconds")
    refresh = float(asked) if isinstance(asked, int | float) and not isinstance(asked, bool) else left / 2
    return _Held(token, float(expires)), max(_SOONEST, min(refresh, left * 0.75, _LATEST))


def _unavailable(detail: str) -> Denied:
    return Denied(Reason.ENVIRONMENT_UNAVAILABLE, detail)

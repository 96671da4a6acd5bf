"""Callers that ask OPA for decisions, and remember every answer that they got."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from app.core.reason_codes import Reason
from placet_sdk import Decision, read_response

#: Seconds to wait for one answer.
TIMEOUT = 2.0


@dataclass(frozen=True)
class Answer:
    """What one request came to. `decision_id` is None when OPA did not answer."""

    decision: Decision
    decision_id: str | None
    #: Seconds on the monotonic clock when the answer was there.
    at: float

    @property
    def codes(self) -> list[str]:
        """The reason codes of a denial."""
        return self.decision.codes


class Caller:
    """A client of one sidecar's OPA that pins the sidecar's CA and takes nothing from the environment."""

    def __init__(self, port: int, ca: Path) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        self._http = httpx.Client(
            base_url=f"https://127.0.0.1:{port}", verify=context, timeout=TIMEOUT, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, request: dict[str, Any]) -> Answer:
        """Ask for a decision; a denial of the client's own when there is none."""
        try:
            answer = self._http.post("/v1/data/placet/decision", json={"input": request})
        except httpx.HTTPError as error:
            return Answer(Decision.deny(Reason.SIDECAR_UNREACHABLE, type(error).__name__), None, time.monotonic())
        at = time.monotonic()
        decision = read_response(answer.status_code, answer.content)
        return Answer(decision, decision.decision_id, at)

    def status_of(self, method: str, path: str, **request: Any) -> int:
        """The status code of any other request, without a token."""
        return self._http.request(method, path, **request).status_code


@dataclass
class Load:
    """Several callers at once, until stopped. A context manager."""

    port: int
    ca: Path
    request: dict[str, Any]
    callers: int = 4
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        #: When the load began, RFC 3339, a little early.
        self.since = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=TIMEOUT + 5)

    def answered(self) -> set[str]:
        """The decisions that OPA answered, by id."""
        return {answer.decision_id for answer in list(self.answers) if answer.decision_id}

    def outcomes(self) -> Counter[str]:
        """How often each outcome was seen: `allow`, or the first reason code."""
        return Counter("allow" if answer.decision.allow else answer.codes[0] for answer in list(self.answers))

    def _run(self) -> None:
        caller = Caller(self.port, self.ca)
        while not self._stopping.is_set():
            answer = caller.ask(self.request)
            self.answers.append(answer)
            if answer.decision_id is None:
                time.sleep(0.02)  # nobody answers: do not spin
        caller.close()

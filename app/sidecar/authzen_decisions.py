"""Asks OPA for AuthZEN's evaluations: each is one decision, and so one record."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from app.core import reason_table
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import authzen
from app.sidecar.answers import read_decision
from app.sidecar.authzen import Batch, Evaluation, Malformed
from app.sidecar.opa_api import OpaApi, OpaUnavailable

PATH = "placet/decision"
#: Seconds for all evaluations of one request.
_LIMIT = 10.0


class Unauthenticated(Exception):
    """The caller's own token is missing or not accepted."""


class Failed(Exception):
    """There is no decision. The text says why, in one line."""


class Decisions:
    """Evaluations by the OPA that runs now. Safe to use from several threads."""

    def __init__(self, api: Callable[[], OpaApi | None]) -> None:
        self._api = api

    def answer(self, evaluation: Evaluation, token: str) -> dict[str, Any]:
        """One evaluation. Raises `Unauthenticated`, `Failed`, and `Malformed` for what OPA itself does not take."""
        api = self._api()
        if api is None:
            raise Failed("OPA does not run")
        try:
            decision = read_decision(api.ask(PATH, authzen.to_input(evaluation, token)))
        except OpaUnavailable as error:
            raise Failed("OPA does not answer") from error
        except Denied as denied:
            if denied.reason == Reason.REQUEST_MALFORMED:
                raise Malformed(reason_table.message(denied.reason)) from denied
            raise Failed(f"{denied.reason}: {reason_table.message(denied.reason)}") from denied
        if authzen.is_unauthenticated(decision):
            raise Unauthenticated("; ".join(f"{one['code']}: {one['message']}" for one in decision["reasons"]))
        subject = decision.get("subject")
        if decision["allow"] and (not isinstance(subject, dict) or subject.get("id") != evaluation.subject):
            raise Failed("the decision is about another subject")
        return authzen.to_answer(decision)

    def answers(self, batch: Batch, token: str) -> list[dict[str, Any]]:
        """The evaluations of one request, in order, as far as its semantic goes. Raises `Unauthenticated`."""
        deadline = time.monotonic() + _LIMIT
        answers: list[dict[str, Any]] = []
        for evaluation in batch.evaluations:
            answers.append(self._one(evaluation, token, deadline))
            if authzen.stops(batch.semantic, answers[-1]):
                break
        return answers

    def _one(self, evaluation: Evaluation | Malformed, token: str, deadline: float) -> dict[str, Any]:
        if isinstance(evaluation, Malformed):
            return authzen.error(400, evaluation.said)
        if time.monotonic() > deadline:
            return authzen.error(503, "there was no time left for this one")
        try:
            return self.answer(evaluation, token)
        except Malformed as error:
            return authzen.error(400, error.said)
        except Failed as error:
            return authzen.error(500, str(error))

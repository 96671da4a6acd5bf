"""Starts executions: OPA decides, the control plane counts the uses, the agent signs the token.

Whatever is in doubt on the way is a denial with a reason; nothing is redeemed before OPA allowed.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.sidecar import footing
from app.sidecar.answers import Redeemed, Start, decision_id, read_start, refused
from app.sidecar.control_plane import NotAccepted
from app.sidecar.execution_journal import ExecutionJournal
from app.sidecar.execution_keys import LIFETIME, ExecutionKeys
from app.sidecar.execution_notes import Asked
from app.sidecar.footing import Footing
from app.sidecar.opa_api import OpaApi, OpaUnavailable
from app.sidecar.running import Running
from app.sidecar.seen import Executing, Nonces, jti_of

log = logging.getLogger("placet.sidecar")

PATH = "placet/start"
_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
#: Seconds that an id is somebody's after a start or a renewal: longer than the token lives, redemption included.
_CLAIMED = LIFETIME + 60
#: What the control plane may refuse a redemption with; anything else is doubt.
_REFUSALS = frozenset(
    {
        Reason.WARRANT_SPENT,
        Reason.WARRANT_REVOKED,
        Reason.WARRANT_INVALID,
        Reason.WARRANT_EXPIRED,
        Reason.EXECUTION_CONFLICT,
    }
)

Redeem = Callable[[str, Mapping[str, str], Sequence[Mapping[str, Any]]], None]


class BadRequest(ValueError):
    """The request is not of the expected form. The text says why in one line."""


@dataclass(frozen=True)
class Outcome:
    """A decision (none for a renewal), and the execution that it let start: `{id, token, expires_at}`."""

    decision: dict[str, Any] | None
    execution: dict[str, str] | None = None
    #: Of OPA's record.
    decision_id: str | None = None


@dataclass(frozen=True)
class Admitted:
    """An execution that goes on: its token's claims, what it rests on, the trust state, and what a refusal is about."""

    claims: dict[str, Any]
    rests: Footing
    trust: dict[str, Any]
    about: dict[str, Any]


class NotAdmitted(Exception):
    """The execution does not go on. `outcome` is the answer."""

    def __init__(self, reason: Reason, about: Mapping[str, Any] | None = None) -> None:
        super().__init__(str(reason))
        self.outcome = Outcome(refused(reason, about))


class Executions:
    """Starts and renews the executions of one sidecar. Safe to use from several threads."""

    def __init__(
        self,
        keys: ExecutionKeys,
        api: Callable[[], OpaApi | None],
        trust: Callable[[], dict[str, Any] | None],
        redeem: Redeem,
        running: Running,
        journal: ExecutionJournal | None = None,
    ) -> None:
        """`trust`: the trust state under a lease that holds now; None without one. `redeem`: at the control plane.

        `running` keeps what they rest on. `journal`: where starts are noted before they are answered; None: nowhere.
        """
        self._keys = keys
        self._api = api
        self._trust = trust
        self._redeem = redeem
        self._running = running
        self._journal = journal
        self._nonces = Nonces()
        self._executing = Executing()

    def start(self, request: Mapping[str, Any], workflow: str | None = None) -> Outcome:
        """Start an execution for a request as of a decision, within a workflow or none. Raises `BadRequest`."""
        identifier = _identifier(request.get("execution"))
        api, trust = self._api(), self._trust()
        if trust is None or api is None:
            return Outcome(refused(Reason.LEASE_MISSING))
        named = {} if workflow is None else {"workflow": workflow}
        try:
            if self._journal is not None:
                self._journal.require_open(identifier)
            elif workflow is not None:
                raise Denied(Reason.LINEAGE_UNAVAILABLE, "no workflow can be followed without a journal")
            answer = api.ask(PATH, {**request, "execution": {"id": identifier, **named}})
            asked = Asked(identifier, request, workflow, decision_id(answer))
            start = read_start(answer)
            outcome = self._decided(asked, start, trust)
            if start.decision["allow"] and not outcome.execution and outcome.decision:
                return replace(outcome, decision_id=_recorded(api, asked, outcome.decision["reasons"][0]))
            return replace(outcome, decision_id=asked.decision)
        except OpaUnavailable:
            return Outcome(refused(Reason.SIDECAR_UNREACHABLE))
        except Denied as denied:
            return Outcome(refused(denied.reason))

    def renew(self, identifier: str, token: str) -> Outcome:
        """A new token for an execution whose token has not expired, and which nothing has ended since."""
        try:
            admitted = self.admit(identifier, token)
        except NotAdmitted as refusal:
            return refusal.outcome
        claims, about = admitted.claims, admitted.about
        until = claims.get("until", claims["exp"])
        inherited = {name: value for name, value in claims.items() if name not in {"iss", "aud", "iat", "exp", "exe"}}
        try:
            execution = self._signed(identifier, inherited, until, admitted.rests, admitted.trust)
        except PlacetError as error:
            return Outcome(refused(getattr(error, "reason", Reason.AGENT_FAILED), about))
        return Outcome(None, execution)

    def admit(self, identifier: str, token: str, *, ended: bool = False) -> Admitted:
        """Verify the token of an execution, and that nothing has ended it since; `ended`: or that it ended itself.

        Raises `NotAdmitted`.
        """
        trust = self._trust()
        if trust is None:
            raise NotAdmitted(Reason.LEASE_MISSING)
        try:
            claims = self._keys.verify(token, trust["execution"]["issuer"], trust["audience"])
        except Denied as denied:
            raise NotAdmitted(denied.reason) from denied
        subject = {**_subject(claims), "domain": claims["domain"], "actors": claims["actors"]}
        about = {"execution": identifier, "subject": subject}
        if claims["exe"] != identifier:
            raise NotAdmitted(Reason.EXECUTION_MISMATCH, about)
        try:
            rests = self._running.footing(identifier, claims.get("rests"))
            if self._journal is not None and not ended:
                self._journal.require_open(identifier)
        except Denied as denied:
            raise NotAdmitted(denied.reason, about) from denied
        if not ended and identifier in trust["quarantine"]["executions"]:
            raise NotAdmitted(Reason.QUARANTINE_EXECUTION, about)
        if reason := footing.lost(rests, trust, time.time()):
            raise NotAdmitted(reason, about)
        if not self._claim(identifier, claims):
            raise NotAdmitted(Reason.EXECUTION_CONFLICT, about)
        return Admitted(claims, rests, trust, about)

    def _decided(self, asked: Asked, start: Start, before: Mapping[str, Any]) -> Outcome:
        """`before`: the trust state before OPA was asked."""
        if not start.decision["allow"]:
            return Outcome(start.decision)
        identifier = asked.execution
        try:
            workflow = self._journal.begin(identifier, asked.body(), start.claims) if self._journal else None
            rests = footing.of(start.claims, asked.request, before)
            if reason := self._settle(identifier, start, asked.request.get("proof")):
                raise Denied(reason, "what must be so once is not")
            trust = self._trust()
            if trust is None:  # lost while the control plane was asked
                raise Denied(Reason.LEASE_MISSING, "the lease was lost")
            named = {} if workflow is None else {"workflow": workflow}
            claims = {**_narrowed(start, trust), **named}
            execution = self._signed(identifier, claims, start.until, rests, trust)
            if self._journal is not None:  # before anybody has the token
                self._journal.start(asked, start, workflow, trust["execution"]["issuer"])
            return Outcome(start.decision, execution)
        except PlacetError as error:
            log.warning("execution %s was not started: %s", identifier, error)
            return Outcome(refused(getattr(error, "reason", Reason.AGENT_FAILED), start.decision))

    def _settle(self, identifier: str, start: Start, proof: Any) -> Reason | None:
        """What must be so once, and not again: the proof's nonce, the execution's id, the uses of the warrants."""
        if proof is not None and not self._nonces.use(jti_of(proof), time.time()):
            return Reason.WARRANT_PROOF_INVALID
        if not self._claim(identifier, start.claims):
            return Reason.EXECUTION_CONFLICT
        return self._redeemed(identifier, _subject(start.claims), start.redeem) if start.redeem else None

    def _claim(self, identifier: str, claims: Mapping[str, Any]) -> bool:
        """Take the id for this subject and its warrants, or keep it, as long as the token that follows may live."""
        owner, now = (claims["sub_iss"], claims["sub"], *claims["warrants"]), time.time()
        return self._executing.claim(identifier, owner, now, until=now + _CLAIMED)

    def _redeemed(self, identifier: str, subject: dict[str, str], warrants: Sequence[Redeemed]) -> Reason | None:
        try:
            self._redeem(identifier, subject, [warrant.model_dump() for warrant in warrants])
        except NotAccepted as error:
            log.warning("warrants of execution %s were not redeemed: %s", identifier, error)
            return error.reason if error.reason in _REFUSALS else Reason.WARRANT_UNREDEEMED
        return None

    def _signed(
        self, identifier: str, claims: Mapping[str, Any], until: int, rests: Footing, trust: Mapping[str, Any]
    ) -> dict[str, str]:
        now = int(time.time())
        expires = min(now + LIFETIME, until)
        if expires <= now:
            raise Denied(Reason.EXECUTION_EXPIRED, "what it rests on has expired")
        said = {
            **claims,
            "iss": trust["execution"]["issuer"],
            "aud": trust["audience"],
            "iat": now,
            "exp": expires,
            "exe": identifier,
            "until": until,
        }
        token = self._running.hold(
            identifier, rests, expires, trust, lambda name: self._keys.sign({**said, "rests": name})
        )
        at = datetime.fromtimestamp(expires, tz=UTC).isoformat().replace("+00:00", "Z")
        return {"id": identifier, "token": token, "expires_at": at}


def _recorded(api: OpaApi, asked: Asked, reason: Mapping[str, str]) -> str | None:
    """Have OPA record that what it allowed was refused after all. The record's id, if there is one."""
    named = {} if asked.workflow is None else {"workflow": asked.workflow}
    try:
        return decision_id(
            api.ask(PATH, {**asked.request, "execution": {"id": asked.execution, **named, "refused": dict(reason)}})
        )
    except OpaUnavailable as error:
        log.warning("the refusal of execution %s (%s) has no record: %s", asked.execution, reason["code"], error)
        return None


def _identifier(execution: Any) -> str:
    """The id that the caller chose, for a start that may be repeated; or a new one, which nobody can guess."""
    if execution is None:
        return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(12)}"
    if not isinstance(execution, dict) or set(execution) != {"id"} or not isinstance(execution["id"], str):
        raise BadRequest("input.execution is {id} alone, or absent")
    if not _ID.fullmatch(execution["id"]):
        raise BadRequest("an execution's id has 16 to 64 letters, digits, - and _")
    return execution["id"]


def _narrowed(start: Start, trust: Mapping[str, Any]) -> dict[str, Any]:
    """The token's claims. Broken glass may have stood in for a warrant: then the token covers what that covers.

    Inside an execution no warrant is asked for any more, so that it would otherwise reach as far as the policy does.
    """
    mode = start.decision.get("mode")
    if not mode or mode.get("kind") != "break-glass" or start.claims["warrants"]:
        return start.claims
    for glass in trust["modes"]["break_glass"]:
        if glass["id"] == mode.get("id"):
            return {**start.claims, "actions": glass["actions"], "resources": glass["resources"]}
    raise Denied(Reason.MODE_INVALID, "the mode that allowed it is not in force any more")


def _subject(claims: Mapping[str, Any]) -> dict[str, str]:
    return {"issuer": claims["sub_iss"], "id": claims["sub"]}

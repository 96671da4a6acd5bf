"""What OPA answers to the agent's own questions, read strictly: only a whole, well-formed `allow: true` allows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.core import reason_table
from app.core.complaint import complaint
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar.opa_api import Answer

#: How the message begins when OPA refuses a number before it evaluates anything, with status 500.
_REFUSED_NUMBER = b'"message": "invalid number:'

#: Codes of the policy's own reasons begin so; an "allow" may carry them, and no others.
_OF_POLICY = "policy:"

Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Reason(_Form):
    code: Text
    message: str


class _Decision(_Form):
    allow: bool
    reasons: list[_Reason]
    obligations: list[dict[str, Any]]
    subject: dict[str, Any] | None = None


class Redeemed(_Form):
    """A warrant whose uses are counted: by `issuer` and `jti`; it expires at `expires_at`, seconds since the epoch."""

    jti: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    issuer: Text
    uses: Annotated[int, Field(ge=1, lt=2**53)]
    expires_at: Annotated[int, Field(ge=0, lt=2**53)]


class _Start(_Form):
    decision: dict[str, Any]
    claims: dict[str, Any] | None
    expires_at_ns: Annotated[int, Field(ge=0, lt=2**63)] | None
    redeem: Annotated[list[Redeemed], Field(max_length=16)]


class _Claims(_Form):
    """The least that a token's claims must say; what else OPA says goes into the token as it is."""

    sub: Text
    sub_iss: Text
    domain: Text
    actors: list[dict[str, Any]]
    principals: Annotated[list[list[Text]], Field(min_length=1)]
    domains: Annotated[list[Text], Field(min_length=1)]
    warrants: list[Text]
    actions: Annotated[list[Text], Field(min_length=1)]
    resources: Annotated[list[Text], Field(min_length=1)]
    constraints: dict[str, Any]


@dataclass(frozen=True)
class Start:
    """OPA's answer to a start: its decision and, when that allows, what the execution's token is made of."""

    decision: dict[str, Any]
    claims: dict[str, Any] = field(default_factory=dict)
    #: The latest end, in seconds since the epoch.
    until: int = 0
    redeem: tuple[Redeemed, ...] = ()


#: Claims that the agent alone sets.
OWN_CLAIMS = frozenset({"iss", "aud", "iat", "exp", "exe", "until", "rests", "workflow"})


def read_decision(answer: Answer) -> dict[str, Any]:
    """The decision in an answer to `placet/decision`. Raises `Denied` with a client's code when there is none."""
    return _checked(_result(answer))


def read_start(answer: Answer) -> Start:
    """The answer to `placet/start`. Raises `Denied` with a client's code when there is none of the expected form."""
    result = _result(answer)
    try:
        start = _Start.model_validate(result)
        decision = _checked(start.decision)
        if not decision["allow"]:
            return Start(decision)
        claims = _Claims.model_validate(start.claims)
    except ValidationError as error:
        raise _malformed(error) from error
    if start.claims is None or start.expires_at_ns is None or OWN_CLAIMS & set(start.claims):
        raise Denied(Reason.DECISION_MALFORMED, "the answer has no end, or sets what the agent sets")
    if any(len(pair) != 2 for pair in claims.principals):
        raise Denied(Reason.DECISION_MALFORMED, "principals are not pairs")
    subject = decision.get("subject")
    if not isinstance(subject, dict) or (subject.get("issuer"), subject.get("id")) != (claims.sub_iss, claims.sub):
        raise Denied(Reason.DECISION_MALFORMED, "the token would be another's than the decision")
    return Start(decision, start.claims, start.expires_at_ns // 1_000_000_000, tuple(start.redeem))


def decision_id(answer: Answer) -> str | None:
    """OPA's id of the decision, by which its record is found; None when it gave none."""
    try:
        found = json.loads(answer.body).get("decision_id")
    except (ValueError, RecursionError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def refused(reason: Reason, decision: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A denial of the agent's own, in the form of a decision; `decision`: the "allow" that came to nothing."""
    known = decision or {}
    return {
        "allow": False,
        "reasons": [{"code": str(reason), "message": reason_table.message(reason)}],
        "obligations": [],
        "bundles": known.get("bundles", {}),
        "subject": known.get("subject"),
        "warrant": known.get("warrant"),
        "execution": known.get("execution"),
        "mode": None,
        "state": known.get("state"),
        "expires_at": None,
    }


def _result(answer: Answer) -> dict[str, Any]:
    if answer.status >= 500 and _REFUSED_NUMBER in answer.body:
        raise Denied(Reason.REQUEST_MALFORMED, "OPA refuses a number of the request")
    if answer.status >= 500:
        raise Denied(Reason.EVALUATION_ERROR, f"OPA answered with status {answer.status}")
    if answer.status != 200:
        raise Denied(Reason.REQUEST_MALFORMED, f"OPA answered with status {answer.status}")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise Denied(Reason.DECISION_MALFORMED, "OPA's answer is not JSON") from error
    result = document.get("result") if isinstance(document, dict) else None
    if not isinstance(result, dict) or not result:
        raise Denied(Reason.DECISION_UNDEFINED, "OPA gave no decision")
    return result


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    try:
        decision = _Decision.model_validate(result)
    except ValidationError as error:
        raise _malformed(error) from error
    own = [reason.code for reason in decision.reasons if not reason.code.startswith(_OF_POLICY)]
    if decision.allow == bool(own):
        raise Denied(Reason.DECISION_MALFORMED, "allow and reasons contradict each other")
    return result


def _malformed(error: ValidationError) -> Denied:
    return Denied(Reason.DECISION_MALFORMED, complaint(error))

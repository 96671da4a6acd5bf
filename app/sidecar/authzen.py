"""AuthZEN 1.0 (https://openid.net/specs/authorization-api-1_0.html) in terms of a decision of Placet.

The caller is known by its own token. A subject that is not the caller itself is asserted, which needs the grant
`assert-subject`; OPA decides that. What the caller says of a subject's type and properties reaches the policy at
`input.context.subject`, as context: as something that was said, not verified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jwt

from app.core.reason_codes import Reason

#: Evaluations in one request.
MAX_EVALUATIONS = 100

Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
_SEMANTICS: tuple[Semantic, ...] = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
#: What stands beside the entities of AuthZEN and is Placet's own; each goes into the input as it is.
_PLACET = ("warrant", "proof", "environment", "execution")
#: Reasons that mean that the caller did not authenticate (section "Error Responses": an invalid access token).
_UNAUTHENTICATED = frozenset(
    {
        "identity.missing",
        "identity.malformed",
        "identity.issuer_unknown",
        "identity.key_unknown",
        "identity.algorithm",
        "identity.invalid",
        "identity.audience",
        "identity.expired",
        "identity.not_yet_valid",
        "identity.claims",
    }
)


class Malformed(ValueError):
    """A required attribute is missing or of another type. The text says which."""

    @property
    def said(self) -> str:
        """The text behind its reason code, as clients get it."""
        return f"{Reason.REQUEST_MALFORMED}: {self}"


@dataclass(frozen=True)
class Evaluation:
    """One question, in the form of an input without identity, and the id of the subject that it names."""

    input: dict[str, Any]
    subject: str


@dataclass(frozen=True)
class Batch:
    """The questions of `/access/v1/evaluations`; one that is malformed holds why. None: the single form was meant."""

    evaluations: tuple[Evaluation | Malformed, ...]
    semantic: Semantic


def read_evaluation(body: Mapping[str, Any]) -> Evaluation:
    """Read an Access Evaluation request. Raises `Malformed`. Members that nobody knows are ignored, as they must be."""
    subject = _entity(body, "subject", "type", "id")
    action = _entity(body, "action", "name")
    resource = _entity(body, "resource", "type", "id")
    context = body.get("context", {})
    if not isinstance(context, dict):
        raise Malformed("context is not an object")
    if "subject" in context:
        raise Malformed("context.subject is where the subject's type and properties go; name yours otherwise")
    said = {name: value for name, value in subject.items() if name != "id"}
    extension = body.get("placet", {})
    if not isinstance(extension, dict) or set(extension) - set(_PLACET):
        raise Malformed(f"placet is not an object of {', '.join(_PLACET)}")
    question = {"action": action, "resource": resource, "context": {**context, "subject": said}, **extension}
    return Evaluation(question, subject["id"])


def read_evaluations(body: Mapping[str, Any]) -> Batch | None:
    """Read an Access Evaluations request; None when it has no evaluations and means one, in the single form."""
    evaluations = body.get("evaluations", [])
    if not isinstance(evaluations, list):
        raise Malformed("evaluations is not an array")
    if not evaluations:
        return None
    if len(evaluations) > MAX_EVALUATIONS:
        raise Malformed(f"there are {len(evaluations)} evaluations; at most {MAX_EVALUATIONS} are taken")
    options = body.get("options", {})
    semantic = options.get("evaluations_semantic", _SEMANTICS[0]) if isinstance(options, dict) else None
    if semantic not in _SEMANTICS:
        raise Malformed(f"options.evaluations_semantic is one of {', '.join(_SEMANTICS)}")
    defaults = {name: body[name] for name in ("subject", "action", "resource", "context", "placet") if name in body}
    return Batch(tuple(_each(defaults, evaluations)), semantic)


def to_input(evaluation: Evaluation, token: str) -> dict[str, Any]:
    """The input of the decision: for the caller itself, or for a subject that it names."""
    identity: dict[str, Any] = {"token": token}
    if evaluation.subject != _own_subject(token):
        identity["asserted"] = {"id": evaluation.subject}
    return {"identity": identity, **evaluation.input}


def is_unauthenticated(decision: Mapping[str, Any]) -> bool:
    """Whether the caller's own token is what was refused."""
    codes = {reason["code"] for reason in decision["reasons"]}
    return not decision["allow"] and decision.get("subject") is None and bool(codes & _UNAUTHENTICATED)


def to_answer(decision: Mapping[str, Any]) -> dict[str, Any]:
    """A decision in AuthZEN's form. What the caller must know besides yes or no is in its context."""
    if decision["allow"] and not decision["obligations"] and not decision["reasons"] and not decision.get("mode"):
        return {"decision": True}
    context: dict[str, Any] = {"reasons": decision["reasons"]}
    if decision["obligations"]:
        context["obligations"] = decision["obligations"]
    if decision.get("mode"):
        context["mode"] = decision["mode"]
    return {"decision": decision["allow"], "context": context}


def error(status: int, message: str) -> dict[str, Any]:
    """One evaluation of several that came to nothing: a denial that says why."""
    return {"decision": False, "context": {"error": {"status": status, "message": message}}}


def stops(semantic: Semantic, answer: Mapping[str, Any]) -> bool:
    """Whether no further evaluation is made after this answer."""
    return (semantic, answer["decision"]) in {("deny_on_first_deny", False), ("permit_on_first_permit", True)}


def configuration(base: str) -> dict[str, Any]:
    """The decision point's metadata (section "Policy Decision Point Metadata")."""
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
    }


def _each(defaults: Mapping[str, Any], evaluations: list[Any]) -> Iterator[Evaluation | Malformed]:
    for one in evaluations:
        try:
            if not isinstance(one, dict):
                raise Malformed("an evaluation is not an object")
            yield read_evaluation({**defaults, **one})
        except Malformed as malformed:
            yield malformed


def _entity(body: Mapping[str, Any], name: str, *required: str) -> dict[str, Any]:
    """An entity with its required texts and its properties, and nothing else."""
    given = body.get(name)
    if not isinstance(given, dict):
        raise Malformed(f"{name} is missing or not an object")
    entity: dict[str, Any] = {}
    for member in required:
        value = given.get(member)
        if not isinstance(value, str) or not value:
            raise Malformed(f"{name}.{member} is missing or not a text")
        entity[member] = value
    if "properties" in given:
        if not isinstance(given["properties"], dict):
            raise Malformed(f"{name}.properties is not an object")
        entity["properties"] = given["properties"]
    return entity


def _own_subject(token: str) -> str | None:
    """Whom the token is about, as it says itself. OPA verifies it; who misreads it here only gets a denial there."""
    try:
        subject = jwt.decode(token, options={"verify_signature": False}).get("sub")
    except jwt.PyJWTError:
        return None
    return subject if isinstance(subject, str) else None

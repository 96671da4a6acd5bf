"""What is asked: one request, put into the form of docs/decision.md. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from placet_sdk import codes
from placet_sdk.errors import ConfigurationError, Doubt
from placet_sdk.proof import ProofKey, prove
from placet_sdk.strict_json import MAX_REQUEST, encode

_OPEN, _CLOSE = b'{"input":', b"}"

#: The name alone, or the object of AuthZEN 1.0 with `name`.
Action = str | Mapping[str, Any]
#: `(type, id)`, or the object of AuthZEN 1.0 with `type` and `id`.
Resource = tuple[str, str] | Mapping[str, Any]


class Grant:
    """A started execution: its token stands for identity and warrants until it expires or is ended."""

    def __init__(self, id: str, token: str, expires_at: datetime) -> None:
        """`expires_at` with a time zone."""
        self.id = id
        self._forgotten = False
        self._take(token, expires_at)

    def _take(self, token: str, expires_at: datetime) -> None:
        #: A secret. Whoever holds it may act inside the execution.
        self.token = token
        self.expires_at = expires_at
        # Two clocks: the one may be set back, the other may stand still while the machine sleeps.
        self._deadline = time.monotonic() + (expires_at - datetime.now(UTC)).total_seconds()

    def renewed(self, grant: Grant) -> None:
        """Go on with the token of another grant of the same execution."""
        self._take(grant.token, grant.expires_at)

    @property
    def alive(self) -> bool:
        """Whether its token may still be used."""
        return not self._forgotten and not self.expired

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self._deadline or datetime.now(UTC) >= self.expires_at

    def forget(self) -> None:
        """Ask nothing more with the token."""
        self._forgotten = True

    def member(self) -> dict[str, str]:
        """The `execution` member of a request. Raises Doubt once it is over."""
        if not self.alive:
            raise self.over()
        return {"id": self.id, "token": self.token}

    def over(self) -> Doubt:
        """That nothing more is asked in it."""
        return Doubt(codes.EXECUTION_EXPIRED, f"the execution {self.id} is over")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, expires_at={self.expires_at.isoformat()})"


#: Its id alone; a started one; or `(id, token)` as somebody presented them, for OPA to judge.
Execution = str | Grant | tuple[str, str]


@dataclass(frozen=True)
class Question:
    """One question to a sidecar. The identity is not part of it: it is looked up when the question is sent."""

    action: Action
    resource: Resource
    context: Mapping[str, Any] | None = None
    #: Warrants, the root first.
    warrant: Sequence[str] = field(default=(), repr=False)
    #: Signs for the last warrant.
    proof_key: ProofKey | None = field(default=None, repr=False)
    #: Attestation results about the caller.
    environment: Sequence[str] = field(default=(), repr=False)
    #: The execution that it is part of.
    execution: Execution | None = field(default=None, repr=False)
    #: A proof that somebody else made, who holds the key of the last warrant.
    proof: str | None = field(default=None, repr=False)
    #: The workflow that an execution to be started declares.
    workflow: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.execution, Grant) and (self.warrant or self.proof_key is not None or self.proof):
            raise ConfigurationError("inside an execution its token stands for the warrants: give none")
        if self.proof is not None and self.proof_key is not None:
            raise ConfigurationError("give a proof or the key to make one, not both")

    @property
    def inside(self) -> bool:
        """Whether the token of an execution stands for identity and warrants."""
        return isinstance(self.execution, Grant | tuple)

    def named(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Action and resource as objects. What is of neither form becomes an object without the names."""
        action = {"name": self.action} if isinstance(self.action, str) else _object(self.action)
        resource = self.resource
        if isinstance(resource, tuple) and len(resource) == 2:
            return action, {"type": resource[0], "id": resource[1]}
        return action, _object(resource)

    def body(self, identity: dict[str, Any] | None) -> bytes:
        """The request's JSON. Raises Doubt when it is none that everyone reads alike."""
        action, resource = self.named()
        if not action or not resource:
            raise Doubt(codes.REQUEST_MALFORMED, "action is a name or an object, resource a pair or an object")
        document: dict[str, Any] = {"action": action, "resource": resource}
        if self.context is not None:
            document["context"] = self.context
        if identity is not None:
            document["identity"] = identity
        if self.warrant:
            document["warrant"] = _tokens("warrant", self.warrant)
        if self.proof_key is not None:
            document["proof"] = prove(self.proof_key, action, resource)
        if self.environment:
            document["environment"] = _tokens("environment", self.environment)
        if self.proof is not None:
            document["proof"] = self.proof
        try:
            if self.execution is not None:
                document["execution"] = _execution(self.execution)
            close = _CLOSE if self.workflow is None else b',"workflow":' + encode(self.workflow) + _CLOSE
            return _OPEN + encode(document, MAX_REQUEST - len(_OPEN) - len(close)) + close
        except ValueError as error:
            raise Doubt(codes.REQUEST_MALFORMED, str(error)) from error


def _execution(execution: Execution) -> dict[str, Any]:
    if isinstance(execution, Grant):
        return execution.member()
    if isinstance(execution, tuple):
        return dict(zip(("id", "token"), execution, strict=True))
    return {"id": execution}


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _tokens(name: str, values: Sequence[str]) -> Sequence[str]:
    if isinstance(values, str):
        raise Doubt(codes.REQUEST_MALFORMED, f"{name} is a list of tokens, not one")
    return values

"""Steps of an execution: what went in and what came out, by digest, noted at the sidecar's edge before the answer.

A step is durable once it is noted. Its digest, by which other executions name it, is known a second or so later.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from placet_sdk import codes
from placet_sdk.answer import check_status, parse
from placet_sdk.decision import Decision
from placet_sdk.errors import ConfigurationError, Denied, Doubt
from placet_sdk.grants import FORBIDDEN, OK, UNAVAILABLE, busy, malformed, read_denial, read_object
from placet_sdk.strict_json import decode, encode

if TYPE_CHECKING:
    from placet_sdk.execution import AsyncExecution, Execution

#: What went in or came out: a digest `sha256:…`, the bytes themselves, or the path of a file that holds them.
Artifact = str | bytes | os.PathLike[str]
Artifacts = Mapping[str, Artifact]
Outcome = Literal["completed", "failed"]

#: Seconds to wait for a step's digest.
DIGEST_TIMEOUT = 10.0

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_CODE = re.compile(r"[a-z0-9_-]+\.[a-z0-9_-]+")
#: Seconds between two looks for a digest: the first, and the longest.
_FIRST_PAUSE, _PAUSE = 0.1, 0.5


@dataclass(frozen=True)
class Noted:
    """What the sidecar says of a step that it noted."""

    #: The execution's id.
    execution: str
    #: The number of its statement in the sidecar's journal.
    number: str
    name: str
    #: How many steps the execution has now, this one included.
    steps: int


@dataclass(frozen=True)
class Step(Noted):
    """A noted step."""

    run: Execution = field(repr=False, compare=False)

    def digest(self, timeout: float = DIGEST_TIMEOUT) -> str:
        """`sha256:…` of its statement, for the `parents` of other steps. Raises Denied when it takes longer."""
        deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
        while True:
            found = self.run.look(self, _left(deadline, timeout))
            if found is not None:
                return found
            time.sleep(min(pause, _left(deadline, timeout)))
            pause = min(pause * 2, _PAUSE)


@dataclass(frozen=True)
class AsyncStep(Noted):
    """As `Step`."""

    run: AsyncExecution = field(repr=False, compare=False)

    async def digest(self, timeout: float = DIGEST_TIMEOUT) -> str:
        """As `Step.digest`."""
        deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
        while True:
            found = await self.run.look(self, _left(deadline, timeout))
            if found is not None:
                return found
            await asyncio.sleep(min(pause, _left(deadline, timeout)))
            pause = min(pause * 2, _PAUSE)


def digests(artifacts: Artifacts | None) -> list[dict[str, Any]]:
    """Artifacts by name and digest. Reads the files among them. Raises Doubt, or OSError for a file."""
    if artifacts is None:
        return []
    if not isinstance(artifacts, Mapping):
        raise ConfigurationError("materials and products are mappings: a name, and what it names")
    return [{"name": name, "digest": {"sha256": _sha256(name, value)}} for name, value in artifacts.items()]


def _sha256(name: Any, value: Any) -> str:
    if not isinstance(name, str):
        raise Doubt(codes.REQUEST_MALFORMED, "the name of a material or product is not a string")
    if isinstance(value, str):
        if not _DIGEST.fullmatch(value):
            raise Doubt(codes.REQUEST_MALFORMED, f"{name}: give sha256: and 64 hexadecimal digits, bytes, or a Path")
        return value.removeprefix("sha256:")
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, os.PathLike):
        with Path(value).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    raise Doubt(codes.REQUEST_MALFORMED, f"{name}: {type(value).__name__} is no digest, no bytes and no path")


def step_member(
    name: str,
    command: Sequence[str],
    materials: list[dict[str, Any]],
    products: list[dict[str, Any]],
    decisions: Sequence[str | Decision],
    parents: Sequence[str],
    facts: Mapping[str, str] | None,
    key: str | None,
) -> dict[str, Any]:
    """The `step` member of the request; what is empty is left out, and a key is made. Raises Doubt."""
    if any(isinstance(given, str) for given in (command, decisions, parents)):
        raise Doubt(codes.REQUEST_MALFORMED, "command, decisions and parents are lists")
    members = {
        "command": list(command),
        "materials": materials,
        "products": products,
        "decisions": [_decision(one) for one in decisions],
        "parents": list(parents),
        "facts": dict(facts or {}),
        "key": secrets.token_hex(16) if key is None else key,
    }
    return {"name": name, **{member: value for member, value in members.items() if value}}


def _decision(given: str | Decision) -> str:
    found = given.decision_id if isinstance(given, Decision) else given
    if not isinstance(found, str):
        raise Doubt(codes.REQUEST_MALFORMED, "a decision that OPA did not record has no id to name it by")
    return found


def body(token: str, **members: Any) -> bytes:
    """The request's JSON. Raises Doubt when it is none that everyone reads alike."""
    try:
        return encode({"token": token, **members})
    except ValueError as error:
        raise Doubt(codes.REQUEST_MALFORMED, str(error)) from error


def once_more(doubt: Doubt, deadline: float) -> float:
    """Seconds for sending a step again, with its key, when it was not answered; otherwise raises `doubt`."""
    left = deadline - time.monotonic()
    if doubt.code != codes.SIDECAR_UNREACHABLE or left <= 0:
        raise doubt
    return left


def read_step(status: int, raw: bytes, execution: str, name: str) -> Noted:
    """The edge's answer to `POST /v1/executions/{id}/steps`. Raises Doubt, or Denied with the edge's reasons."""
    noted, _ = _noted(_answer(status, raw).get("step"), execution, name)
    return noted


def read_digest(status: int, raw: bytes, noted: Noted) -> str | None:
    """The edge's answer to `GET /v1/executions/{id}/steps/{number}`: the digest, None until there is one. Raises."""
    found, step = _noted(_answer(status, raw).get("step"), noted.execution, noted.name)
    if found != Noted(noted.execution, noted.number, noted.name, noted.steps):
        raise malformed("the answer is about another step")
    digest = step.get("digest")
    if digest is None:
        return None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise malformed("the step's digest is none")
    return digest


def read_end(status: int, raw: bytes) -> None:
    """The edge's answer to `POST /v1/executions/{id}/end`. Raises Doubt, or Denied with the edge's reasons."""
    _answer(status, raw)


def _noted(step: Any, execution: str, name: str) -> tuple[Noted, dict[str, Any]]:
    if not isinstance(step, dict):
        raise malformed("there is no step in the answer")
    number, steps = step.get("number"), step.get("steps")
    if not all(isinstance(one, str) and _NUMBER.fullmatch(one) for one in (number, steps)):
        raise malformed("the step has no numbers")
    if (step.get("execution"), step.get("name")) != (execution, name):
        raise malformed("the answer is about another step")
    return Noted(execution, str(number), name, int(str(steps))), step


def _answer(status: int, raw: bytes) -> dict[str, Any]:
    """The answer of status 200; everything else is raised with the reason that came with it."""
    if status == OK:
        return read_object(raw)
    if status == FORBIDDEN:
        answer = parse(raw)
        if isinstance(answer, dict) and "decision" in answer:
            raise Denied(read_denial(answer["decision"], None))
    raise _problem(status, raw)


def _problem(status: int, raw: bytes) -> Doubt:
    """What a problem document (RFC 9457) says; without a reason in it, what the status says."""
    try:
        document = decode(raw)
    except ValueError:
        document = None
    if isinstance(document, dict):
        reason, detail = document.get("reason"), document.get("detail")
        if isinstance(reason, str) and _CODE.fullmatch(reason) and isinstance(detail, str):
            return Doubt(reason, detail[:300])
    if status == UNAVAILABLE:
        return busy()
    try:
        check_status(status)
    except Doubt as doubt:
        return doubt
    return malformed(f"status {status}")


def _left(deadline: float, timeout: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Denied(Decision.deny(codes.SIDECAR_UNREACHABLE, f"the step was not final within {timeout:g} s"))
    return left

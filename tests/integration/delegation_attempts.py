"""What somebody may try on a chain of warrants who holds the key of a hop, and so signs validly."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from tests.integration.delegation_kit import (
    ACTIONS,
    AUDIENCE,
    CONTROL_PLANES,
    HOME,
    KEYS,
    NOW,
    PARTNER,
    RESOURCES,
    REVOKED,
    STRANGER,
    Case,
    Hop,
    caller,
    honest,
    request,
)


def case(seed: int, number: int) -> Case:
    """The chain of this number: honest, or with one or two things tried."""
    draw = random.Random(f"{seed}/{number}")
    hops = honest(draw)
    made = Case(number, hops, caller(draw, hops[-1].claims), request(draw, hops[-1].claims), draw.random() < 0.5)
    for _ in range(draw.choice([0, 1, 1, 1, 1, 2])):
        name, attempt = draw.choice(list(ATTEMPTS.items()))
        attempt(draw, made)
        made.tried.append(name)
    return made


def _replace(member: str, *values: Any) -> Callable[[random.Random, Case], None]:
    def attempt(draw: random.Random, made: Case) -> None:
        draw.choice(made.hops).claims[member] = copy.deepcopy(draw.choice(values))

    return attempt


def _drop(*members: str) -> Callable[[random.Random, Case], None]:
    def attempt(draw: random.Random, made: Case) -> None:
        draw.choice(made.hops).claims.pop(draw.choice(members), None)

    return attempt


def _add_pattern(draw: random.Random, made: Case) -> None:
    member, texts = draw.choice([("actions", ACTIONS), ("resources", RESOURCES)])
    patterns = draw.choice(made.hops).claims.get(member)
    if isinstance(patterns, list):
        text = draw.choice(texts)
        odd = ["*", "", "**", "a:**", "*a", 7, None, "\uff52efund*", "Refund"]
        patterns.append(draw.choice([text, text[:2] + "*", text + "*", draw.choice(odd)]))


def _bend_constraint(draw: random.Random, made: Case) -> None:
    bounds = [
        {"at_most": 1000}, {"at_most": 1}, {"at_least": -5}, {"at_least": 1, "at_most": 5}, {"in": [2, 5, 10]},
        {"in": ["EUR", "GBP"]}, {"in": []}, {}, None, {"at_most": None}, {"at_most": "9"}, {"in": [None]},
    ]  # fmt: skip
    constraints = draw.choice(made.hops).claims.setdefault("constraints", {})
    if isinstance(constraints, dict):
        constraints[draw.choice(["amount", "currency", "more"])] = draw.choice(bounds)


def _drop_constraint(draw: random.Random, made: Case) -> None:
    constraints = draw.choice(made.hops).claims.get("constraints")
    if constraints:
        constraints.pop(draw.choice(sorted(constraints)))


def _another_key(draw: random.Random, made: Case) -> None:
    draw.choice(made.hops).key = draw.choice(KEYS)


def _another_kid(draw: random.Random, made: Case) -> None:
    draw.choice(made.hops).kid = draw.choice(["w1", "w2", "w9", None])


def _rearrange(draw: random.Random, made: Case) -> None:
    hops = made.hops
    draw.choice(
        [lambda: draw.shuffle(hops), lambda: hops.pop(draw.randrange(len(hops))), lambda: hops.append(hops[-1])]
    )()
    if not hops:
        made.hops.append(Hop({}, KEYS[0]))


def _another_caller(draw: random.Random, made: Case) -> None:
    other = {"id": draw.choice(["s0", "s1", "agent0"]), "issuer": draw.choice([HOME, PARTNER])}
    made.subject |= draw.choice([other, {"actors": []}, {"actors": [{"issuer": HOME, "id": "agent1"}]}])


ATTEMPTS: dict[str, Callable[[random.Random, Case], None]] = {
    "add a pattern": _add_pattern,
    "add a pattern too": _add_pattern,
    "patterns": _replace("actions", ["*"], ["re*"], [], None, "refund", ["refund"] * 33),
    "resources": _replace("resources", ["*"], ["payment/*"], ["payment*"], {}, [["ledger/main"]]),
    "bend a constraint": _bend_constraint,
    "drop a constraint": _drop_constraint,
    "longer": _replace("exp", NOW + 5000, NOW, NOW - 1, NOW + 0.5, str(NOW + 5), 10**40),
    "sooner": _replace("nbf", 0, NOW, NOW + 1, NOW - 50, None, -1),
    "issued": _replace("iat", NOW + 2, NOW + 3, 0, -1, "x"),
    "audience": _replace("aud", "another", ["another"], [AUDIENCE, "third"], AUDIENCE, "", [], None),
    "deeper": _replace("depth", 0, 1, 2, 8, 9, -1, "1", None),
    "iss": _replace("iss", "s0", "s1", "agent0", *CONTROL_PLANES, "nobody", "", None),
    "subject": _replace("sub_id", *[{"format": "iss_sub", "iss": iss, "sub": "s1"} for iss in (HOME, STRANGER, "n")]),
    "sub": _replace("sub", "s0", "s1", "", None),
    "actor": _replace("act", {"iss": HOME, "sub": "agent0"}, {"iss": STRANGER, "sub": "agent0"}, {"sub": "x"}, None),
    "uses": _replace("uses", 1, 5, 0, -1, 1.5, None),
    "approval": _replace("approval", "sha256:" + "0" * 64, "sha256:", "approved", None),
    "jti": _replace("jti", "hop-0", "hop-1", REVOKED, "", "a b", None),
    "unknown claim": _replace("scope", "all", None),
    "drop": _drop("nbf", "act", "depth", "cnf", "constraints", "aud", "exp", "iat", "jti", "sub_id", "actions"),
    "name a key": lambda draw, made: _replace("cnf", {"jwk": draw.choice(KEYS).jwk}, {}, None, {"jwk": {}})(draw, made),
    "another key": _another_key,
    "another kid": _another_kid,
    "rearrange": _rearrange,
    "another caller": _another_caller,
}

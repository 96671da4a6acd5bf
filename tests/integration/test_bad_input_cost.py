"""What bad input costs OPA, counted: no attack costs more than a normal decision of its kind.

Counted are the values that OPA allocates: that does not depend on the machine. A normal decision is one that people
make every day and that goes through all the checks, as an attack does: by somebody for whom an agent acts, with a
warrant that begins later, with a proof, in a step of an execution.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import bad_input, questions, stand
from bench.world import World, request
from tests.cases import asked as made
from tests.integration.test_bad_input import FOLDERS, Decider, deciding, maker, requiring

pytestmark = pytest.mark.stack

#: Requests of each kind. Their average is the same to within a hundredth in every run.
REQUESTS = 40
TOLERANCE = 1.05

Body = dict[str, Any]

#: By kind; for warrants, by how many there are.
NORMAL: dict[str | int, Callable[[World, int], Body]] = {
    "identity": lambda world, n: bad_input.by(world.identity(jti=str(n), act={"sub": "spiffe://example.org/agent"})),
    "execution": lambda world, n: request(execution={"id": "run-1", "step": "s", "token": world.execution(jti=str(n))}),
    "proof": lambda world, n: questions.proof(world, questions.target(0), count=REQUESTS)[n % REQUESTS],
    1: lambda world, n: bad_input.by(
        world.identity(jti=str(n)), warrant=[world.warrant(jti=str(n), nbf=world.now - 5)]
    ),
    **{hops + 1: lambda world, n, hops=hops: bad_input.chain(world, n, hops) for hops in (1, 2, 3)},
}  # fmt: skip


def as_large(body: bytes) -> Callable[[World, int], Body]:
    """A normal request of the size of an attack: in its token as far as tokens are read, else in its context."""
    piece: Any = "a"
    for _ in range(50):
        piece = {"sub": "a", "also": piece}
    size = len(json.dumps(piece))

    def make(world: World, n: int) -> Body:
        act = {"sub": "spiffe://example.org/agent"}
        if len(body) < 8_000:
            note = [piece] * (len(body) * 3 // 4 // size)  # in a token bytes grow by a third
            return bad_input.by(world.identity(jti=str(n), act=act, note=note))
        context = {"amount": 40, "currency": "EUR", "note": [piece] * (len(body) // size)}
        return bad_input.by(world.identity(jti=str(n), act=act), context=context)

    return make


class Counter:
    """Counts what OPA allocates for a request."""

    def __init__(self, decider: Decider) -> None:
        self.opa = decider.opa
        self.world = decider.world

    def allocations(self, bodies: list[bytes]) -> float:
        """On average, after a few to warm up."""
        for body in bodies[:5]:
            self.opa.client.post(stand.DECISION, content=body)
        before = self._total()
        for body in bodies:
            assert self.opa.client.post(stand.DECISION, content=body).status_code == 200
        return (self._total() - before) / len(bodies)

    def evaluates(self, body: bytes) -> bool:
        """Whether OPA gets as far as to evaluate anything."""
        return self.opa.client.post(stand.DECISION, content=body).status_code == 200

    def made(self, make: Callable[[World, int], Body], first: int) -> float:
        return self.allocations([json.dumps({"input": make(self.world, first + n)}).encode() for n in range(REQUESTS)])

    def _total(self) -> float:
        text = self.opa.client.get("/metrics", headers=self.opa.agent).text
        found = re.search(r"^go_memstats_mallocs_total (\S+)$", text, re.MULTILINE)
        assert found
        return float(found[1])


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    with deciding(tmp_path_factory.mktemp("cost")) as decider:
        yield Counter(decider)


@pytest.fixture(scope="module")
def normal(counter: Counter) -> dict[str | int, float]:
    for make in NORMAL.values():
        body = {"input": make(counter.world, 0)}
        assert counter.opa.client.post(stand.DECISION, json=body).json()["result"]["allow"] is True
    return {kind: counter.made(make, 1000 * place) for place, (kind, make) in enumerate(NORMAL.items())}


def kind_of(asked: Any) -> str | int:
    """What a request is by what it carries; one with more warrants than there are kinds costs no more than the last."""
    if not isinstance(asked, dict):
        return "identity"
    warrants = asked.get("warrant")
    if isinstance(asked.get("execution"), dict) and "token" in asked["execution"]:
        return "execution"
    if "proof" in asked:
        return "proof"
    return min(len(warrants), 4) if isinstance(warrants, list) and warrants else "identity"


def test_no_attack_that_has_a_name_costs_more_than_a_normal_decision(
    counter: Counter, normal: dict[str | int, float]
) -> None:
    costs = {}
    for folder in FOLDERS:
        given = maker(folder).request(counter.world)
        body = given if isinstance(given, bytes) else json.dumps({"input": given}).encode()
        if not counter.evaluates(body):
            continue
        limit = normal[kind_of(given)]
        if len(body) > 5_000 and kind_of(given) == "identity":
            limit = counter.made(as_large(body), 50_000)
        costs[folder.name] = counter.allocations([body] * REQUESTS) / limit
    assert len(costs) > 70
    assert {name: cost for name, cost in costs.items() if cost > TOLERANCE} == {}


@pytest.mark.parametrize("name", bad_input.ATTACKS)
def test_no_attack_of_the_benchmark_costs_more_than_its_good_request(counter: Counter, name: str) -> None:
    bad, good = bad_input.ATTACKS[name]
    place = 100_000 * (1 + list(bad_input.ATTACKS).index(name))
    cost = counter.made(bad, place) / counter.made(good, place + REQUESTS)
    assert cost <= 1.1


def test_no_summary_costs_more_than_a_good_one_where_one_is_demanded(tmp_path: Path) -> None:
    accept = {"digest": [f"sha256:{'ab' * 32}"], "levels": ["SLSA_BUILD_LEVEL_3"]}
    costs = {}
    with requiring(tmp_path, image=accept) as decider:
        counter = Counter(decider)
        limit = counter.made(lambda world, n: made.summarised(world, jti=str(n)), 0)
        for folder in FOLDERS:
            if folder.name.startswith("input-summary-"):
                body = json.dumps({"input": maker(folder).request(counter.world)}).encode()
                costs[folder.name] = counter.allocations([body] * REQUESTS) / limit
    assert len(costs) == 10
    assert {name: cost for name, cost in costs.items() if cost > TOLERANCE} == {}

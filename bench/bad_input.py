"""What bad input costs: OPA's CPU time for requests that attack it, beside good ones of the same kind, in one run.

A denial that cost many times what an "allow" costs would be a way to keep a sidecar busy. Each attack is asked in turns
with the good request that it was made from; a ratio is the CPU time of the good one over that of the attack, so 1 means
"costs the same" and more is better. Every token is new for OPA, good or bad, as an attacker's would be: nothing is
cached. What costs most is bounded by OPA's limits of 64 KiB a request and the library's of 8,192 characters a token.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import result, stand
from bench.decide import renewed
from bench.questions import HOLDERS
from bench.world import OIDC, WARRANTS, Key, World, hop, request

Body = dict[str, Any]


def by(token: Any, **members: Any) -> Body:
    return request(identity={"token": token}, **members)


def forged(token: str) -> str:
    """Good form, but somebody else's signature."""
    head, body, _ = token.split(".")
    return f"{head}.{body}.{'A' * 86}"


def identity(world: World, n: int) -> Body:
    return by(world.identity(jti=str(n)))


def warrant(world: World, n: int) -> Body:
    return by(world.identity(jti=str(n)), warrant=[world.warrant(jti=str(n))])


def chain(world: World, n: int, hops: int = 3) -> Body:
    return by(world.identity(jti=str(n)), warrant=world.chain(hops, HOLDERS[:hops], ids=f"n{n}"))


def spoilt_chain(world: World, n: int) -> Body:
    """The hop at the end was signed by somebody else: everything before it has to be verified first."""
    asked = chain(world, n)
    asked["warrant"][-1] = hop(world.claims(jti=str(n)), Key("mallory"))
    return asked


def longest(world: World, n: int) -> Body:
    """Nine copies of the longest text that is still looked at."""
    text = f"eyJhbGciOiJFZERTQSIsInR5cCI6IndhcnJhbnQrand0In0.{n}" + "e" * 6_000 + ".x"
    return by(world.identity(jti=str(n)), warrant=[text] * 9)


def large(world: World, n: int) -> Body:
    return by(world.identity(jti=str(n)), context={"amount": 40, "currency": "EUR", "x": ["0123456789"] * 4_000})


def deep(world: World, n: int) -> Body:
    nested: Any = n
    for _ in range(900):
        nested = {"a": nested}
    return by(world.identity(jti=str(n)), context={"amount": 40, "currency": "EUR", "x": nested})


def unsigned(make: Callable[[World, int], Body]) -> Callable[[World, int], Body]:
    """The same by nobody."""

    def spoilt(world: World, n: int) -> Body:
        asked = make(world, n)
        return asked | {"identity": {"token": forged(asked["identity"]["token"])}}

    return spoilt


def nested(world: World, n: int, claim: str = "note") -> Body:
    """A token that says 150 things in each other: as `act`, they are too many actors."""
    inner: Any = {"sub": "a"}
    for _ in range(150):
        inner = {"sub": "a", "act": inner}
    return by(world.identity(jti=str(n), **{claim: inner}))


def actors(world: World, n: int) -> Body:
    return nested(world, n, "act")


#: By name: the attack, and the good request that it is measured against.
ATTACKS: dict[str, tuple[Callable[[World, int], Body], Callable[[World, int], Body]]] = {
    "no token": (lambda world, n: request(identity={"token": str(n)}), identity),
    "forged signature": (unsigned(identity), identity),
    "unknown key": (lambda world, n: by(world.keys[OIDC].sign({"iss": OIDC, "jti": str(n)}, kid=str(n))), identity),
    "expired": (lambda world, n: by(world.identity(jti=str(n), exp=world.now - 1)), identity),
    "150 actors": (actors, nested),
    "large request": (unsigned(large), large),
    "deep request": (unsigned(deep), deep),
    "forged warrant": (
        lambda world, n: by(world.identity(jti=str(n)), warrant=[forged(world.warrant(jti=str(n)))]), warrant,
    ),
    "unknown issuer of warrants": (
        lambda world, n: by(
            world.identity(jti=str(n)), warrant=[world.keys[WARRANTS].sign(world.claims(iss=str(n)), typ="warrant+jwt")]
        ),
        warrant,
    ),
    "forged last hop": (spoilt_chain, chain),
    "nine long texts": (longest, chain),
}  # fmt: skip


def main() -> None:
    """Run the benchmark and print its report."""
    options = result.options(__doc__).parse_args()
    rounds, requests = (2, 50) if options.quick else (7, 300)
    figures, ratios = measure(result.opa_of(options), rounds, requests)
    result.show("bad_input", figures, ratios, {}, options.output)


def measure(binary: Path, rounds: int, requests: int) -> tuple[dict[str, float], dict[str, float]]:
    """CPU time a request, in microseconds, of every attack and of its counterpart; and their ratios."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ATTACKS}
    files = stand.composed(*stand.example("payments"))
    with (
        tempfile.TemporaryDirectory(prefix="placet-bench-") as name,
        stand.running(binary, files, Path(name)) as opa,
        renewed([opa]),
    ):
        for turn in range(rounds + 1):
            for attack, pair in ATTACKS.items():
                bad, good = (cpu(opa, make, turn, requests) for make in pair)
                if turn:  # round 0 warms up
                    found[attack].append((bad, good))
    figures, ratios = {}, {}
    for attack, runs in found.items():
        figures[f"{attack}: cpu us"] = round(statistics.median(bad for bad, _ in runs), 1)
        figures[f"{attack}: cpu of a good request us"] = round(statistics.median(good for _, good in runs), 1)
        ratios[f"{attack}: cpu good/bad"] = round(statistics.median(good / bad for bad, good in runs), 3)
    return figures, ratios


def cpu(opa: stand.Server, make: Callable[[World, int], Body], turn: int, requests: int) -> float:
    """OPA's CPU time a request, in microseconds, of requests that it has not seen before."""
    world = World(int(time.time()))
    bodies = [json.dumps({"input": make(world, turn * requests + n)}).encode() for n in range(requests)]
    before = opa.cpu_seconds()
    for body in bodies:
        opa.client.post(stand.DECISION, content=body).raise_for_status()
    return (opa.cpu_seconds() - before) * 1e6 / requests


if __name__ == "__main__":
    main()

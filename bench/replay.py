"""Replay against OPA's own batch evaluation.

    .venv/bin/python bench/replay.py [--quick] [--opa PATH] [--output json]

A real OPA decides requests of the `payments` example and records them. Then, alternating: replay makes the records
again, from their bytes to the verdicts; and the same OPA evaluates the same requests in the same query, as nobody could
who has records alone: with the tokens as they were sent, whose checks it caches, and with the trust state in its store.
Both use all cores. Then the same records from a control plane on SQLite, a process of its own: read one request a
record, read in bulk, and replayed as they come.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.core import archive, strict_json
from app.core.bundle import build_bundle, parse_bundle, read_directory
from app.core.compose import Library, compose
from app.core.opa import Opa
from app.core.replay import Replay
from app.core.replayed import Verdict
from app.core.shipped import shipped
from app.local.replay_opa import Opas, ReplayOpa
from bench import feed, result, stand
from bench.result import Report
from bench.world import World, request

AIMS = {"replay/evaluation": 0.8, "replay: records per s / 5000": 1.0}

#: Requests of one query, as replay has them.
CHUNK = 128

KINDS: dict[str, Callable[[World], dict[str, Any]]] = {
    "identity": lambda world: {"identity": {"token": world.identity()}},
    "warrant": lambda world: {"identity": {"token": world.identity()}, "warrant": [world.warrant()]},
    "execution": lambda world: {"execution": {"id": "run-1", "token": world.execution()}},
}

EVALUATE = """package evaluate

results := [[position, json.marshal(answer)] |
	some position, one in input.batch
	asked := one.input
	now := one.now
	answer := data.placet.decision with input as asked with time.now_ns as now
]
"""


@dataclass(frozen=True)
class Recorded:
    """Requests, their records, and the trust state that all of them name."""

    policy: bytes
    asked: list[bytes]
    records: list[bytes]
    state: dict[str, Any]
    archived: bytes


class Stored:
    """What a replay asks for."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded

    def bundle(self, digest: str) -> bytes | None:
        """The one policy."""
        return self._recorded.policy

    def library(self, digest: str) -> bytes | None:
        """None but the one of this version, which nobody asks for."""
        return None

    def state(self, digest: str) -> bytes | None:
        """The one trust state."""
        return self._recorded.archived


def main() -> None:
    """Run the benchmark and print its report."""
    options = result.options(__doc__).parse_args()
    result.show("replay", *report(result.opa_of(options), options.quick), AIMS, options.output)


def report(binary: Path, quick: bool) -> Report:
    """The figures and their ratios."""
    rounds, count = (3, 600) if quick else (7, 6_000)
    opa = Opa(binary)
    figures, ratios = measure(opa, rounds, count)
    measure_feed(opa, count, figures, ratios)
    return figures, ratios


def measure(opa: Opa, rounds: int, count: int) -> Report:
    """Records per second of both, for each kind of request and for a mix of them; and the ratios."""
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name, kinds in {**{name: [kind] for name, kind in KINDS.items()}, "mixed": list(KINDS.values())}.items():
        recorded = record(opa, kinds, count)
        with evaluating(opa, recorded) as evaluate, Opas(opa) as opas:
            replay = Replay(Stored(recorded), opas.engine)
            ways = (evaluate, partial(again, replay, recorded))
            rounds_made = [[count / seconds(way) for way in ways] for _ in range(rounds + 1)]
            found = [(theirs, ours) for theirs, ours in rounds_made[1:]]  # the first one fills caches
        figures[f"{name}: evaluation, records per s"] = round(statistics.median(one for one, _ in found), 1)
        figures[f"{name}: replay, records per s"] = round(statistics.median(one for _, one in found), 1)
        ratios[f"{name}: replay/evaluation"] = round(statistics.median(ours / theirs for theirs, ours in found), 3)
    ratios["replay/evaluation"] = ratios["mixed: replay/evaluation"]
    ratios["replay: records per s / 5000"] = round(figures["mixed: replay, records per s"] / 5_000, 3)
    return figures, ratios


def measure_feed(opa: Opa, count: int, figures: dict[str, float], ratios: dict[str, float]) -> None:
    """Records per second from a control plane: read one by one (fewer, as it is slow), in bulk, and replayed."""
    recorded = record(opa, list(KINDS.values()), count)
    few = min(count, 400)
    with feed.stored(recorded.records, [recorded.archived]) as control, Opas(opa) as opas:
        stored = Stored(recorded)
        replay = Replay(stored, opas.engine)
        again(replay, recorded)  # fills caches

        def replayed() -> None:
            found = list(replay.replay(control.source().feed({"system": "bench"})))
            if {one.verdict for one in found} != {Verdict.SAME} or len(found) != count:
                raise RuntimeError("replay does not give what OPA gave")

        figures["control plane: one by one, records per s"] = round(few / seconds(lambda: control.one_by_one(few)), 1)
        figures["control plane: in bulk, records per s"] = round(count / seconds(control.in_bulk), 1)
        memory = count / seconds(lambda: again(replay, recorded))
        figures["control plane: replay, records per s"] = round(count / seconds(replayed), 1)
    ratios["control plane: in bulk/one by one"] = round(
        figures["control plane: in bulk, records per s"] / figures["control plane: one by one, records per s"], 2
    )
    ratios["control plane: replay/from memory"] = round(figures["control plane: replay, records per s"] / memory, 3)


def record(opa: Opa, kinds: list[Callable[[World], dict[str, Any]]], count: int) -> Recorded:
    """Let a real OPA decide `count` requests, and read its records."""
    world = World(int(time.time()))
    policy = build_bundle(read_directory(shipped("bundles") / "payments"))
    files = archive.read_archive(compose(parse_bundle(policy), Library.shipped()).raw)
    state = world.state(lease_seconds=3000)
    archived = json.dumps(state["trust"], separators=(",", ":"), sort_keys=True).encode()
    state["digest"] = stand.digest(archived)
    given = [kind(world) for kind in kinds]
    asked = [
        json.dumps(request(**given[n % len(given)], context={"amount": 1 + n % 100, "currency": "EUR"})).encode()
        for n in range(count)
    ]
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as directory:
        names = {name: content.decode() for name, content in files.items()}
        with stand.running(opa.binary, names, Path(directory) / "opa") as server:
            server.write(state)
            for one in asked:
                server.client.post(stand.DECISION, content=b'{"input":%s}' % one).raise_for_status()
            lines = server.stderr.read_bytes().split(b"\n")
    return Recorded(policy, asked, [line for line in lines if b'"msg":"Decision Log"' in line], state, archived)


@contextmanager
def evaluating(opa: Opa, recorded: Recorded) -> Iterator[Callable[[], None]]:
    """OPA's own batch evaluation of the requests."""
    files = archive.read_archive(compose(parse_bundle(recorded.policy), Library.shipped()).raw)
    manifest = json.loads(files[".manifest"])
    manifest["roots"] = sorted([*manifest["roots"], "evaluate"])
    bundle = {**files, ".manifest": strict_json.canonical(manifest), "evaluate/evaluate.rego": EVALUATE.encode()}
    times = [json.loads(raw)["nd_builtin_cache"]["time.now_ns"]["[]"] for raw in recorded.records]
    questions = [b'{"input":%s,"now":%d}' % pair for pair in zip(recorded.asked, times, strict=True)]
    bodies = [
        b'{"input":{"batch":[%s]}}' % b",".join(questions[start : start + CHUNK])
        for start in range(0, len(questions), CHUNK)
    ]
    running = ReplayOpa(opa, archive.write_archive(bundle))
    client = running.client
    try:
        client.put("/v1/data/placet_state", json=recorded.state).raise_for_status()

        def evaluate() -> None:
            with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
                answers = threads.map(lambda body: client.post("/v1/data/evaluate/results", content=body), bodies)
                results = [text for answer in answers for _, text in answer.json()["result"]]
            if len(results) != len(questions) or '{"allow":true' not in results[0]:
                raise RuntimeError("OPA did not decide as it did")

        yield evaluate
    finally:
        running.close()


def again(replay: Replay, recorded: Recorded) -> None:
    """The replay of all records, which must give the same."""
    found = [one for one in replay.replay(recorded.records) if one.verdict is Verdict.SAME]
    if len(found) != len(recorded.records):
        raise RuntimeError("replay does not give what OPA gave")


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

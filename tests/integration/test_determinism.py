"""The same bundle, data, input and clock give the same decision, byte for byte: on other processes, after restarts."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.local.tools import installed
from bench import stand
from tests.integration.generated import POLICY, Generator

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

SEED = 20270115
DECISIONS = 100_000

#: Replay as it is meant to be done: OPA itself decides again, each time with the input, state and clock of then. (They
#: are bound first: `with` would take a reference into the item for undefined.)
REPLAY = """package replay

results := [json.marshal({"decision": decision, "mask": mask}) |
	some one in input.batch
	asked := one.input
	now := one.now
	state := data.replay_data.states[one.state]
	decision := data.placet.decision with input as asked with time.now_ns as now with data.placet_state as state
	recorded := {"input": asked, "result": decision, "nd_builtin_cache": {"time.now_ns": {"[]": now}}}
	mask := [[step.op, step.path] | some step in data.placet_log.mask with input as recorded]
]
"""


def replayer(generator: Generator) -> dict[str, str]:
    """The composed bundle with the module for replay beside it, which no sidecar has."""
    files = stand.composed({"app/authz.rego": POLICY}, "app/authz/decision", ["app"])
    manifest = json.loads(files[".manifest"])
    manifest["roots"] += ["replay", "replay_data"]
    return {
        **files,
        ".manifest": json.dumps(manifest),
        "replay.rego": REPLAY,
        "replay_data/data.json": json.dumps({"states": generator.states}),
    }


class Replica:
    """One way to run OPA: its environment, its caches, in which order it is asked, and when it is restarted."""

    def __init__(self, directory: Path, *, zone: str, cores: int, cached: bool, batch: int, restarts: set[int]) -> None:
        self.directory, self.batch, self.restarts = directory, batch, restarts
        self.environment = {"TZ": zone, "GOMAXPROCS": str(cores), "GOGC": "400"}
        cache = {"caching": stand.GOVERNED["caching"]} if cached else {"caching": {}}
        self.config = {**cache, "decision_logs": {}, "nd_builtin_cache": False} | {
            "server": {"decoding": {"max_length": 2**24}}
        }
        self.results: dict[int, bytes] = {}
        self.processes: set[int] = set()
        self.error: BaseException | None = None

    def replay(self, generator: Generator, files: dict[str, str], numbers: Iterable[int]) -> None:
        """Decide everything, in the order of `numbers`. Errors are kept for the thread that waits."""
        try:
            chunks = list(chunked(list(numbers), self.batch))
            at = sorted({0, *(int(len(chunks) * share / 100) for share in self.restarts), len(chunks)})
            for life, (first, last) in enumerate(pairwise(at)):
                directory = self.directory / str(life)
                with stand.running(
                    installed("opa"), files, directory, config=self.config, environment=self.environment
                ) as opa:
                    self.processes.add(opa.process.pid)
                    for chunk in chunks[first:last]:
                        self.results.update(zip(chunk, self.decided(opa, generator, chunk), strict=True))
        except BaseException as error:  # noqa: BLE001 - raised again by the test
            self.error = error

    def decided(self, opa: stand.Server, generator: Generator, chunk: list[int]) -> Iterator[bytes]:
        body = ",".join(generator.decision(number) for number in chunk)
        answer = opa.client.post(
            "/v1/data/replay/results",
            content=f'{{"input": {{"batch": [{body}]}}}}'.encode(),
            headers={**opa.agent, "Content-Type": "application/json"},
        )
        results = answer.raise_for_status().json()["result"]
        assert len(results) == len(chunk), "a decision was undefined"
        return (self.kept(text) for text in results)

    def kept(self, text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()


class Reader(Replica):
    """A replica that also looks at what was decided."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        self.codes: Counter[str] = Counter()
        self.outcomes: Counter[bool] = Counter()

    def kept(self, text: str) -> bytes:
        decision = json.loads(text)["decision"]
        self.outcomes[decision["allow"]] += 1
        self.codes.update(reason["code"] for reason in decision["reasons"])
        return super().kept(text)


def chunked(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def test_decisions_are_the_same_on_every_process_and_after_restarts(tmp_path: Path) -> None:
    generator = Generator(SEED)
    files = replayer(generator)
    one = Reader(tmp_path / "one", zone="UTC", cores=2, cached=True, batch=250, restarts={30})
    two = Replica(tmp_path / "two", zone="Pacific/Auckland", cores=1, cached=False, batch=410, restarts={45, 80})
    count = int(os.environ.get("PLACET_REPLAYED", DECISIONS))
    threads = [
        threading.Thread(target=one.replay, args=(generator, files, range(count))),
        threading.Thread(target=two.replay, args=(generator, files, range(count - 1, -1, -1))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for replica in (one, two):
        if replica.error:
            raise replica.error
    assert len(one.results) == len(two.results) == count
    assert len(one.processes | two.processes) == 5

    different = [number for number, result in one.results.items() if two.results[number] != result]
    assert different == [], f"first: {generator.decision(different[0])}"

    # It would be easy to decide the same way about nothing.
    assert len(set(one.results.values())) > count / 4
    print(one.outcomes, len(one.codes), sorted(one.codes.items()))
    assert one.outcomes[True] > count / 50

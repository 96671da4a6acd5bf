"""The same bundle, data, input and clock give the same decision, byte for byte: on other processes, after restarts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.local.sigstore import LocalSigstore
from app.local.tools import installed
from bench import stand
from tests.integration.generated import BLOCK, POLICY, Generator
from tests.integration.release_kit import DEVELOPER, bundle, provenance, signed_release

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

SEED = 20270115
DECISIONS = 100_000

#: Replay as it is meant to be done: OPA itself decides again, each time with the input and the clock of then. (They are
#: bound first: `with` would take a reference into the item for undefined.) Some are masked too, as for a record.
REPLAY = """package replay

results := [json.marshal([decision, masks]) |
	some one in input.batch
	asked := one.input
	now := one.now
	decision := data.placet.decision with input as asked with time.now_ns as now
	recorded := {"input": asked, "result": decision, "nd_builtin_cache": {"time.now_ns": {"[]": now}}}
	masks := [mask | one.masked; mask := data.placet_log.mask with input as recorded]
]
"""


def replayer() -> dict[str, str]:
    """The composed bundle with the module for replay beside it, which no sidecar has."""
    files = stand.composed({"app/authz.rego": POLICY}, "app/authz/decision", ["app"])
    manifest = json.loads(files[".manifest"])
    return {
        **files,
        ".manifest": json.dumps(manifest | {"roots": [*manifest["roots"], "replay"]}),
        "replay.rego": REPLAY,
    }


class Replica:
    """One way to run OPA: its environment and caches, in which order it is asked, and when it is restarted."""

    def __init__(self, directory: Path, *, zone: str, cores: int, cached: bool, lives: tuple[float, ...]) -> None:
        """`lives`: the share of the decisions that each process makes."""
        self.directory, self.lives = directory, lives
        self.environment = {"TZ": zone, "GOMAXPROCS": str(cores), "GOGC": "1000"}
        self.config = {
            "caching": stand.GOVERNED["caching"] if cached else {},
            "decision_logs": {},
            "nd_builtin_cache": False,
            "server": {"decoding": {"max_length": 2**24}},
        }
        #: The digest of each result, the codes and outcomes, and the processes that decided.
        self.results: dict[int, bytes] = {}
        self.codes: Counter[str] = Counter()
        self.allowed = 0
        self.processes: set[int] = set()

    def replay(self, generator: Generator, blocks: list[int]) -> None:
        """Decide everything, in the order of `blocks`."""
        files = replayer()
        start = 0
        for life, share in enumerate(self.lives):
            end = start + round(share * len(blocks)) if life < len(self.lives) - 1 else len(blocks)
            options: Any = {"config": self.config, "environment": self.environment}
            with stand.running(installed("opa"), files, self.directory / str(life), **options) as opa:
                self.processes.add(opa.process.pid)
                for block in blocks[start:end]:
                    self._decide(opa, generator, block)
            start = end

    def _decide(self, opa: stand.Server, generator: Generator, block: int) -> None:
        state = generator.state(block)
        if state is None:
            opa.client.delete("/v1/data/placet_state", headers=opa.agent)
        else:
            opa.write(state)
        numbers = range(block * BLOCK, (block + 1) * BLOCK)
        batch = ",".join(generator.decision(number) for number in numbers)
        body = f'{{"input": {{"batch": [{batch}]}}}}'.encode()
        answer = opa.client.post("/v1/data/replay/results", content=body, headers=opa.agent).raise_for_status()
        for number, text in zip(numbers, answer.json()["result"], strict=True):  # fewer if one were undefined
            self.results[number] = hashlib.sha256(text.encode()).digest()
            self.codes.update(re.findall(r'{"code":"([^"]*)"', text))
            self.allowed += text.startswith('[{"allow":true')


def test_decisions_are_the_same_on_every_process_and_after_restarts(tmp_path: Path) -> None:
    generator = Generator(SEED)
    count = int(os.environ.get("PLACET_REPLAYED", DECISIONS))
    blocks = list(range(count // BLOCK))
    one = Replica(tmp_path / "one", zone="UTC", cores=2, cached=True, lives=(0.4, 0.6))
    two = Replica(tmp_path / "two", zone="Pacific/Auckland", cores=1, cached=False, lives=(0.3, 0.3, 0.4))
    with ThreadPoolExecutor() as threads:
        for running in [
            threads.submit(one.replay, generator, blocks),
            threads.submit(two.replay, generator, blocks[::-1]),
        ]:
            running.result()
    assert len(one.results) == len(two.results) == count
    assert len(one.processes | two.processes) == 5

    different = [number for number, result in one.results.items() if two.results[number] != result]
    assert different == [], f"the first of {len(different)}: {generator.decision(different[0])}"

    # It would be easy to decide the same way about nothing.
    known = {row["code"] for row in json.loads(Path("app/core/reasons.json").read_text()) if row["scope"] == "decision"}
    missed = sorted(known - set(one.codes))
    assert len(missed) <= (3 if count >= DECISIONS else len(known) // 4), missed
    assert one.allowed > count / 20
    assert len(set(one.results.values())) > count / 5


def placet(*arguments: object) -> tuple[int, str]:
    """Exit code and messages of the command."""
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in answer.stderr
    return answer.returncode, answer.stderr


def test_build_says_which_line_is_refused(tmp_path: Path, opa_binary: Path) -> None:
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / ".manifest").write_text('{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/allow"}}}')
    (policy / "app.rego").write_text(
        'package app\n\nallow if {\n\tio.jwt.decode_verify(input.token, {"cert": data.app.key})[0]\n}\n'
    )
    code, said = placet("bundle", "build", policy, "-o", tmp_path / "app.tar.gz", "--opa", opa_binary)
    assert code == 3
    assert 'rego.nondeterministic: app.rego:4: io.jwt.decode_verify: without "time"' in said
    assert not (tmp_path / "app.tar.gz").exists()


def test_verify_refuses_what_was_signed_all_the_same(tmp_path: Path, opa_binary: Path, sigstore: LocalSigstore) -> None:
    release = signed_release(sigstore, opa_binary)
    raw = bundle('allow := time.clock([0, "Local"])[0] < 12')
    path = tmp_path / "app.tar.gz"
    path.write_bytes(raw)
    path.with_name("app.tar.gz.sigstore.json").write_bytes(release.session.sign(provenance(raw)))
    signer = ("--certificate-identity", DEVELOPER, "--certificate-oidc-issuer", sigstore.issuer_url)
    code, said = placet("bundle", "verify", path, *signer, "--trust-config", sigstore.trust_config, "--opa", opa_binary)
    assert code == 3
    assert "rego.nondeterministic: a.rego:3: time.clock: " in said

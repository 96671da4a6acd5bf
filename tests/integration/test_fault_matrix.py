"""Every part killed alone, and every two together, under load: nothing that was answered is lost or counted twice.

`PLACET_FAULT_ROUNDS` is how often (once in `make test`, 20 times in `make soak`). `PLACET_FAULTS` names a file to which
each round adds a line of JSON, from which the table in docs/faults.md is made.
"""

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from app.local import tools
from app.local.demo.load import Load
from app.local.demo.parts import eventually

from .fault_kit import FaultStack, faults, pause
from .lineage_kit import chained

# The first to ask builds the S3 server into the cache of the tools; with an empty build cache that takes minutes.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

PARTS = ("OPA", "agent", "control plane", "database", "Rekor", "object store")
ROUNDS = int(os.environ.get("PLACET_FAULT_ROUNDS", "1"))
SIDECAR = "till"
#: Seconds of load before the kills, while what was killed is down, and after it is well again.
BEFORE, DOWN, AFTER = 0.5, 1.5, 0.5


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with FaultStack(tmp_path_factory.mktemp("faults"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        stack.start_sidecar(SIDECAR)
        yield stack


KILLED = [*((part,) for part in PARTS), *itertools.combinations(PARTS, 2)]


@pytest.mark.parametrize("killed", KILLED, ids=" and ".join)
def test_killing_loses_nothing_and_counts_nothing_twice(stack, killed):
    for _ in range(ROUNDS):
        outcome = kill(stack, killed)
        report(outcome)
        assert outcome["answered"] > 20, outcome
        assert (outcome["lost"], outcome["twice"], outcome["breaks"]) == (0, 0, 0), outcome
        assert outcome["chained"], stack.batches(SIDECAR)


def kill(stack, killed):
    [sidecar] = stack.sidecars
    known = faults(stack, sidecar)
    eventually("the sidecar is well", lambda: sidecar.status().get("healthy"))
    with Load(sidecar.port, sidecar.ca, stack.request(), callers=2) as load:
        pause(BEFORE)
        for part in killed:
            known[part].kill()
        pause(DOWN)
        restored = time.monotonic()
        for part in known:
            if part in killed:
                known[part].start()
        eventually("allows again", lambda: allowed_since(load, restored))
        pause(AFTER)
    answered = load.answered()
    held = eventually("all is known", lambda: every(answered, stack.decision_ids(SIDECAR)), within=90)
    settled = time.monotonic()
    return {
        "killed": killed,
        "answered": len(answered),
        "lost": len(answered - set(held)),
        "twice": len(held) - len(set(held)),
        "breaks": stack.breaks(),
        "chained": chained(stack.batches(SIDECAR)),
        "allows_again": round(allowed_since(load, restored) - restored, 1),
        "all_known": round(settled - restored, 1),
    }


def every(answered, held):
    return held if answered <= set(held) else None


def allowed_since(load, moment):
    """When a decision allowed first after that moment; None before."""
    return next((one.at for one in list(load.answers) if one.decision.allow and one.at > moment), None)


def report(outcome):
    if file := os.environ.get("PLACET_FAULTS"):
        with Path(file).open("a") as lines:
            lines.write(json.dumps(outcome) + "\n")


def test_what_is_stored_after_all_that_is_what_was_signed(stack):
    """Last, since it stands on what the others left: fsck finds nothing, and an unused object is no finding."""
    found = stack.placet(
        "server", "fsck", "--dir", str(stack.directory / "server"),
        "--lineage-trust-config", str(stack.sigstore.trust_config), "--identity-issuer", stack.server,
    )  # fmt: skip
    assert found["checked"]["batches"] >= len(KILLED), found
    assert (found["findings"], found["checked"]["unsigned"]) == ([], 0), found

"""How long a decision waits until it can be proved: from OPA's answer to a proof file that the verifier accepts.

The demo's whole system runs: a real Sigstore, the control plane, a sidecar with its agent, which cuts a batch once a
second. Other callers ask all the time, and one decision after the other is watched: asked for at a moment of its own,
then its proof again and again, until it is there. Each proof is verified once, outside of the time.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from app.core import proof
from app.core.governance import sidecar_id
from app.core.proof_form import Proof
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.demo.stack import AUTHOR, DOMAIN, SYSTEM, Stack
from bench import result
from bench.result import Report

AIMS = {"provable: aim of 3 s / p99": 1.0}

#: Callers beside the watched one, and the decisions that each asks for in a second.
_CALLERS, _RATE = 2, 25
#: Seconds between two looks for the proof, and until a decision counts as lost.
_LOOK, _LOST = 0.02, 60.0


def main() -> None:
    """Run the benchmark and print its report."""
    options = result.options(__doc__).parse_args()
    result.show("provable", *report(result.opa_of(options), options.quick), AIMS, options.output)


def report(opa: Path, quick: bool) -> Report:
    """The figures and their ratios."""
    watched = 15 if quick else 300
    with (
        tempfile.TemporaryDirectory(prefix="placet-bench-") as directory,
        Stack(Path(directory), opa, result.say) as stack,
    ):
        taken = measure(stack, watched)
    figures = {
        "decisions watched": float(len(taken)),
        "provable: ms, p50": round(statistics.median(taken) * 1000, 1),
        "provable: ms, p99": round(sorted(taken)[-1 - len(taken) // 100] * 1000, 1),
        "provable: ms, most": round(max(taken) * 1000, 1),
    }
    return figures, {"provable: aim of 3 s / p99": round(3000 / figures["provable: ms, p99"], 3)}


def measure(stack: Stack, watched: int) -> list[float]:
    """Seconds of each watched decision. Ends the program when a proof does not hold."""
    stack.publish(stack.sign(stack.build("first")))
    sidecar = stack.start_sidecar("one")
    stopping = threading.Event()

    def ask() -> None:
        caller = sidecar.caller()
        while not stopping.wait(1 / _RATE):
            caller.ask(stack.request())

    others = [threading.Thread(target=ask, daemon=True) for _ in range(_CALLERS)]
    for one in others:
        one.start()
    trust = TrustConfig.from_file(stack.sigstore.trust_config)
    policies = {
        "sidecars": VerificationPolicy(
            identities=[SignerIdentity(identity=sidecar_id(DOMAIN, SYSTEM, "one"), issuer=stack.server)]
        ),
        "releases": VerificationPolicy(identities=[SignerIdentity(identity=AUTHOR, issuer=stack.sigstore.issuer_url)]),
        "lineage": trust,
        "trust": trust,
    }
    chance, taken = random.Random(1), []
    try:
        with httpx.Client(headers=stack.authorization(), trust_env=False, timeout=30) as control:
            for number in range(watched):
                time.sleep(chance.random())
                answer = sidecar.caller().ask(stack.request())
                if answer.decision_id is None:
                    raise SystemExit(f"no decision: {answer.codes}")
                file = _proof(control, f"{stack.server}/api/v1/decisions/{answer.decision_id}/proof")
                taken.append(time.monotonic() - answer.at)
                proof.verify(Proof.read(file), **policies)
                if number % 20 == 0:
                    result.say(f"{number} of {watched}: {taken[-1]:.2f} s")
    finally:
        stopping.set()
    return taken


def _proof(control: httpx.Client, url: str) -> bytes:
    deadline = time.monotonic() + _LOST
    while time.monotonic() < deadline:
        answer = control.get(url)
        if answer.is_success:
            return answer.content
        time.sleep(_LOOK)
    raise SystemExit(f"no proof within {_LOST:g} s: {answer.status_code} {answer.text[:200]}")


if __name__ == "__main__":
    main()

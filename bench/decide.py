"""What governance costs a decision: OPA as it comes, with decision logs, secured, and governed by Placet.

All rivals run the same user policy on the same input, in one run, in turns, over plain loopback and over TLS:

- bare: OPA as it comes
- logged: with console decision logs
- secured: logged, closed as OPA's security guide says (token authentication, basic authorization)
- governed: the composed bundle: closed API, lease, quarantine, verified tokens, masked records
- proxy: a Python proxy that verifies the identity in front of the logged OPA (with the row "identity" only)

Each row is one way to ask (`bench/questions.py`). Ratios are medians over the rounds, governed against each rival: of
rates (higher is better), and of latencies and CPU time a request (lower is better); "p99 secured/governed" is the other
way round, so that more is better. The lease is renewed every second, as an agent does. `--parts` adds the governed
OPA with one part taken away at a time, to see what each part costs, and one whose library only verifies the caller's
token and asks the policy (`tokens alone`): what no library can do without. Never run a sidecar so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.local.ports import free_port
from bench import load, proxy, questions, result, stand
from bench.certificate import self_signed
from bench.world import AUDIENCE, OIDC, World

AIMS = {
    "identity: rate governed/secured": 0.85,
    "warrant: rate governed/secured": 0.5,
    "execution: rate governed/secured": 0.65,
    "warrant: p99 secured/governed": 0.5,
    "execution: p99 secured/governed": 0.5,
}
CONSOLE = {"decision_logs": {"console": True}}
#: The governed OPA with one part less: the configuration and options that take it away.
PARTS: dict[str, dict[str, Any]] = {
    "without authorization": {"closed": False},
    "without masking": {"config": CONSOLE},
    "without replay cache": {"config": {**CONSOLE, "nd_builtin_cache": False}},
    "without records": {"config": {"decision_logs": {}}},
    "without token cache": {"config": {"caching": {}}},
}

#: As in OPA's security guide, "Token-based authentication".
GUIDE = 'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "%s"\n'


@dataclass(frozen=True)
class Measured:
    """One run: requests per second, latencies in milliseconds, and CPU time a request in microseconds."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass
class Rival:
    """Something that runs, how to ask it, and the CPU time that it has used."""

    url: str
    token: str | None
    cpu_seconds: Callable[[], float]

    def run(self, bodies: Sequence[Any], seconds: float, directory: Path) -> Measured:
        """Load it with `bodies` for `seconds`."""
        before = self.cpu_seconds()
        run = load.run(self.url, bodies, seconds=seconds, token=self.token, directory=directory)
        cpu = (self.cpu_seconds() - before) * 1e6 / run.requests
        return Measured(run.rate, run.p50, run.p99, cpu)

    def check(self, body: Any) -> None:
        """It must allow the request."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = httpx.post(self.url, json=body, headers=headers, verify=False, trust_env=False, timeout=30)
        if answer.status_code != 200 or answer.json().get("result", {}).get("allow") is not True:
            raise SystemExit(f"{self.url} does not allow the request: {answer.text}")


@dataclass(frozen=True)
class Plan:
    """One part of the benchmark: the policy, how it is asked, and for how long."""

    binary: Path
    transport: str
    rules: int
    rows: Sequence[str]
    rounds: int
    seconds: float
    parts: bool

    @property
    def label(self) -> str:
        """What the figures' names begin with."""
        return f"{self.transport}, {f'{self.rules} rules' if self.rules else 'example policy'},"


@contextlib.contextmanager
def rivals(plan: Plan, directory: Path) -> Iterator[dict[str, Rival]]:
    """All rivals, running, the governed ones with a lease; with `parts`, also without each of `PARTS`."""
    files, entrypoint, roots = questions.many_rules(plan.rules) if plan.rules else stand.example("payments")
    plain = {
        ".manifest": json.dumps({"roots": ["placet", *roots], "revision": "1"}),
        "placet/subject.rego": questions.SUBJECT_STUB,
        **files,
    }
    tls = self_signed(directory) if plan.transport == "tls" else None
    scheme = "https" if tls else "http"
    with contextlib.ExitStack() as stack:
        leased: list[stand.Server] = []

        def start(name: str, path: str, bundle: Mapping[str, str], token: str | None, **options: Any) -> Rival:
            address = f"{scheme}://127.0.0.1:{free_port()}"
            server = stack.enter_context(
                stand.running(
                    plan.binary, bundle, directory / name, address=address, base_url=address, tls=tls, **options
                )
            )
            if path == stand.DECISION:
                leased.append(server)
            return Rival(address + path, token, server.cpu_seconds)

        asked = f"/v1/data/{entrypoint}"
        guide = directory / "guide.rego"
        guide.write_text(GUIDE % stand.AGENT_TOKEN)
        secured = ["--authentication=token", "--authorization=basic", str(guide)]
        open_and_plain = {"closed": False, "governed": False}
        composed = stand.composed(files, entrypoint, roots)
        found = {
            "bare": start("bare", asked, plain, None, **open_and_plain),
            "logged": start("logged", asked, plain, None, **open_and_plain, config=CONSOLE),
            "secured": start(
                "secured", asked, plain, stand.AGENT_TOKEN, **open_and_plain, config=CONSOLE, options=secured
            ),
            "governed": start("governed", stand.DECISION, composed, None),
        }
        if plan.parts:
            for name, less in PARTS.items():
                found[name] = start(name, stand.DECISION, composed, None, **less)
            found["tokens alone"] = start("tokens alone", stand.DECISION, questions.tokens_alone(composed), None)
        if "identity" in plan.rows and not tls:
            found["proxy"] = _proxy(stack, found["logged"])
        stack.enter_context(renewed(leased))
        yield found


def _proxy(stack: contextlib.ExitStack, logged: Rival) -> Rival:
    port = free_port()
    process = stack.enter_context(proxy.running(logged.url, World(0).keys[OIDC].jwk, AUDIENCE, port))
    return Rival(f"http://127.0.0.1:{port}/", None, lambda: proxy.cpu_seconds(process) + logged.cpu_seconds())


@contextlib.contextmanager
def renewed(servers: Sequence[stand.Server], every: float = 1.0) -> Iterator[None]:
    """Write trust state with a fresh lease at once and then every second."""
    stop = threading.Event()

    def write() -> None:
        for server in servers:
            server.write(World(int(time.time())).state(lease_seconds=10))

    def renew() -> None:
        while not stop.wait(every):
            write()

    write()
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(plan: Plan) -> dict[str, dict[str, list[Measured]]]:
    """Every rival's runs by row, in turns."""
    runs: dict[str, dict[str, list[Measured]]] = {row: {} for row in plan.rows}
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as name, rivals(plan, Path(name)) as running:
        asked = questions.target(plan.rules)
        for turn in range(plan.rounds + 1):
            for row in plan.rows:
                for rival_name, rival in running.items():
                    if rival_name == "proxy" and row != "identity":
                        continue
                    bodies = [{"input": one} for one in questions.ROWS[row](World(int(time.time())), asked)]
                    if turn == 0:  # warms up, too
                        rival.check(bodies[0])
                    _say(f"{plan.label} {row}, round {turn}/{plan.rounds}: {rival_name}")
                    run = (
                        rival.run(bodies, plan.seconds if turn else 1, Path(name)) if turn or plan.rounds > 2 else None
                    )
                    if turn and run:
                        runs[row].setdefault(rival_name, []).append(run)
    return runs


def summary(runs: Mapping[str, list[Measured]], label: str) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of each rival and the ratios of governed to the others, as medians over the rounds."""
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for part, unit in (("rate", "per s"), ("p50", "ms"), ("p99", "ms"), ("cpu", "us")):
        for rival, measured in runs.items():
            values = [getattr(run, part) for run in measured]
            figures[f"{label}: {rival} {part} {unit}"] = round(statistics.median(values), 3)
            if rival == "governed":
                continue
            ours = [getattr(run, part) for run in runs["governed"]]
            quotients = [one / (other or 1) for one, other in zip(ours, values, strict=True)]
            ratios[f"{label}: {part} governed/{rival}"] = round(statistics.median(quotients), 3)
            if (part, rival) == ("p99", "secured"):
                ratios[f"{label}: p99 secured/governed"] = round(1 / statistics.median(quotients), 3)
    return figures, ratios


def _say(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}" if sys.stderr.isatty() else f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """Run the benchmark and print its report."""
    options = arguments()
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for plan in plans(options):
        for row, runs in measure(plan).items():
            more_figures, more_ratios = summary(runs, f"{plan.label} {row}")
            figures |= more_figures
            ratios |= more_ratios
    aims = {name: aim for name in ratios for ending, aim in AIMS.items() if name.endswith(ending)}
    _say("")
    result.show("decide", figures, ratios, aims, options.output)


def plans(options: argparse.Namespace) -> Iterator[Plan]:
    """What is to be measured. 10,000 rules are asked in two ways only: the rows differ in the same way."""
    rounds, seconds = (1, 1) if options.quick else (5, 3)
    policies = [options.rules] if options.rules is not None else [0] if options.quick else [0, 10_000]
    transports = [options.transport] if options.transport else ["plain"] if options.quick else ["plain", "tls"]
    for rules in policies:
        for transport in transports:
            rows = options.row or (["identity", "execution"] if rules else list(questions.ROWS))
            binary = result.opa_of(options)
            yield Plan(binary, transport, rules, rows, rounds, seconds, options.parts)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = result.options(__doc__)
    parser.add_argument("--row", action="append", choices=list(questions.ROWS), help="only this way to ask")
    parser.add_argument("--rules", type=int, help="rules in the user policy, 0 for the example policy (default: both)")
    parser.add_argument("--transport", choices=["plain", "tls"], help="only this one (default: both)")
    parser.add_argument("--parts", action="store_true", help="also measure what each part of governance costs")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What governance costs a decision: OPA as it comes, with decision logs, secured, and governed by Placet.

All rivals run the same user policy on the same input, in one run, in turns, over plain loopback and over TLS:

- bare: OPA as it comes
- logged: with console decision logs
- secured: logged, closed as OPA's security guide says (token authentication, basic authorization)
- governed: the composed bundle: closed API, lease, quarantine, one verified JWT, masked records

Ratios are medians over the rounds, governed against each rival: of rates (higher is better), of latencies and of
CPU time a request (lower is better). The lease is renewed every second, as an agent does. `--parts` adds the governed
OPA with one part taken away at a time, to see what each part costs; never run a sidecar so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import load, stand
from bench.certificate import self_signed

AIMS = {"rate governed/secured": 0.85, "rate governed/bare": 0.5}
SUBJECT = "spiffe://example.org/support"
#: The governed OPA with one part less: the configuration and options that take it away.
PARTS: dict[str, dict[str, Any]] = {
    "without authorization": {"closed": False},
    "without masking": {"config": {"decision_logs": {"console": True}}},
    "without replay cache": {"config": {"decision_logs": {"console": True}, "nd_builtin_cache": False}},
    "without records": {"config": {"decision_logs": {}}},
}

#: The user policy alone finds its caller where the library would put it.
SUBJECT_STUB = f'package placet\n\nsubject := {{"id": "{SUBJECT}", "issuer": "{stand.ISSUER}"}}\n'

#: As in OPA's security guide, "Token-based authentication".
GUIDE = 'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "%s"\n'


@dataclass(frozen=True)
class Measured:
    """One run: requests per second, latencies in milliseconds, and OPA's CPU time a request in microseconds."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass
class Rival:
    """One running OPA and how to ask it."""

    server: stand.Server
    url: str
    token: str | None

    def run(self, body: Any, seconds: float, directory: Path) -> Measured:
        """Load it with `body` for `seconds`."""
        before = self.server.cpu_seconds()
        run = load.run(self.url, body, seconds=seconds, token=self.token, directory=directory)
        cpu = (self.server.cpu_seconds() - before) * 1e6 / run.requests
        return Measured(run.rate, run.p50, run.p99, cpu)


def many_rules(count: int) -> tuple[dict[str, str], str, list[str]]:
    """A policy of `count` rules, one grant each."""
    grants = "\n".join(
        f'granted if {{\n\tinput.action.name == "action-{n % 20}"\n\tinput.resource.id == "p-{n}"\n'
        f'\tdata.placet.subject.id == "{SUBJECT}"\n}}\n'
        for n in range(count)
    )
    module = f'package rules.authz\n\ndefault decision := false\n\ndecision := {{"allow": true}} if granted\n\n{grants}'
    return {"rules/authz.rego": module}, "rules/authz/decision", ["rules"]


def question(rules: int, token: str) -> dict[str, Any]:
    """A request that the policy allows."""
    if not rules:
        return stand.request(token)
    last = rules - 1
    return stand.request(token, action={"name": f"action-{last % 20}"}, resource={"type": "payment", "id": f"p-{last}"})


@contextlib.contextmanager
def rivals(
    binary: Path, rules: int, tls: tuple[Path, Path] | None, directory: Path, parts: bool
) -> Iterator[dict[str, Rival]]:
    """All rivals, running; with `parts`, also the governed OPA with each of `PARTS` taken away."""
    files, entrypoint, roots = many_rules(rules) if rules else stand.example("payments")
    plain = {
        ".manifest": json.dumps({"roots": ["placet", *roots], "revision": "1"}),
        "placet/subject.rego": SUBJECT_STUB,
        **files,
    }
    console = {"decision_logs": {"console": True}}
    scheme = "https" if tls else "http"
    with contextlib.ExitStack() as stack:

        def start(name: str, path: str, bundle: Mapping[str, str], token: str | None, **options: Any) -> Rival:
            address = f"{scheme}://127.0.0.1:{_free_port()}"
            server = stack.enter_context(
                stand.running(binary, bundle, directory / name, address=address, base_url=address, tls=tls, **options)
            )
            return Rival(server, address + path, token)

        asked = f"/v1/data/{entrypoint}"
        guide = directory / "guide.rego"
        guide.write_text(GUIDE % stand.AGENT_TOKEN)
        secured = ["--authentication=token", "--authorization=basic", str(guide)]
        yield {
            "bare": start("bare", asked, plain, None, closed=False, governed=False),
            "logged": start("logged", asked, plain, None, closed=False, governed=False, config=console),
            "secured": start(
                "secured", asked, plain, stand.AGENT_TOKEN,
                closed=False, governed=False, config=console, options=secured,
            ),
            "governed": start("governed", stand.DECISION, stand.composed(files, entrypoint, roots), None),
            **{
                name: start(name, stand.DECISION, stand.composed(files, entrypoint, roots), None, **less)
                for name, less in (PARTS if parts else {}).items()
            },
        }  # fmt: skip


@contextlib.contextmanager
def renewed(servers: Sequence[stand.Server], issuer: stand.Issuer, every: float = 1.0) -> Iterator[None]:
    """Write a fresh lease at once and then every second."""
    stop = threading.Event()

    def write() -> None:
        for server in servers:
            server.write(stand.trust_state(issuer, seconds=10))

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


def measure(
    binary: Path, transport: str, rules: int, rounds: int, seconds: float, label: str, parts: bool
) -> dict[str, list[Measured]]:
    """Every rival's runs, in turns."""
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as name:
        directory = Path(name)
        issuer = stand.Issuer()
        body = {"input": question(rules, issuer.token(sub=SUBJECT))}
        tls = self_signed(directory) if transport == "tls" else None
        with contextlib.ExitStack() as stack:
            running = stack.enter_context(rivals(binary, rules, tls, directory, parts))
            runs: dict[str, list[Measured]] = {rival: [] for rival in running}
            governed = [running[name].server for name in running if name == "governed" or name in PARTS]
            stack.enter_context(renewed(governed, issuer))
            for rival in running.values():
                _check(rival, body)
            for turn in range(rounds + 1):
                for rival_name, rival in running.items():
                    _say(f"{label} round {turn}/{rounds}: {rival_name}")
                    duration = seconds if turn else 1  # round 0 warms up
                    run = rival.run(body, duration, directory)
                    if turn:
                        runs[rival_name].append(run)
        return runs


def _check(rival: Rival, body: Any) -> None:
    headers = {"Authorization": f"Bearer {rival.token}"} if rival.token else {}
    answer = rival.server.client.post(rival.url, json=body, headers=headers).raise_for_status().json()
    if answer.get("result", {}).get("allow") is not True:
        raise SystemExit(f"{rival.url} does not allow the request: {answer}")


def summary(runs: Mapping[str, list[Measured]], label: str) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of each rival and the ratios of governed to the others, as medians over the rounds."""
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for part, unit in (("rate", "per s"), ("p50", "ms"), ("p99", "ms"), ("cpu", "us")):
        for rival, measured in runs.items():
            values = [getattr(run, part) for run in measured]
            figures[f"{label} {rival} {part} {unit}"] = round(statistics.median(values), 3)
            if rival != "governed":
                pairs = zip(runs["governed"], measured, strict=True)
                quotients = [getattr(ours, part) / (getattr(theirs, part) or 1) for ours, theirs in pairs]
                ratios[f"{label} {part} governed/{rival}"] = round(statistics.median(quotients), 3)
    return figures, ratios


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _say(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}" if sys.stderr.isatty() else f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds")
    parser.add_argument("--rules", type=int, help="rules in the user policy, 0 for the example policy (default: both)")
    parser.add_argument("--transport", choices=["plain", "tls"], help="only this one (default: both)")
    parser.add_argument("--opa", type=Path, help="an OPA binary (default: the pinned one)")
    parser.add_argument("--parts", action="store_true", help="also measure what each part of governance costs")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    rounds, seconds = (2, 2) if options.quick else (5, 5)
    policies = [options.rules] if options.rules is not None else [0] if options.quick else [0, 10_000]
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for rules in policies:
        for transport in [options.transport] if options.transport else ["plain", "tls"]:
            label = f"{transport}, {f'{rules} rules' if rules else 'example policy'}:"
            runs = measure(options.opa or _pinned(), transport, rules, rounds, seconds, label, options.parts)
            more_figures, more_ratios = summary(runs, label)
            figures |= more_figures
            ratios |= more_ratios
    aims = {name: aim for name in ratios for ending, aim in AIMS.items() if name.endswith(ending)}
    report = {
        "name": "decide",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "figures": figures,
        "ratios": ratios,
        "aims": aims,
    }
    _say("")
    if options.output == "json":
        print(json.dumps(report, indent=2))
        return
    print(f"{report['name']}: {report['machine']}")
    for name, value in figures.items():
        print(f"  {name:52} {value:12,.2f}")
    for name, value in ratios.items():
        print(f"  {name:52} {value:12.3f}" + (f"   (aim {aims[name]})" if name in aims else ""))


def _pinned() -> Path:
    from app.local.tools import installed

    return installed("opa")


if __name__ == "__main__":
    main()

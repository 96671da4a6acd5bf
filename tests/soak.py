"""Repeat the kill and fault tests at length and write docs/soak.md. `make soak` calls this.

The tests read how often and how long from the environment: `PLACET_ROUNDS` (3 in `make test`, 20 here),
`PLACET_FAULT_ROUNDS` (1 in `make test`, 20 here), `PLACET_LOAD_SECONDS` (60 in `make test`, 300 here) and
`PLACET_MUTATIONS` (2,000 in `make test`, 20,000 here).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from fault_table import table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "soak.md"
LENGTH = {
    "PLACET_ROUNDS": "20",
    "PLACET_FAULT_ROUNDS": "20",
    "PLACET_LOAD_SECONDS": "300",
    "PLACET_MUTATIONS": "20000",
}


def main(arguments: list[str]) -> int:
    """Run the tests that start real servers; `arguments` go on to pytest."""
    environment = {**LENGTH, **os.environ}
    with tempfile.TemporaryDirectory(prefix="placet-soak-") as scratch:
        results, kills = Path(scratch, "results.xml"), Path(scratch, "kills.jsonl")
        kills.touch()
        environment["PLACET_FAULTS"] = str(kills)
        command = [sys.executable, "-m", "pytest", "tests/integration", f"--junit-xml={results}", "--timeout=7200"]
        command += ["-o", "junit_family=xunit1"]  # which keeps what tests say of themselves
        status = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=False).returncode
        if not results.exists():
            print(f"soak: pytest failed before it ran a test (exit code {status})", file=sys.stderr)
            return 1
        cases = list(ET.parse(results).getroot().iter("testcase"))
        PAGE.write_text(report(cases, environment, table(kills)))
    print(f"soak: wrote {PAGE}", file=sys.stderr)
    return status


def report(cases: list[ET.Element], environment: dict[str, str], kills: str) -> str:
    """The page: when, where, at which commit, what came of the parts that were killed, and what each test did."""
    outcomes = [outcome(case) for case in cases]
    counts = Counter(outcomes)
    rows = [
        f"| {case.get('classname', '').removeprefix('tests.')} | {case.get('name')} | {result}"
        f" | {float(case.get('time', 0)):.0f} |"
        for case, result in zip(cases, outcomes, strict=True)
    ]
    return "\n".join(
        [
            "# Soak",
            "",
            f"Written by `make soak` on {datetime.now(UTC):%Y-%m-%d} at commit {commit()}, on {machine()}.",
            "What is not in the table of tests at the end was not run.",
            "",
            *killed(cases, environment, kills),
            *mutations(cases),
            ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) + ".",
            "",
            "| suite | test | outcome | seconds |",
            "|---|---|---|---:|",
            *rows,
            "",
        ]
    )


def killed(cases: list[ET.Element], environment: dict[str, str], kills: str) -> list[str]:
    """What came of the parts that were killed, when that was among the tests."""
    if not any("fault" in case.get("classname", "") or "test_load" in case.get("classname", "") for case in cases):
        return []
    rounds, seconds = environment["PLACET_ROUNDS"], environment["PLACET_LOAD_SECONDS"]
    return [f"{rounds} rounds of each kill, {seconds} s of each load.", "", kills, ""]


def mutations(cases: list[ET.Element]) -> list[str]:
    """What came of the changed releases: how many, what each was denied for, and how long the slowest took."""
    counts: Counter[str] = Counter()
    slowest = 0
    for case in cases:
        if "test_release_storm" in case.get("classname", ""):
            for one in case.iter("property"):
                name, value = str(one.get("name")), int(str(one.get("value")))
                if name == "slowest_ms":
                    slowest = max(slowest, value)
                else:
                    counts[name] += value
    if not counts:
        return []
    return [
        "## Changed releases",
        "",
        f"{counts.pop('mutations')} random changes to a valid release; the slowest took {slowest} ms of CPU.",
        "`archive:` rows are of bundles that an allowed signer could have signed; `void` changes mean nothing.",
        "",
        "| answer | changes |",
        "|---|---:|",
        *(f"| {name} | {count} |" for name, count in sorted(counts.items())),
        "",
    ]


def outcome(case: ET.Element) -> str:
    for tag, word in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return word
    return "passed"


def machine() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()} with {os.cpu_count()} cores"


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

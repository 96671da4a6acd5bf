"""Run every benchmark of this directory and write docs/benchmarks.md. `make bench` calls this.

Each benchmark prints, with `--output json`, one document: `{"name", "machine", "figures", "ratios", "aims"}`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"

#: Seconds that one benchmark may take.
TIMEOUT = 45 * 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, each within 60 s; writes no page")
    quick = parser.parse_args().quick
    pages = []
    for script in benchmarks():
        print(f"bench: {script.stem}", file=sys.stderr)
        command = [sys.executable, str(script), "--output", "json", *(["--quick"] if quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=TIMEOUT, check=False)
        if done.returncode != 0:
            print(f"bench: {script.stem} failed with exit code {done.returncode}", file=sys.stderr)
            return 1
        pages.append(section(json.loads(done.stdout), script.name))
    text = "\n".join([HEAD.format(at=datetime.now(UTC).strftime("%Y-%m-%d"), commit=commit()), *pages])
    if quick:
        print(text)
    else:
        PAGE.write_text(text)
        print(f"bench: wrote {PAGE}", file=sys.stderr)
    return 0


def benchmarks() -> list[Path]:
    """The modules here that can be run, this one aside; the others are what they share."""
    return sorted(path for path in HERE.glob("[a-z]*.py") if '__name__ == "__main__"' in path.read_text())


HEAD = """# Benchmarks

Written by `make bench` on {at} at commit {commit}. Rivals are measured side by side in one run, alternating: trust the
ratios. A ratio with an aim says whether it was met.
"""


def section(result: dict[str, Any], script: str) -> str:
    """One benchmark as Markdown."""
    lines = [f"## {result['name']}", "", f"`bench/{script}` on {machine(result['machine'])}.", ""]
    if result["ratios"]:
        lines += ["| ratio | value | aim |", "|---|---:|---|"]
        for name, value in result["ratios"].items():
            lines.append(f"| {name} | {value:.2f} | {judged(value, result['aims'].get(name))} |")
        lines.append("")
    lines += ["| figure | value |", "|---|---:|"]
    lines += [f"| {name} | {value:,.6g} |" for name, value in result["figures"].items()]
    return "\n".join([*lines, ""])


def machine(described: Any) -> str:
    """The machine in one line, whether the benchmark gives a text or members."""
    return ", ".join(f"{key} {value}" for key, value in described.items()) if isinstance(described, dict) else described


def judged(value: float, aim: float | None) -> str:
    if aim is None:
        return ""
    return f"{aim:g}: {'met' if value >= aim else 'missed'}"


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())

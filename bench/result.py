"""What every benchmark has: its options, the OPA that it runs, and how it prints what it found."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from app.local.tools import installed

#: Figures and their ratios, each under its name.
Report = tuple[dict[str, float], dict[str, float]]


def options(doc: str | None) -> argparse.ArgumentParser:
    """A parser of the options that all benchmarks take; `doc` describes this one."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds")
    parser.add_argument("--opa", type=Path, help="an OPA binary (default: the pinned one)")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    return parser


def opa_of(given: argparse.Namespace) -> Path:
    """The OPA binary to run."""
    binary: Path = given.opa or installed("opa")
    return binary


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def show(
    name: str, figures: Mapping[str, float], ratios: Mapping[str, float], aims: Mapping[str, float], output: str
) -> None:
    """Print one report: as JSON the document that `_report.py` reads, else a table."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    if output == "json":
        document = {"name": name, "machine": machine, "figures": figures, "ratios": ratios, "aims": aims}
        print(json.dumps(document))
        return
    print(f"{name}: {machine}")
    for figure, value in figures.items():
        print(f"  {figure:60} {value:12,.2f}")
    for ratio, value in ratios.items():
        print(f"  {ratio:60} {value:12.3f}" + (f"   (aim {aims[ratio]})" if ratio in aims else ""))

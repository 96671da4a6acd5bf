"""The Rego that ships: formatted, strict, tested to the last line; and what is generated from the reason table."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from app.core.reason_codes import Reason
from app.local.generate import REPOSITORY, SCOPES, main
from app.local.tools import installed

pytestmark = pytest.mark.stack

TESTED = ["rego/placet", "bundles/payments", "bundles/agent-tools"]


def opa(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(installed("opa")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY)


def test_all_rego_is_formatted() -> None:
    unformatted = opa("fmt", "--list", "--fail", "rego", "bundles")
    assert unformatted.returncode == 0, f"run `opa fmt -w` on {unformatted.stdout}"


@pytest.mark.parametrize("directory", [*TESTED, "rego/authz"])
def test_all_rego_passes_the_strict_check(directory: str) -> None:
    checked = opa("check", "--strict", directory)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("directory", TESTED)
def test_the_tests_pass_and_reach_every_line(directory: str) -> None:
    assert (ran := opa("test", directory)).returncode == 0, ran.stdout
    covered = opa("test", directory, "--coverage", "--threshold", "100")
    assert covered.returncode == 0, covered.stdout[-2000:]


def test_every_module_of_the_library_has_its_test() -> None:
    modules = {path.name for path in Path(REPOSITORY, "rego/placet").glob("*.rego")}
    subjects = {name for name in modules if not name.endswith("_test.rego")} - {"reasons.rego"}
    assert {name.replace(".rego", "_test.rego") for name in subjects} <= modules


def test_every_failure_in_the_library_is_in_the_table() -> None:
    rows = json.loads(Path(REPOSITORY, "app/core/reasons.json").read_text())
    decision_codes = {row["code"] for row in rows if row["scope"] == "decision"}
    sources = [
        path.read_text()
        for path in Path(REPOSITORY, "rego/placet").glob("*.rego")
        if not path.name.endswith("_test.rego") and path.name != "reasons.rego"
    ]
    used = {code for source in sources for code in re.findall(r':= "([a-z]+\.[a-z_]+)"', source)}
    assert used == decision_codes


def test_generated_files_are_current() -> None:
    assert main(["--check"]) == 0


def test_the_table_is_complete() -> None:
    rows = json.loads(Path(REPOSITORY, "app/core/reasons.json").read_text())
    assert len({row["code"] for row in rows}) == len(rows) == len(Reason)
    for row in rows:
        assert row["scope"] in SCOPES
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", row["code"])
        assert row["message"].endswith(".")
        assert row["meaning"], f"{row['code']} lacks its meaning"
        assert row["remedy"], f"{row['code']} lacks its remedy"
        assert "|" not in row["meaning"] + row["remedy"] + row["message"]


@pytest.mark.parametrize("arguments", [["--other"], ["--check", "x"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err

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

#: What is quoted in the library and looks like a reason code: members of what OPA logs, and of attestation results.
MEMBERS = {"time.now_ns", "placet.lease", "ear.status"}

TESTED = ["rego/placet", "bundles/payments", "bundles/agent-tools"]


def opa(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(installed("opa")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=REPOSITORY)


def test_all_rego_is_formatted() -> None:
    unformatted = opa("fmt", "--list", "--fail", "rego", "bundles")
    assert unformatted.returncode == 0, f"run `opa fmt -w` on {unformatted.stdout}"


@pytest.mark.parametrize("directory", [*TESTED, "rego/authz"])
def test_all_rego_passes_the_strict_check(directory: str) -> None:
    checked = opa("check", "--strict", directory)
    assert checked.returncode == 0, checked.stderr


def test_the_library_reads_input_and_state_as_the_schemas_have_them(tmp_path: Path) -> None:
    """Without `--schema` the check passes whatever is read, so it must be seen to refuse something."""
    schemas = "rego/schemas"
    checked = opa("check", "--strict", "--schema", schemas, "rego/placet")
    assert checked.returncode == 0, checked.stderr
    misspelt = tmp_path / "state.rego"
    source = Path(REPOSITORY, "rego/placet/state.rego").read_text()
    misspelt.write_text(source.replace("trust.links", "trust.link"))
    refused = opa("check", "--schema", schemas, str(misspelt))
    assert refused.returncode != 0
    assert "trust.link" in refused.stderr


@pytest.mark.parametrize("directory", TESTED)
def test_the_tests_pass_and_reach_every_line(directory: str) -> None:
    assert (ran := opa("test", "--timeout", "60s", directory)).returncode == 0, ran.stdout
    covered = opa("test", "--timeout", "60s", directory, "--coverage", "--threshold", "100")
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
    quoted = {code for source in sources for code in re.findall(r'"([a-z]+\.[a-z_]+)"', source)}
    assert quoted - MEMBERS == decision_codes


def test_every_reason_of_a_decision_is_tested() -> None:
    rows = json.loads(Path(REPOSITORY, "app/core/reasons.json").read_text())
    tests = "".join(path.read_text() for path in Path(REPOSITORY, "rego/placet").glob("*_test.rego"))
    assert [row["code"] for row in rows if row["scope"] == "decision" and f'"{row["code"]}"' not in tests] == []


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

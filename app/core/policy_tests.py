"""Running a policy's tests with OPA, and what came out: each test, the policy's coverage, a JUnit report."""

from __future__ import annotations

import base64
import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from app.core.errors import PlacetError, UsageError
from app.core.opa import Opa
from app.core.policy_evaluation import first_fault
from app.core.policy_project import Project
from app.core.policy_values import local_values

#: Failed tests that are run again to see why.
_MAX_TRACED = 50

#: What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class TestResult:
    """One test. `outcome` is `passed`, `failed`, `error` or `skipped`."""

    __test__ = False  # not a test of pytest's

    name: str
    package: str
    file: str
    line: int
    outcome: str
    seconds: float
    #: Of a failed one the expression that was not true, its place, and what its variables held; or the error.
    failed_at: str = ""
    expression: str = ""
    values: tuple[str, ...] = ()
    #: What it printed, or the error that ended it.
    output: str = ""


@dataclass(frozen=True)
class Coverage:
    """How much of the policy its tests reached. Tests themselves are not counted: they always reach themselves."""

    percent: float
    #: Lines that no test reached, such as `payments/authz.rego:30-32`.
    missing: tuple[str, ...]


@dataclass(frozen=True)
class TestReport:
    """All that came out of a run."""

    __test__ = False

    results: tuple[TestResult, ...]
    #: Not there when a test failed: what it would have reached is not known.
    coverage: Coverage | None = None

    def count(self, *outcomes: str) -> int:
        """How many tests ended in one of these ways."""
        return sum(one.outcome in outcomes for one in self.results)

    @property
    def failed(self) -> list[TestResult]:
        """The tests that failed or ended in an error."""
        return [one for one in self.results if one.outcome in ("failed", "error")]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON shows it."""
        counts = {name: self.count(name) for name in ("passed", "failed", "error", "skipped")}
        return {
            **counts,
            "coverage": asdict(self.coverage) if self.coverage else None,
            "tests": [asdict(one) for one in self.results],
        }


def run_tests(project: Project, opa: Opa, *, pattern: str | None = None, coverage: bool = False) -> TestReport:
    """Run the tests whose full name (`data.payments.authz_test.test_x`) matches `pattern` (RE2), or all.

    Raises `PlacetError` when the policy does not compile, and `UsageError` for a pattern that OPA refuses.
    """
    chosen = ["--run", pattern] if pattern else []
    with tempfile.TemporaryDirectory(prefix="placet-test-") as scratch:
        staged = project.stage(Path(scratch) / "policy")
        answer = opa.run(["test", "--format", "json", *chosen, str(staged)], accept_failure=True)
        found = _tests(answer.stdout, answer.stderr, staged, project, opa)
        traces = _traces(opa, staged, [one for one in found if one.get("fail")])
        results = [_result(project, staged, one, traces.get(_full_name(one), [])) for one in found]
        report = TestReport(tuple(sorted(results, key=lambda one: (one.file, one.line))))
        if not coverage or report.failed:
            return report
        measured = opa.run(["test", "--coverage", "--format", "json", *chosen, str(staged)], accept_failure=True)
        return TestReport(report.results, _coverage(project, staged, measured.stdout))


def _traces(opa: Opa, staged: Path, failed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What OPA tells of failed tests, by name. They run again for it: the trace of a slow one would fill memory."""
    names = [re.escape(_full_name(one)) for one in failed[:_MAX_TRACED]]
    if not names:
        return {}
    pattern = f"^({'|'.join(names)})$"
    try:
        answer = opa.run(
            ["test", "--format", "json", "--explain", "fails", "--run", pattern, str(staged)], accept_failure=True
        )
        return {_full_name(one): one.get("trace") or [] for one in json.loads(answer.stdout)}
    except (PlacetError, ValueError):
        return {}  # the report is whole without it


def _full_name(found: Mapping[str, Any]) -> str:
    return f"{found.get('package')}.{found.get('name')}"


def _tests(stdout: bytes, stderr: bytes, staged: Path, project: Project, opa: Opa) -> Sequence[Mapping[str, Any]]:
    try:
        found = json.loads(stdout) if stdout.strip() else []
    except ValueError:
        found = None
    if isinstance(found, list) and not stderr.strip():
        return found
    said = (stderr or stdout).decode(errors="replace").replace(f"{staged}/", project.prefix).strip()
    if "error parsing regexp" in said:
        raise UsageError(f"--run: {said.splitlines()[0][:300]}")
    lines = said.splitlines() or [""]
    first = first_fault(staged, opa, project.prefix) or next((line for line in lines if ".rego:" in line), lines[0])
    raise PlacetError(f"the policy does not compile: {first[:800]}; `placet policy check` shows everything")


def _result(project: Project, staged: Path, found: Mapping[str, Any], trace: Sequence[Mapping[str, Any]]) -> TestResult:
    location = found.get("location") or {}
    file = str(location.get("file", "")).removeprefix(f"{staged}/")
    if found.get("skip"):
        outcome = "skipped"
    elif found.get("error"):
        outcome = "error"
    else:
        outcome = "failed" if found.get("fail") else "passed"
    output = base64.b64decode(found.get("output") or "").decode(errors="replace")
    at, expression, values = _failure(project, staged, trace) if outcome == "failed" else _ended(project, staged, found)
    return TestResult(
        str(found.get("name", "")),
        str(found.get("package", "")).removeprefix("data."),
        project.location(file),
        int(location.get("row", 0)),
        outcome,
        int(found.get("duration", 0)) / 1e9,
        at,
        expression,
        values,
        output.strip(),
    )


def _failure(project: Project, staged: Path, trace: Sequence[Mapping[str, Any]]) -> tuple[str, str, tuple[str, ...]]:
    """The expression of the test that was not true: the last that failed in a file of tests."""
    for event in reversed(trace):
        location = event.get("Location") or {}
        file = str(location.get("file", "")).removeprefix(f"{staged}/")
        if event.get("Op") != "Fail" or file not in project.tests:
            continue
        row = int(location["row"])
        lines = project.tests[file].decode(errors="replace").splitlines()
        text = lines[row - 1].strip() if 0 < row <= len(lines) else ""
        return f"{project.location(file)}:{row}", text, tuple(local_values(event, lines))
    return "", "", ()


def _ended(project: Project, staged: Path, found: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """The error that ended a test, and its place, if there is one."""
    error = found.get("error")
    if isinstance(error, list) and error:
        error = error[0]
    if not error:
        return "", "", ()
    about: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error)}
    location = about.get("location") or {}
    file = str(location.get("file", "")).removeprefix(f"{staged}/")
    said = " ".join(str(about.get("message", "an error")).replace(f"{staged}/", project.prefix).split())
    return f"{project.location(file)}:{location.get('row')}" if file else "", said, ()


def _coverage(project: Project, staged: Path, raw: bytes) -> Coverage:
    try:
        files = json.loads(raw)["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise PlacetError("opa test --coverage gave no report") from error
    reached = unreached = 0
    missing = []
    for path, found in sorted(files.items()):
        name = path.removeprefix(f"{staged}/")
        if name not in project.modules:
            continue
        reached += int(found.get("covered_lines", 0))
        unreached += int(found.get("not_covered_lines", 0))
        for part in found.get("not_covered") or []:
            first, last = int(part["start"]["row"]), int(part["end"]["row"])
            missing.append(f"{project.location(name)}:{first}" + (f"-{last}" if last > first else ""))
    of = reached + unreached
    # Rounded down: what is below a threshold must not look as if it reached it.
    return Coverage(math.floor(10_000 * reached / of) / 100 if of else 100.0, tuple(dict.fromkeys(missing)))


def junit(report: TestReport, name: str) -> bytes:
    """The report as JUnit XML, as CI systems read it: a suite for each package, with its file where it has one.

    A test case has no file or line: the schema of Jenkins' xUnit plugin refuses them. A failure begins with its place.
    """
    root = ElementTree.Element("testsuites", name=_xml(name))
    for package in dict.fromkeys(one.package for one in report.results):
        own = [one for one in report.results if one.package == package]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(package),
            tests=str(len(own)),
            failures=str(sum(one.outcome == "failed" for one in own)),
            errors=str(sum(one.outcome == "error" for one in own)),
            skipped=str(sum(one.outcome == "skipped" for one in own)),
            time=f"{sum(one.seconds for one in own):.6f}",
        )
        if len(files := {one.file for one in own}) == 1:
            suite.set("file", _xml(*files))
        for one in own:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=_xml(package),
                name=_xml(one.name),
                time=f"{one.seconds:.6f}",
            )
            if one.outcome == "skipped":
                ElementTree.SubElement(case, "skipped")
            elif one.outcome != "passed":
                kind = "error" if one.outcome == "error" else "failure"
                told = ElementTree.SubElement(case, kind, message=_xml(one.expression or one.output or "failed"))
                told.text = _xml("\n".join([one.failed_at, one.expression, *one.values]))
            if one.output:
                ElementTree.SubElement(case, "system-out").text = _xml(one.output)
    ElementTree.indent(root)
    raw: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return raw + b"\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)

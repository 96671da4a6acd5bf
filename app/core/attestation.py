"""A bundle's test result as an in-toto statement: the tests run over exactly the files that the bundle holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core import preflight, statements
from app.core.bundle import Bundle, digest_of, parse_bundle
from app.core.errors import Denied, PlacetError, UsageError
from app.core.opa import Module, Opa
from app.core.policy_project import Project, Settings
from app.core.policy_tests import Coverage, TestReport, run_tests
from app.core.roots import under

#: Places without coverage that a statement names.
_MAX_MISSING = 200


@dataclass(frozen=True)
class Tested:
    """What the tests of a bundle came to. There is a statement only when all of them passed."""

    digest: str
    report: TestReport
    coverage: Coverage
    statement: bytes


def attest(raw: bytes, name: str, tests: Mapping[str, bytes], opa: Opa, *, threshold: float = 0) -> Tested:
    """Run `tests` (Rego by path) over the bundle `raw` called `name`, and state the result.

    Raises `Denied` when the bundle is none, `UsageError` when the tests are none or would change what they test, and
    `PlacetError` when one fails or they reach less than `threshold` percent of the policy's lines: then nothing is
    stated, since whoever requires a test result may not look at what it says.
    """
    bundle = parse_bundle(raw)
    if not tests:
        raise UsageError("there are no tests (*_test.rego) there; name the directory that holds them with --tests")
    _check_tests(bundle, tests, opa)
    project = Project(Path(), Settings(), bundle.modules, tests, bundle.data)
    report = run_tests(project, opa, coverage=True)
    if report.failed:
        raise Failed(report)
    if not report.count("passed"):
        raise UsageError("not one test (a rule test_… in *_test.rego) ran; there is nothing to attest")
    coverage = report.coverage or Coverage(0, ())
    if coverage.percent < threshold:
        raise PlacetError(
            f"the tests reach {coverage.percent:g} % of the policy, not {threshold:g} %; nothing is signed"
        )
    digests = {path: digest_of(content) for path, content in tests.items()}
    statement = _statement(statements.resource(name, bundle.digest), report, coverage, digests, opa)
    if len(statement) > statements.MAX_STATEMENT:
        raise UsageError(f"a test result of {len(report.results)} tests is too large to sign; attest fewer")
    return Tested(bundle.digest, report, coverage, statement)


class Failed(PlacetError):
    """Tests failed; `report` says which."""

    def __init__(self, report: TestReport) -> None:
        self.report = report
        first = report.failed[0]
        super().__init__(
            f"{len(report.failed)} of {len(report.results)} tests failed, first {_name(first.package, first.name)} "
            f"({first.file}:{first.line}); nothing is signed"
        )


def _check_tests(bundle: Bundle, tests: Mapping[str, bytes], opa: Opa) -> None:
    """Tests may stand in the policy's package, but must not add to its rules: they would test another policy."""
    if clash := sorted(set(tests) & (set(bundle.modules) | set(bundle.data))):
        raise UsageError(f"{clash[0]} is a file of the bundle, too; give the tests another name")
    modules = opa.inspect(bundle.modules)
    policy = {rule for module in modules for rule in module.rules}
    called = {
        f"{module.package}/{name.split('.', 1)[0]}" for module in modules for name in preflight.called(module.syntax)
    }
    for module in _inspected(tests, opa):
        for rule in module.rules:
            if any(under(rule, one) or under(one, rule) for one in policy):
                raise UsageError(
                    f"{module.file} adds to the rule {rule.replace('/', '.')} of the policy that it tests; "
                    "use `with` in the test instead"
                )
            if hidden := next((one for one in called if under(rule, one)), None):
                raise UsageError(
                    f"{module.file}: the rule {hidden.replace('/', '.')} would hide what the policy that it tests "
                    "calls so; give it another name"
                )


def _inspected(tests: Mapping[str, bytes], opa: Opa) -> list[Module]:
    try:
        return opa.inspect(tests)
    except Denied as denied:
        if "keyword is required" not in denied.detail:
            raise
        detail = f"{denied.detail}; give --v0-compatible where the tests are older Rego (v0)"
        raise Denied(denied.reason, detail, field=denied.field) from denied


def _statement(
    bundle: statements.Resource, report: TestReport, coverage: Coverage, tests: Mapping[str, str], opa: Opa
) -> bytes:
    skipped = _names(report, "skipped")
    return statements.test_result(
        bundle,
        result="WARNED" if skipped else "PASSED",
        configuration=[
            *(statements.resource(path, tests[path]) for path in sorted(tests)),
            {**statements.resource("opa", opa.digest), "annotations": {"version": opa.version}},
        ],
        passed=_names(report, "passed"),
        warned=skipped,
        coverage={"percent": coverage.percent, "missing": list(coverage.missing[:_MAX_MISSING])},
    )


def _names(report: TestReport, outcome: str) -> Sequence[str]:
    return [_name(one.package, one.name) for one in report.results if one.outcome == outcome]


def _name(package: str, test: str) -> str:
    return f"{package}.{test}"

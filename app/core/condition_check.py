"""Whether a condition is Rego that can be evaluated, told when a policy is stored or read, not at the first release.

OPA compiles it as the query that it is, without its input; what makes a policy indeterminate is refused in it as well.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.core import determinism, policy_remedy, strict_yaml
from app.core.complaint import printable
from app.core.errors import Denied, UsageError
from app.core.files import read_bounded
from app.core.opa import COMPILING, Opa
from app.core.reason_codes import Reason
from app.core.verification_policy import MAX_FILE, VerificationPolicy

#: Builtins that write to OPA's output.
_WRITERS = {"print", "internal.print", "trace"}
#: Characters of a message that are shown.
_SHOWN = 200
#: What makes a query a module, whose syntax tree OPA shows.
_HEAD = "package condition\n\nholds if {\n"
_UNDEFINED_FUNCTION = re.compile(r"undefined function (\S+)")
_NO_QUERY = "a condition is a query such as input.predicate.coverage.percent >= 90: no package, import or rule"


@dataclass(frozen=True)
class ConditionFault:
    """What is wrong with a condition, where in it, and what to do."""

    message: str
    remedy: str
    #: Counted from 1; None where OPA names no place.
    row: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = f"{self.row}:{self.column or 1}: " if self.row else ""
        return f"{where}{self.message}; {self.remedy}"


def require(policy: VerificationPolicy, opa: Opa, file: Path | None = None) -> None:
    """Refuse a policy with a condition that can never be evaluated, or says another thing on another day.

    Raises `UsageError`: with line and column of `file`, from which the policy was read, or else of the condition.
    """
    for number, one in enumerate(policy.requirements):
        found = fault(one.condition, opa) if one.condition is not None else None
        if found is None:
            continue
        member = f"required_predicates.{number}.condition"
        if file is None:
            raise UsageError(f"{member}: {found}")
        row, column = found.row or 1, found.column or 1
        raw = read_bounded(file, MAX_FILE, "the verification policy")
        line, at = strict_yaml.place(raw, ("required_predicates", number, "condition"), row, column)
        raise UsageError(f"{file}:{line}:{at}: {member}: {found.message}; {found.remedy}")


@lru_cache(maxsize=256)
def fault(condition: str, opa: Opa) -> ConditionFault | None:
    """What is wrong with a condition; None when it may be evaluated. Raises `Denied` when OPA does not say in time."""
    try:  # The time is over before anything is evaluated, but not before it is compiled.
        errors = json.loads(ask(condition.rstrip(), opa, b"{}", "1ns").stdout).get("errors", [])
    except (ValueError, AttributeError):
        return ConditionFault("OPA gave no answer", "correct it; `opa eval` may say more")
    compiling = [one for one in errors if not str(one.get("code", "")).startswith("eval_")]
    return _of_compiler(min(compiling, key=_order), opa) if compiling else _indeterminate(condition, opa)


def ask(condition: str, opa: Opa, statement: bytes, timeout: str) -> subprocess.CompletedProcess[bytes]:
    """OPA's answer to a condition over a statement, which it sees as `input` and beside nothing else.

    Raises `Denied` for one that it does not compile in time.
    """
    with tempfile.TemporaryDirectory(prefix="placet-condition-") as scratch:
        capabilities = Path(scratch) / "capabilities.json"
        capabilities.write_bytes(_capabilities(opa.capabilities))
        return opa.run(
            [
                "eval",
                "--format=json",
                "--stdin-input",
                "--strict-builtin-errors",
                f"--timeout={timeout}",
                f"--capabilities={capabilities}",
                "--",  # a condition may begin with a minus
                condition,
            ],
            stdin=statement,
            accept_failure=True,
            deadline=time.monotonic() + COMPILING,
            too_slow=Reason.EVIDENCE_CONDITION,
        )


@lru_cache(maxsize=2)
def _capabilities(of_policies: bytes) -> bytes:
    """What a condition may call: what a policy may, without the clock and without writing. The same for each OPA."""
    capabilities = json.loads(of_policies)
    capabilities["builtins"] = [
        one for one in capabilities["builtins"] if not one.get("nondeterministic") and one["name"] not in _WRITERS
    ]
    return json.dumps(capabilities).encode()


def _order(error: dict[str, Any]) -> tuple[int, int, bool, str]:
    """The first in the text comes first: OPA gives unsafe variables in any order, and its own `_` among them."""
    location, message = error.get("location") or {}, str(error.get("message"))
    return location.get("row", 0), location.get("col", 0), message.startswith("var _ "), message


def _of_compiler(error: dict[str, Any], opa: Opa) -> ConditionFault:
    code, message = str(error.get("code", "")), str(error.get("message"))
    location = error.get("location") or {}
    row, column = location.get("row"), location.get("col")
    said = printable(message)[:_SHOWN]
    if message.startswith("expected body but got") or "expected exactly one" in message:
        return ConditionFault("not a query", _NO_QUERY, row, column)
    if called := _UNDEFINED_FUNCTION.search(message):
        if called[1] in opa.builtins or called[1] in _WRITERS:
            remedy = "a condition sees the statement alone, neither clock, network nor chance, and writes nothing"
        else:
            remedy = "no such function: correct its name; a condition has no functions of its own"
    elif "is unsafe" in message:
        remedy = "the statement is `input`; give a variable its value with := or `some … in`, and put text in quotes"
    elif code == "rego_compile_error" and "empty query" in message:
        remedy = _NO_QUERY
    else:
        remedy = policy_remedy.remedy(code, message)
    return ConditionFault(said, remedy, row, column)


def _indeterminate(condition: str, opa: Opa) -> ConditionFault | None:
    sources = {"condition": f"{_HEAD}{condition}\n}}\n".encode()}
    try:
        found = next(determinism.all_findings(opa.inspect(sources), sources, opa), None)
    except Denied as denied:  # what cannot be read is not known to be determinate
        return ConditionFault(printable(denied.detail)[:_SHOWN], _NO_QUERY)
    return None if found is None else _located(found.finding, condition)


def _located(finding: determinism.Finding, condition: str) -> ConditionFault:
    remedy = "docs/determinism.md has the form to write instead"
    if finding.line is None:
        return ConditionFault(finding.what, remedy)
    row = finding.line - _HEAD.count("\n")
    lines: list[Any] = condition.split("\n")
    line = lines[row - 1] if 0 < row <= len(lines) else ""
    words = [finding.builtin] if finding.builtin else ["with", "data"]
    column = next((at for word in words if (at := line.find(word)) >= 0), 0) + 1
    return ConditionFault(finding.what, remedy, row, column)

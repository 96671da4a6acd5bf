"""A system's rules for what stays out of its records: paths into request and result, and what stands there then.

A path is `input/…` or `result/…`; its steps are names of members, with `~1` for a slash and `~0` for a tilde in a name
(RFC 6901), or `*` for every member of an object or element of an array. OPA applies them before a record is written
(`rego/placet/masking_rules.rego`), so what they name never leaves the sidecar.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StringConstraints

from app.core.targets import Document

#: Rules of one system at most, and steps of a path that the library takes.
MAX_RULES, MAX_STEPS = 32, 8

#: What stands in a record at the place of a value that a rule named: this and, where it was hashed, a digest.
MARK = "(masked"

#: What of a result may be masked. The rest is what evidence rests on: outcome, codes, digests, execution, warrant.
_OF_RESULTS = ("obligations", "subject", "claims")
_MESSAGES = ["reasons", None, "message"]
#: Of an execution only the token may be: its id joins decisions to lineage.
_EXECUTION_TOKEN = ["execution", "token"]


def steps(path: str) -> tuple[str, list[str | None]]:
    """`input` or `result`, and the steps below it; None is every member. Raises `ValueError`."""
    part, *names = path.split("/")
    if part not in ("input", "result") or not names:
        raise ValueError(f"{path!r} must begin with input/ or result/ and name what is below")
    most = MAX_STEPS if part == "input" else MAX_STEPS - 1  # a start's result holds the decision one step deeper
    if len(names) > most:
        raise ValueError(f"{path!r} has more than {most} steps below {part}")
    if any(re.search("~(?![01])", name) for name in names):
        raise ValueError(f"{path!r}: a tilde in a name is written ~0, a slash ~1")
    found = [None if name == "*" else name.replace("~1", "/").replace("~0", "~") for name in names]
    if found[0] is None:
        raise ValueError(f"{path!r}: the first step below {part} must be a name")
    if part == "result" and not may_hide(found):
        allowed = ", ".join(f"result/{name}" for name in _OF_RESULTS)
        raise ValueError(f"{path!r}: of a result only {allowed} and result/reasons/*/message may be masked")
    if part == "input" and found[0] == "execution" and found[:2] != _EXECUTION_TOKEN:
        raise ValueError(f"{path!r}: of input/execution only its token may be masked")
    return part, found


def may_hide(path: list[str | None]) -> bool:
    """Whether a path of a result leads to what rules may mask."""
    return path[:1] != [] and (path[0] in _OF_RESULTS or path == _MESSAGES)


def _path(path: str) -> str:
    steps(path)
    return path


class MaskingRule(Document):
    """Values that are not recorded, by their path, and what is recorded instead: a mark, or a keyed digest."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_path)]
    how: Literal["remove", "hash"] = "remove"


def growth(rules: list[MaskingRule]) -> int:
    """Bytes by which rules grow at most when a sidecar writes them for OPA: a step for each slash, results twice."""
    return sum(2 * (len(rule.path) + 8 * rule.path.count("/") + 32) for rule in rules)


def for_opa(rules: list[MaskingRule]) -> dict[str, Any] | None:
    """`trust.masking`, as the library reads it; None without rules.

    The result of an execution's start holds the decision as a member: what is named of a decision is named there too.
    """
    if not rules:
        return None
    found: dict[str, list[dict[str, Any]]] = {"input": [], "result": []}
    for rule in rules:
        part, path = steps(rule.path)
        found[part].append({"path": path, "how": rule.how})
        if part == "result" and path[0] != "claims":
            found[part].append({"path": ["decision", *path], "how": rule.how})
    return found

"""Why a policy decided as it did, from OPA's trace: which rules were asked, which were true, and where one stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.errors import PlacetError
from app.core.opa import Opa
from app.core.policy_evaluation import evaluate
from app.core.policy_project import Project
from app.core.policy_values import local_values, plain, shown

#: Deeper than this, rules are not told apart: a person has stopped reading.
MAX_DEPTH = 40

#: With its index OPA leaves out rules that cannot hold, and one that was left out explains nothing.
_TRACE = ("--explain", "full", "--disable-indexing", "--disable-early-exit")

#: Seconds of evaluation beyond which there is no explanation: a trace has millions of events a second, of 2 KB each.
_MAX_SECONDS = 0.1

_NOTHING = object()


@dataclass
class Rule:
    """One rule as it was evaluated, and the rules that it asked."""

    name: str
    file: str
    line: int
    #: Whether it is the rule's default, which holds when no other rule of the name does.
    default: bool = False
    #: What it gave, each once, in order. None: it is undefined.
    values: list[Any] = field(default_factory=list)
    #: Of an undefined one, the expression that was not true, and what its variables held.
    failed_at: str = ""
    expression: str = ""
    locals: list[str] = field(default_factory=list)
    #: How often it was evaluated in this place.
    times: int = 1
    rules: list[Rule] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`true`, `false`, `undefined`, or the value, as one line of JSON."""
        if not self.values:
            return "undefined"
        return ", ".join(json.dumps(value, ensure_ascii=False) for value in self.values)

    def as_dict(self) -> dict[str, Any]:
        """The rule as JSON shows it."""
        return {
            "rule": self.name,
            "file": self.file,
            "line": self.line,
            "default": self.default,
            "defined": bool(self.values),
            "values": self.values,
            "failed_at": self.failed_at or None,
            "expression": self.expression or None,
            "locals": self.locals,
            "times": self.times,
            "rules": [one.as_dict() for one in self.rules],
        }


@dataclass(frozen=True)
class Explanation:
    """A decision, and the rules that made it."""

    defined: bool
    value: Any
    rules: list[Rule]

    def as_dict(self) -> dict[str, Any]:
        """The explanation as JSON shows it."""
        return {"defined": self.defined, "value": self.value, "rules": [one.as_dict() for one in self.rules]}


def explain(project: Project, opa: Opa, query: str, given: Any, subject: Mapping[str, Any] | None) -> Explanation:
    """Evaluate a query and tell which rules gave the answer. Raises `PlacetError` when it cannot be evaluated."""
    timed = evaluate(project, opa, query, given, subject, options=["--metrics", "--timeout", "20s"])
    spent = int((timed.get("metrics") or {}).get("timer_rego_query_eval_ns", 0)) / 1e9
    if spent > _MAX_SECONDS:
        raise PlacetError(
            f"to evaluate this takes {spent:.1f} s, and its trace would be too long to read; explain a part of it with "
            "--query, or a smaller input"
        )
    answered = evaluate(project, opa, query, given, subject, options=_TRACE)
    found = answered.get("result") or []
    value = found[0]["expressions"][0]["value"] if found else None
    return Explanation(bool(found), value, _tree(project, given, answered.get("explanation") or []))


def _tree(project: Project, asked: Any, events: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """The rules as they asked each other."""
    parents: dict[int, int] = {}
    rules: dict[int, Rule] = {}
    top: list[Rule] = []
    for event in events:
        number, node = int(event["QueryID"]), event["Node"]
        parents.setdefault(number, int(event["ParentID"]))
        is_rule = isinstance(node, Mapping) and "head" in node
        if event["Op"] == "Enter" and is_rule and number not in rules:
            rules[number] = _entered(project, node, event["Location"])
            asker = next((rules[one] for one in _above(number, parents) if one in rules), None)
            (asker.rules if asker else top).append(rules[number])
        elif event["Op"] == "Exit" and is_rule and number in rules:
            given = _given(node["head"], {local["name"]: local for local in event.get("Locals") or []})
            if given is not _NOTHING and given not in rules[number].values:
                rules[number].values.append(given)
        elif event["Op"] == "Fail" and number in rules:
            _failed(project, rules[number], event, asked)
    return _folded(top, 0)


def _above(number: int, parents: Mapping[int, int]) -> Iterator[int]:
    """The queries around this one, the nearest first."""
    while number in parents and parents[number] != number:
        number = parents[number]
        yield number


def _entered(project: Project, node: Mapping[str, Any], location: Mapping[str, Any]) -> Rule:
    head = node["head"]
    name = _name(head)
    file = str(location.get("file", ""))
    part, _, path = _inside(file).partition("/")
    shown = project.location(path) if part == "policy" else f"{part}/{path}"
    return Rule(name, shown, int(location.get("row", 0)), bool(node.get("default")))


def _inside(file: str) -> str:
    """A staged file's path below the workbench's directory."""
    return re.sub(r"^.*placet-eval-[^/]*/", "", file)


def _name(head: Mapping[str, Any]) -> str:
    parts = [str(term["value"]) for term in head.get("ref") or [] if term["type"] in ("var", "string")]
    name = ".".join(parts) or str(head.get("name", ""))
    return f"{name}(…)" if head.get("args") else name


def _given(head: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Any:
    """What a rule's head gives: the member that it adds, or its value."""
    if "key" in head and "value" not in head:
        return _value(head["key"], known)
    value = _value(head["value"], known) if "value" in head else True
    return {str(_value(head["key"], known)): value} if "key" in head else value


def _value(term: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Any:
    if term["type"] == "var":
        found = known.get(term["value"])
        return plain(found) if found else "…"
    if term["type"] in ("array", "set"):
        return [_value(one, known) for one in term["value"] or []]
    if term["type"] == "object":
        return {str(_value(name, known)): _value(value, known) for name, value in term["value"] or []}
    return plain(term)


def _failed(project: Project, rule: Rule, event: Mapping[str, Any], asked: Any) -> None:
    """Remember where it stopped: the furthest line, since OPA tries what stands before it again."""
    path = _inside(str(event["Location"].get("file", "")))
    row = int(event["Location"].get("row", 0))
    source = project.modules.get(path.removeprefix("policy/"))
    if source is None or row < int((rule.failed_at or ":0").rsplit(":", 1)[1]):
        return
    lines = source.decode(errors="replace").splitlines()
    rule.failed_at = f"{project.location(path.removeprefix('policy/'))}:{row}"
    rule.expression = lines[row - 1].strip() if 0 < row <= len(lines) else ""
    rule.locals = list(dict.fromkeys([*_asked_for(event.get("Node"), asked), *local_values(event, lines)]))


def _asked_for(node: Any, asked: Any) -> Iterator[str]:
    """`input.a.b = value` of the places of the input that an expression names, `undefined` where there is nothing."""
    if isinstance(node, list):
        for one in node:
            yield from _asked_for(one, asked)
        return
    if not isinstance(node, Mapping):
        return
    path = node.get("value")
    if node.get("type") == "ref" and isinstance(path, list) and path[0] == {"type": "var", "value": "input"}:
        names = [str(term["value"]) for term in path[1:] if term["type"] == "string"]
        if len(names) == len(path) - 1:
            found: Any = asked
            for name in names:
                found = found.get(name, _NOTHING) if isinstance(found, Mapping) else _NOTHING
            yield f"{'.'.join(['input', *names])} " + ("is undefined" if found is _NOTHING else f"= {shown(found)}")
            return
    for below in node.values():
        yield from _asked_for(below, asked)


def _folded(rules: list[Rule], depth: int) -> list[Rule]:
    """Evaluations of one rule with the same outcome, in one place, as one."""
    kept: dict[tuple[str, int, str, str], Rule] = {}
    for rule in rules:
        if rule.values:
            rule.failed_at, rule.expression, rule.locals = "", "", []
        key = (rule.file, rule.line, rule.status, rule.failed_at)
        if key in kept:
            kept[key].times += 1
            continue
        kept[key] = rule
        rule.rules = _folded(rule.rules, depth + 1) if depth < MAX_DEPTH else []
    return list(kept.values())

"""The static check that a decision depends on bundle, data, input and the one clock reading, and on nothing else.

It reads the syntax trees of a policy's modules, or of the governance library's, as OPA itself parses them. It refuses
what they read of `data` that is not theirs, builtins that read a clock, a time zone, an address in memory or another
state of the process, and those that a caller's value can make panic, since an answer that the connection swallows is
no decision. Where it cannot tell, it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.builtin_forms import JUDGES, Operand, Scope, Term
from app.core.compose import Library
from app.core.errors import Denied
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS, WHY
from app.core.opa import Module, Opa
from app.core.reason_codes import Reason
from app.core.rego_names import CLOCK, Names, below
from app.core.syntax_tree import dotted, imported, named, package, variables

#: What `print` becomes, and what OPA's own tests use: both write to OPA's output, between the records.
_WRITERS = {"print", "internal.print", "internal.test_case"}

#: Calls that `findings` looks at.
_JUDGED = FORBIDDEN_BUILTINS | _WRITERS | JUDGES.keys()

#: Objects and lists around each other, beyond which a module is looked at by `findings`, which says what is too deep.
_MAX_DEPTH = 500


@dataclass(frozen=True)
class Finding:
    """Something that is refused: what, and in which line, if the tree says."""

    line: int | None
    what: str
    #: The builtin that is called, if it is one.
    builtin: str | None = None


@dataclass(frozen=True)
class Located:
    """A finding with its file."""

    file: str
    finding: Finding

    @property
    def said(self) -> str:
        """What is said about it: `file:line: what`."""
        where = self.file if self.finding.line is None else f"{self.file}:{self.finding.line}"
        return f"{where}: {self.finding.what}"


def check(
    modules: Iterable[Module],
    sources: Mapping[str, bytes],
    opa: Opa,
    allowed: frozenset[str] = frozenset(),
    *,
    ours: bool = False,
) -> None:
    """Refuse the first module that could decide by anything else. Raises `Denied` with file and line.

    `allowed` are builtins that the system allows by name: their calls, in whatever form, are not refused. `ours`: they
    are the governance library's.
    """
    for found in all_findings(modules, sources, opa, allowed, ours=ours):
        raise Denied(Reason.REGO_NONDETERMINISTIC, found.said, step="rego", field=found.file)


def all_findings(
    modules: Iterable[Module],
    sources: Mapping[str, bytes],
    opa: Opa,
    allowed: frozenset[str] = frozenset(),
    *,
    ours: bool = False,
) -> Iterator[Located]:
    """Everything that is refused in the modules."""
    modules = list(modules)
    rules = named(module.syntax for module in modules)
    for module in modules:
        names = Names({**rules[package(module.syntax)], **imported(module.syntax)}, ours)
        first = _first(module.syntax, allowed, names) if _suspicious(module.syntax, names) else None
        if first is None:
            continue
        # Lines are only to be had from a parser that takes a process for each file.
        try:
            located = list(findings(opa.parse(module.file, sources[module.file]), allowed, names))
        except (RecursionError, Denied):  # it parsed without lines: with them it is too deep, or too large
            located = []
        yield from (Located(module.file, one) for one in located or [first])


def check_library(library: Library, opa: Opa) -> None:
    """Refuse a governance library of which the same could be said. Raises `Denied`."""
    check(opa.inspect(library.modules), library.modules, opa, ours=True)


def _suspicious(syntax: Mapping[str, Any], names: Names) -> bool:
    """Whether there can be findings in a module: it says `with`, calls what is judged, reads what it may not, or is
    nested too deeply.

    Most modules have nothing of the kind, and this is a tenth of the work of `findings`.
    """
    layer: list[Any] = [syntax.get("rules", [])]
    for _ in range(_MAX_DEPTH):
        deeper: list[Any] = []
        for node in layer:
            if type(node) is list:
                deeper += node
            elif type(node) is dict:
                kind = node.get("type")
                if kind in ("ref", "var"):
                    if names.fault(node):
                        return True
                    if kind == "ref":
                        deeper += below(node)
                    continue
                terms = node.get("value") if kind == "call" else node.get("terms")
                if "with" in node or (type(terms) is list and dotted(terms[0]) in _JUDGED):
                    return True
                deeper += [one for one in node.values() if type(one) in (dict, list)]
        if not deeper:
            return False
        layer = deeper
    return True


def _first(syntax: Mapping[str, Any], allowed: frozenset[str], names: Names) -> Finding | None:
    try:
        return next(findings(syntax, allowed, names), None)
    except RecursionError:
        return Finding(None, "nested too deeply to be checked")


def findings(
    syntax: Mapping[str, Any], allowed: frozenset[str] = frozenset(), names: Names | None = None
) -> Iterator[Finding]:
    """Everything in a module's syntax tree that is refused, but for calls of the builtins in `allowed`.

    `names`: with the rules of its package (`named`), where more modules than this one have some.
    """
    known = names or Names({**named([syntax])[package(syntax)], **imported(syntax)})
    for one in _findings(syntax.get("rules", []), (), known, None):
        if one.builtin is None or one.builtin not in allowed:
            yield one


def _findings(node: Any, scopes: tuple[Scope, ...], names: Names, line: int | None) -> Iterator[Finding]:
    """Findings in `node` and below it. `scopes` are the bodies around it, the innermost last."""
    if isinstance(node, list):
        for one in node:
            yield from _findings(one, scopes, names, line)
        return
    if not isinstance(node, dict):
        return
    line = node.get("location", {}).get("row", line)
    if node.get("type") in ("ref", "var"):
        if wrong := names.fault(node):
            yield Finding(line, wrong)
        yield from _findings(below(node), scopes, names, line)
        return
    if node.get("type") == "call":
        yield from _call(node["value"], scopes, names, line)
    elif isinstance(node.get("terms"), list):
        yield from _call(node["terms"], scopes, names, line)
    for modifier in node.get("with", []):
        yield from _with(modifier, names, modifier.get("location", {}).get("row", line))
    inner = scopes
    if "body" in node:  # a rule, a comprehension or `every`: its variables hide those outside
        inner = (*scopes, dict.fromkeys(_arguments(node)), _declared(node["body"]))
    for name, part in node.items():
        if name not in ("location", "annotations", "target"):  # `_with` looks at what is replaced
            outside = name in ("else", "domain")
            yield from _findings(part, scopes if outside else inner, names, line)


def _call(terms: Sequence[Term], scopes: tuple[Scope, ...], names: Names, line: int | None) -> Iterator[Finding]:
    name = dotted(terms[0])
    if name in FORBIDDEN_BUILTINS:
        yield Finding(line, f"{name} is not allowed: {WHY[name]}", name)
    elif name in _WRITERS:
        yield Finding(line, "print writes between OPA's records; take it out")
    elif name in JUDGES:
        wrong = JUDGES[name]([Operand(term, scopes, names) for term in terms[1:]])
        if wrong:
            yield Finding(line, f"{name}: {wrong}", name)


def _with(modifier: Mapping[str, Any], names: Names, line: int | None) -> Iterator[Finding]:
    target, value = dotted(modifier["target"]), dotted(modifier["value"])
    head = target.split(".", 1)[0] if target else None
    paths = names.paths
    path = f"{paths[head]}{(target or '').removeprefix(head)}" if head is not None and head in paths else target
    if path is None or path.split(".", 1)[0] not in ("input", "data"):
        yield Finding(line, f"with {target}: only input and data may be replaced")
    elif f"{CLOCK}.".startswith(f"{path}.") or path.startswith(f"{CLOCK}."):
        yield Finding(line, f"with {target}: the time of the decision may not be replaced")
    elif wrong := names.fault(modifier["target"]):
        yield Finding(line, f"with {target}: {wrong}")
    if value in FORBIDDEN_BUILTINS or value in JUDGES or value in _WRITERS:
        yield Finding(line, f"with … as {value}: call it by its own name, so that its operands can be checked")


def _arguments(node: Mapping[str, Any]) -> Iterator[str]:
    """The variables that a function's head or `every` declares: nothing is known about their values."""
    yield from _variables(node.get("head", {}).get("args", []))
    if "domain" in node:
        yield from _variables([node["key"], node["value"]])


def _declared(body: Sequence[Mapping[str, Any]]) -> Scope:
    """The variables that a body declares by `:=` and `some`."""
    scope: dict[str, Term | None] = {}
    before: set[str] = set()  # what a comprehension names ahead of the declaration is another variable of that name
    for expression in body:
        terms = expression.get("terms")
        if isinstance(terms, dict) and "symbols" in terms:
            scope |= dict.fromkeys(_variables(terms["symbols"]))
        elif isinstance(terms, list) and dotted(terms[0]) == "assign":
            target, value = terms[1:]
            before.update(variables(value))
            known = (
                target["type"] == "var" and target["value"] not in scope.keys() | before and "with" not in expression
            )
            scope |= {target["value"]: value} if known else dict.fromkeys(_variables(target))
        before.update(variables(expression))
    return scope


def _variables(node: Any) -> Iterator[str]:
    """The names of all variables in a part of the tree."""
    if isinstance(node, list):
        for one in node:
            yield from _variables(one)
    elif isinstance(node, Mapping):
        if node.get("type") == "var":
            yield str(node["value"])
        else:
            yield from _variables(node.get("value"))

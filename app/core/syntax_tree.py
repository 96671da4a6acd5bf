"""OPA's syntax trees of Rego, as its parser gives them: what a part of one names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def dotted(term: Any) -> str | None:
    """A reference or variable as dotted text, or None when it holds more than constant names."""
    if not isinstance(term, Mapping):
        return None
    if term.get("type") == "var":
        return str(term["value"])
    if term.get("type") != "ref" or any(part["type"] != "string" for part in term["value"][1:]):
        return None
    return ".".join(str(part["value"]) for part in term["value"])


def imported(module: Mapping[str, Any]) -> dict[str, str]:
    """What each name that a module imports stands for."""
    found = {}
    for one in module.get("imports", []):
        path = dotted(one["path"])
        if path:
            # The last name as it is, also one with a dot in it, by which nothing can be called. (OPA lets no name stand
            # for two things.)
            found[str(one.get("alias") or one["path"]["value"][-1]["value"])] = path
    return found


def package(module: Mapping[str, Any]) -> str:
    """The dotted path of a module's package, which begins with `data`."""
    return ".".join(str(part["value"]) for part in module["package"]["path"])


def named(modules: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """By package, what a name in its modules stands for since one of its rules has it: a rule hides a builtin."""
    found: dict[str, dict[str, str]] = {}
    for module in modules:
        rules = found.setdefault(package(module), {})
        for rule in module.get("rules", []):
            name = str(rule["head"]["ref"][0]["value"])
            rules[name] = f"{package(module)}.{name}"
    return found


def variables(node: Any) -> Iterator[str]:
    """The names of all variables in a tree, each as often as it stands there."""
    if isinstance(node, list):
        for one in node:
            yield from variables(one)
    elif isinstance(node, Mapping):
        if node.get("type") == "var":
            yield str(node["value"])
        for below in node.values():
            yield from variables(below)

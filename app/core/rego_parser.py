"""Rego modules as OPA's own parser reads them: package, rules, and the whole syntax tree.

OPA gives trees in two ways, each slow where the other is fast. `rego.parse_module` reads any number of modules in one
process, and takes four times as long a rule, since OPA parses the tree again as Rego. `opa parse` reads one module.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import Denied, PlacetError
from app.core.opa_errors import first_error
from app.core.reason_codes import Reason
from app.core.rego_reader import TREES

if TYPE_CHECKING:
    from app.core.opa import Opa

#: Bytes of a module for which a process of its own is worth its start.
_LARGE = 4 * 1024

#: Bytes of smaller modules that one process reads: it takes memory of a thousand times as much.
_TOGETHER = 64 * 1024

#: Memory of `opa parse`: so much, and so much for a byte of source; with lines twice that. It indents what it prints,
#: so that 30 KB of one deep expression become gigabytes.
_MEMORY = 128 * 1024 * 1024
_MEMORY_A_BYTE = 500

#: Seconds that the lines of a module may take: what they are for can be told without them.
_LINES = 20


class Decimals(float):
    """A number with a fraction or an exponent, and what was written: OPA reckons with more digits than a double has."""

    def __init__(self, text: str) -> None:
        self.text = text


@dataclass(frozen=True)
class Module:
    """What one Rego module defines: its package, and the rules' paths as far as they are constant."""

    file: str
    package: str
    rules: tuple[str, ...]
    #: The whole syntax tree, as OPA's parser gives it, without lines, comments and annotations.
    syntax: Mapping[str, Any] = field(repr=False)


def inspect(modules: Mapping[str, bytes], opa: Opa, deadline: float) -> list[Module]:
    """The modules by file name. Raises `Denied` when one does not parse or is not UTF-8, or at the deadline."""
    for content in modules.values():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise Denied(Reason.REGO_COMPILE, f"a module is not UTF-8: {error.reason}") from error
    # Only where memory can be limited.
    large = {path: source for path, source in modules.items() if len(source) > _LARGE and sys.platform == "linux"}
    small = {path: source for path, source in modules.items() if path not in large}
    trees: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        alone = {path: pool.submit(_tree, source, opa, deadline) for path, source in large.items()}
        for found in pool.map(lambda group: _trees(group, opa, deadline), _groups(small)):
            trees |= found
        trees |= {path: tree for path, one in alone.items() if (tree := one.result()) is not None}
    # What `opa parse` has no memory for, or reads more strictly: the other way says whether it parses.
    trees |= _trees({path: source for path, source in large.items() if path not in trees}, opa, deadline)
    return [_module(path, trees[path]) for path in sorted(trees)]


def read(answer: bytes, modules: Mapping[str, bytes]) -> list[Module] | None:
    """The modules from what `rego_reader` gave; None when one is not among them, or cannot be read."""
    try:
        trees = {one["file"]: one["syntax"] for one in _loaded(answer)}
        return [_module(path, trees[path]) for path in sorted(modules)] if trees.keys() == modules.keys() else None
    except (Denied, PlacetError, KeyError, TypeError):  # nobody knows yet what to say of it
        return None


def located(file: str, source: bytes, opa: Opa) -> Any:
    """The syntax tree of one module, with lines. Raises `Denied` when it does not parse, or is nested too deeply."""
    answer = opa.run(
        ["parse", "--format", "json", "--json-include", "locations,-comments", "/dev/stdin"],
        stdin=source,
        accept_failure=True,
        memory=_MEMORY + 2 * _MEMORY_A_BYTE * len(source),
        deadline=time.monotonic() + _LINES,
    )
    if answer.returncode != 0:
        raise Denied(Reason.REGO_COMPILE, f"{file} does not parse", field=file)
    return _loaded(answer.stdout)


def _groups(modules: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The modules in groups for one process each."""
    group: dict[str, bytes] = {}
    size = 0
    for path, source in modules.items():
        if group and size + len(source) > _TOGETHER:
            yield group
            group, size = {}, 0
        group[path] = source
        size += len(source)
    if group:
        yield group


def _tree(source: bytes, opa: Opa, deadline: float) -> dict[str, Any] | None:
    """The syntax tree of one module, or None when `opa parse` does not give it."""
    memory = _MEMORY + _MEMORY_A_BYTE * len(source)
    answer = opa.run(
        ["parse", "--format", "json", "--json-include", "-comments", "/dev/stdin"],
        stdin=source,
        accept_failure=True,
        memory=memory,
        heap=memory // 2,
        deadline=deadline,
    )
    if answer.returncode != 0:
        return None
    tree: dict[str, Any] = _loaded(answer.stdout)
    return tree


def _trees(modules: Mapping[str, bytes], opa: Opa, deadline: float) -> dict[str, dict[str, Any]]:
    """The syntax trees of modules from one process. Raises `Denied`."""
    if not modules:
        return {}
    source = {path: content.decode() for path, content in modules.items()}
    answer = opa.run(
        ["eval", "--format", "raw", "--stdin-input", TREES],
        stdin=json.dumps(source).encode(),
        accept_failure=True,
        deadline=deadline,
        too_slow=Reason.REGO_COMPILE,
    )
    if answer.returncode != 0:
        raise Denied(Reason.REGO_COMPILE, first_error(answer))
    found = {one["file"]: one["syntax"] for one in _loaded(answer.stdout)}
    if unread := sorted(set(modules) - set(found)):
        file = unread[0]
        raise Denied(Reason.REGO_COMPILE, _complaint(file, modules[file], opa, deadline), field=file)
    return found


def _complaint(file: str, source: bytes, opa: Opa, deadline: float) -> str:
    """What is wrong with a module that does not parse: `file:line:column: message`."""
    answer = opa.run(
        ["parse", "--format", "json", "/dev/stdin"],
        stdin=source,
        accept_failure=True,
        memory=_MEMORY + _MEMORY_A_BYTE * len(source),
        deadline=deadline,
    )
    said = first_error(answer, Path("/dev")) if answer.returncode != 0 else ""
    return said.replace("stdin", file, 1) if said.startswith("stdin:") else f"{file} does not parse"


def _loaded(syntax: bytes) -> Any:
    try:
        return json.loads(syntax, parse_float=Decimals)
    except RecursionError as error:
        raise Denied(Reason.REGO_COMPILE, "a module is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise PlacetError("OPA gave a syntax tree that is no JSON") from error
    except ValueError as error:  # Python's own limit
        raise Denied(Reason.REGO_COMPILE, "a module has a number of too many digits") from error


def _module(file: str, syntax: dict[str, Any]) -> Module:
    segments = [str(term["value"]) for term in syntax["package"]["path"][1:]]
    if any("/" in segment for segment in segments):
        raise Denied(Reason.REGO_OUTSIDE_ROOTS, f"{file}: a package's name has a slash", field=file)
    package = "/".join(segments)
    rules = syntax.get("rules", [])
    for one in (syntax, *rules):  # `opa parse` gives them, and nobody asks
        one.pop("annotations", None)
        one.pop("comments", None)
    return Module(file, package, tuple(_paths(package, rules)), syntax)


def _paths(package: str, rules: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The path of each rule, up to where it depends on a variable."""
    for rule in rules:
        path = [package]
        for position, term in enumerate(rule["head"].get("ref") or []):
            if position and term["type"] != "string":
                break
            path.append(str(term["value"]))
        yield "/".join(path)

"""YAML as Placet reads it: plain data, with every key once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import yaml

#: Levels of nesting. PyYAML looks at every open bracket again for every token.
_MAX_DEPTH = 200


class StrictYAMLError(ValueError):
    """The text is not YAML that everyone reads in the same way."""

    @property
    def problem(self) -> str:
        """What is wrong, without the place."""
        return str(getattr(self.__cause__, "problem", None) or self)

    @property
    def place(self) -> tuple[int, int]:
        """Line and column, from 1; the beginning, where PyYAML names none."""
        mark = getattr(self.__cause__, "problem_mark", None)
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def load(raw: bytes) -> Any:
    """Parse a YAML document. Raises `StrictYAMLError` with one line that says why not."""
    try:
        return yaml.load(raw, Loader=_Strict)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML has no error of its own for an impossible date, a wrong `!!int`, or too deep a nesting.
        raise StrictYAMLError(f"not YAML: {' '.join(str(error).split())[:300]}") from error


def place(raw: bytes, path: Sequence[str | int], row: int, column: int) -> tuple[int, int]:
    """Line and column in a document that `load` takes of a place in the text at `path`; all are counted from 1.

    Where the text is not written as it reads (folded, or with escapes), it is where the text begins.
    """
    node: Any = yaml.compose(raw, Loader=_Strict)
    for name in path:
        node = node.value[name] if isinstance(name, int) else {key.value: below for key, below in node.value}[name]
    begins = node.start_mark
    line = begins.line + (row if node.style == "|" else 0)
    wanted, lines = node.value.split("\n"), raw.decode(errors="replace").split("\n")
    found = -1
    if row <= len(wanted) and line < len(lines) and (node.style == "|" or len(wanted) == 1):
        found = lines[line].find(wanted[row - 1], begins.column if line == begins.line else 0)
    return (line + 1, found + column) if found >= 0 else (begins.line + 1, begins.column + 1)


def member(raw: bytes, path: Sequence[str | int]) -> tuple[int, int]:
    """Line and column, from 1, of the member at `path` in a document that `load` takes; of what is nearest to it."""
    node = yaml.compose(raw, Loader=_Strict)
    mark = node.start_mark if node is not None else None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == part), None)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def dump(document: Any) -> str:
    """A document as YAML, members in their order."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


class _Strict(yaml.SafeLoader):
    """A SafeLoader that refuses a key that stands twice, of which the last would win in silence, and deep nesting."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        if self.flow_level >= _MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        if len(self.indents) >= _MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())
        return bool(super().add_indent(column))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[object] = set()
        for node_of_key, _ in node.value:
            key = self.construct_object(node_of_key, deep=True)
            if not isinstance(key, Hashable):
                break  # PyYAML itself refuses it
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

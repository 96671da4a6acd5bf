"""Where in a JSON document a fault is: the parser names some places, the others are found in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

#: Larger documents are not read a second time for it.
_MAX = 1024 * 1024

_NAMED = re.compile(r"line (\d+) column (\d+)")
_TWICE = re.compile(r"the member '(.*)' stands twice")


def place(raw: bytes, message: str, member: str | None = None) -> tuple[int, int]:
    """Line and column, from 1, of what `message` is about: where the parser says, a member that stands twice, or
    `member` of the whole document. The beginning, where none is found."""
    if named := _NAMED.search(message):
        return int(named[1]), int(named[2])
    twice = _TWICE.search(message)
    wanted = twice[1] if twice else member
    if wanted is None or len(raw) > _MAX:
        return 1, 1
    try:
        # But for tabs, which stand between values alone, nearly all JSON is YAML, and its nodes know their places.
        whole = yaml.compose(raw.replace(b"\t", b" "), Loader=yaml.SafeLoader)
        marks = _again(whole, wanted) if twice else _members(whole, wanted)
        mark = next(marks, None)
    except (yaml.YAMLError, RecursionError, ValueError):
        return 1, 1
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _members(node: yaml.Node | None, name: str) -> Iterator[yaml.Mark]:
    """The places of a member in one object."""
    if isinstance(node, yaml.MappingNode):
        yield from (key.start_mark for key, _ in node.value if key.value == name)


def _again(node: yaml.Node | None, name: str) -> Iterator[yaml.Mark]:
    """Where a member stands that its object has already."""
    found = list(_members(node, name))
    yield from found[1:]
    if isinstance(node, yaml.MappingNode):
        for _, below in node.value:
            yield from _again(below, name)
    elif isinstance(node, yaml.SequenceNode):
        for below in node.value:
            yield from _again(below, name)

"""YAML as Placet reads it: plain data, with every key once."""

from __future__ import annotations

from typing import Any

import yaml


class StrictYAMLError(ValueError):
    """The text is not YAML that everyone reads in the same way."""


def load(raw: bytes) -> Any:
    """Parse a YAML document. Raises `StrictYAMLError` with one line that says why not."""
    try:
        return yaml.load(raw, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML has no error of its own for an impossible date, a wrong `!!int`, or too deep a nesting.
        raise StrictYAMLError(f"not YAML: {' '.join(str(error).split())[:300]}") from error


def dump(document: Any) -> str:
    """A document as YAML, members in their order."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


class _UniqueKeys(yaml.SafeLoader):
    """A SafeLoader that refuses a key that stands twice: the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)

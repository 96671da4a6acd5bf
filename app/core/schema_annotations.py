"""Schemas in annotations (`# METADATA`), out of which OPA's compiler makes types of input and data.

A `$ref` makes the compiler read what it names, be it a file of the machine (`file:`) or a pipe that never ends; and one
that leads back to itself ends the process, or never does. So there may be none: what it stands for is written out.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

#: Comments that may hold a schema: an annotation with this member, or with what spells it otherwise in YAML.
_PERHAPS = re.compile(rb"^[^\n]*#[^\n]*(?:schemas|\\|!)", re.MULTILINE)


def faults(
    modules: Mapping[str, bytes], written: Path, run: Callable[..., subprocess.CompletedProcess[bytes]]
) -> Iterator[tuple[str, int, str]]:
    """File, line and what is wrong, for each annotation with such a schema. `written` is where the modules lie."""
    if not possible(modules):
        return
    answer = run(["inspect", "--annotations", "--format", "json", str(written)], accept_failure=True)
    if answer.returncode != 0:
        if b"rego_parse_error" not in answer.stderr:
            yield next(iter(modules)), 1, "OPA cannot read the annotations"
        return  # the compiler stops at what does not parse before it makes types, and says where
    for one in json.loads(answer.stdout).get("annotations") or []:
        schemas = one["annotations"].get("schemas") or []
        if any(True for schema in schemas for _ in references(schema.get("definition"))):
            place = one["location"]
            said = "a schema in an annotation has a $ref, which OPA would follow: write out what it stands for"
            yield place["file"].removeprefix(f"{written}/"), place["row"], said


def possible(modules: Mapping[str, bytes]) -> bool:
    """Whether a module may have such an annotation: most show at once that they have none."""
    return any(b"METADATA" in content and _PERHAPS.search(content) for content in modules.values())


def references(schema: Any) -> Iterator[str]:
    """What every `$ref` in a schema names."""
    layer = [schema]
    while layer:
        one = layer.pop()
        if isinstance(one, dict):
            if "$ref" in one:
                yield str(one["$ref"])
            layer.extend(one.values())
        elif isinstance(one, list):
            layer.extend(one)

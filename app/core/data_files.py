"""Data as OPA takes it from a bundle: what an author writes as data.yaml is the data.json of its directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.core import strict_yaml
from app.core.errors import Denied
from app.core.reason_codes import Reason

_YAML = ("data.yaml", "data.yml")

#: Values of one YAML document, each alias counted where it stands.
_MAX_VALUES = 1_000_000


def is_yaml(path: str) -> bool:
    """Whether a file is data that was written as YAML."""
    return path.rsplit("/", 1)[-1] in _YAML


def json_path(path: str) -> str:
    """Where the data of a YAML file stands in a bundle."""
    return path[: -len(path.rsplit("/", 1)[-1])] + "data.json"


def as_json(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, with the YAML data among them as JSON. Raises `Denied` where it is none, or gives data twice."""
    found: dict[str, bytes] = {}
    for path, content in files.items():
        if not is_yaml(path):
            found[path] = content
            continue
        becomes = json_path(path)
        if becomes in files or becomes in found:
            raise Denied(Reason.DATA_MALFORMED, f"{path} and {becomes} both give data; keep one", field=path)
        found[becomes] = _converted(path, content)
    return found


def dumps(document: Any) -> bytes:
    """Data as JSON with its members in order, whatever its numbers are: RFC 8785 could not hold all of them."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _converted(path: str, content: bytes) -> bytes:
    try:
        return dumps(_counted(strict_yaml.load(content)))
    except strict_yaml.StrictYAMLError as error:
        row, column = error.place
        what = f"{path} is no data: {error.problem} at line {row} column {column}; correct the YAML there"
        raise Denied(Reason.DATA_MALFORMED, what, field=path) from error
    except TypeError as error:
        what = f"{path} is no data: {error}; write it as a string, in quotes"
        raise Denied(Reason.DATA_MALFORMED, what, field=path) from error
    except ValueError as error:
        raise Denied(Reason.DATA_MALFORMED, f"{path} is no data: {error}", field=path) from error


def _counted(document: Any) -> Any:
    """A YAML document whose aliases stand for no more than a bundle may hold: a few lines of them can name millions."""
    left, layer = _MAX_VALUES, [document]
    while layer:
        one = layer.pop()
        below = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
        left -= len(below)
        if left < 0:
            raise ValueError(f"more than {_MAX_VALUES} values")
        layer.extend(below)
    return document

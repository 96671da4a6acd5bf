"""A new policy from one of the templates that ship with Placet: a working package, tested, under a name of its own."""

from __future__ import annotations

import re
import tempfile
from enum import StrEnum
from pathlib import Path

from app.core.errors import PlacetError, UsageError
from app.core.roots import is_reserved
from app.core.shipped import shipped

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAX_NAME = 60
#: Words that Rego keeps for itself: no package can be called so.
_KEYWORDS = frozenset(
    {"as", "contains", "data", "default", "else", "every", "false", "if", "import", "in", "input", "not", "null"}
    | {"package", "some", "true", "with"}
)


class Template(StrEnum):
    """The templates: what kind of question the policy answers."""

    HTTP_API = "http-api"
    AI_AGENT = "ai-agent"
    KUBERNETES_ADMISSION = "kubernetes-admission"
    DATA_FILTER = "data-filter"


def create(name: str, template: Template, parent: Path) -> Path:
    """Make the policy `name` in a new directory below `parent`, whole or not at all.

    Its package is the name with `_` for `-`. Raises `UsageError` when the name will not do, or something is there.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise UsageError(f"{name!r} will not do as a name: small letters, digits and single hyphens, such as order-api")
    package = name.replace("-", "_")
    if package in _KEYWORDS or is_reserved(package):
        raise UsageError(f"{name!r} is a word that Rego, OPA or Placet keep for themselves; choose another name")
    target = parent / name
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists, and nothing is overwritten; choose another name, or another --dir")
    if not parent.is_dir():
        raise UsageError(f"{parent} is not a directory")
    source = shipped("bundles") / "templates" / template.value
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}.") as scratch:
            fresh = Path(scratch) / name
            _copy(source, fresh, {template.value.replace("-", "_"): package, template.value: name})
            fresh.rename(target)
    except OSError as error:
        raise PlacetError(f"cannot write {target}: {error.strerror}") from error
    return target


def _copy(source: Path, target: Path, words: dict[str, str]) -> None:
    """Copy every file with the template's names replaced by the new ones, in its text and in its path."""
    old = re.compile("|".join(rf"(?<![A-Za-z0-9-]){re.escape(word)}(?![A-Za-z0-9-])" for word in words))

    def renamed(text: str) -> str:
        return old.sub(lambda hit: words[hit.group()], text)

    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = target / renamed(path.relative_to(source).as_posix())
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(renamed(path.read_text("utf-8")), "utf-8")

"""Rego as it was before OPA 1.0 (v0), converted to today's with the same meaning.

`opa fmt --v0-v1` does it, but for two things. Of a partial set whose rule has several bodies it writes what does not
parse, and it stops at builtins that are no more. So each body gets its head first, and such a builtin becomes a
function of the module's own with the meaning that it had.
"""

from __future__ import annotations

import base64
import fnmatch
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.core import strict_json
from app.core.bundle import MANIFEST, modules_of
from app.core.bundle_source import Source
from app.core.complaint import printable
from app.core.errors import Denied
from app.core.files import write_tree
from app.core.opa import Opa
from app.core.opa_errors import first_error
from app.core.reason_codes import Reason
from app.core.syntax_tree import dotted, imported, package

#: What names of functions begin with that stand for builtins that are no more.
_PREFIX = "rego_v0_"

#: Those builtins, and what each did. A value of another type made them fail, as these do.
_GONE = {
    "all": "all(values) := count([1 | some value in values; value != true]) == 0 if _is_collection(values)",
    "any": "any(values) := count([1 | some value in values; value == true]) > 0 if _is_collection(values)",
    "cast_array": "cast_array(values) := [value | some value in values] if _is_collection(values)",
    "cast_boolean": "cast_boolean(value) := value if is_boolean(value)",
    "cast_null": "cast_null(value) := value if is_null(value)",
    "cast_object": "cast_object(value) := value if is_object(value)",
    "cast_set": "cast_set(values) := {value | some value in values} if _is_collection(values)",
    "cast_string": "cast_string(value) := value if is_string(value)",
    "net.cidr_overlap": "cidr_overlap(cidr, ip) := net.cidr_contains(cidr, ip)",
    "re_match": "re_match(pattern, value) := regex.match(pattern, value)",
    "set_diff": "set_diff(one, other) := one - other if {\n\tis_set(one)\n\tis_set(other)\n}",
}
_COLLECTION = f"{_PREFIX}is_collection(values) if is_array(values)\n\n{_PREFIX}is_collection(values) if is_set(values)"

#: Files that may hold one of both: parsing each file takes a process.
_PERHAPS = re.compile(rb"\}\s*[{#]|\b(?:" + "|".join(map(re.escape, _GONE)).encode() + rb")\s*\(")


def converted(source: Source, opa: Opa, *, every: bool = False) -> Source:
    """The source with its older modules converted: all with `every`, else those of which its manifest says so.

    Raises `Denied` when one does not parse, or holds what cannot be converted.
    """
    modules = modules_of(source.files)
    manifest, older = _told(source.files, modules, every)
    if not older and not manifest:
        return source
    files = {**source.files, **convert(older, opa)}
    if manifest:
        files[MANIFEST] = manifest
    return replace(source, files=files, originals=older)


def convert(modules: Mapping[str, bytes], opa: Opa) -> dict[str, bytes]:
    """Modules of older Rego as today's. Raises `Denied`."""
    if not modules:
        return {}
    for path, content in modules.items():
        if _PREFIX.encode() in content:
            raise _refused(path, f"names that begin with {_PREFIX} are needed for the conversion: choose others")
    parsed = {path: _parsed(path, content, opa) for path, content in modules.items() if _PERHAPS.search(content)}
    # A function of the package's own hides a builtin of its name; opa fmt refuses that, and says where.
    own = {(package(syntax), rule["head"].get("name")) for syntax in parsed.values() for rule in syntax["rules"]}
    prepared = dict(modules)
    gone: dict[str, set[str]] = {}
    for path, syntax in parsed.items():
        hidden = {*imported(syntax), *(name for place, name in own if place == package(syntax))}
        prepared[path], gone[path] = _prepared(path, modules[path].decode(), syntax, frozenset(_GONE) - hidden)
    with tempfile.TemporaryDirectory(prefix="placet-older-") as scratch:
        top = Path(scratch) / "policy"
        write_tree(top, prepared)
        answer = opa.run(["fmt", "--write", "--v0-v1", str(top)], accept_failure=True)
        if answer.returncode != 0:
            said = answer.stderr.decode(errors="replace").replace(f"{top}/", "").replace("\n", " ")
            where = next((path for path in modules if path in said), None)
            raise _refused(where, f"older Rego that opa fmt cannot convert: {printable(said.strip())[:400]}")
        return {path: (top / path).read_bytes() + _functions(gone.get(path, set())) for path in modules}


def _told(
    files: Mapping[str, bytes], modules: Mapping[str, bytes], every: bool
) -> tuple[bytes | None, Mapping[str, bytes]]:
    """The manifest without versions of Rego, if it has some, and the modules that are older."""
    try:
        manifest = strict_json.load_object(files.get(MANIFEST, b"{}"))
        default, versions = manifest.pop("rego_version", None), manifest.pop("file_rego_versions", None)
        if default is None and versions is None:
            return None, modules if every else {}
        written = strict_json.canonical(manifest)
    except ValueError:
        return None, modules if every else {}  # what completes the manifest says where it is damaged
    default = (0 if every else 1) if default is None else default
    versions = {} if versions is None else versions
    if default not in (0, 1) or not isinstance(versions, dict) or any(one not in (0, 1) for one in versions.values()):
        raise Denied(Reason.MANIFEST_MALFORMED, "a version of Rego is 0 or 1", field="rego_version")
    return written, {path: content for path, content in modules.items() if not _version(path, default, versions)}


def _version(path: str, default: int, versions: Mapping[str, int]) -> int:
    """The version of a module, by its path or a pattern: paths are noted as they were where the bundle was built."""
    for named, version in versions.items():
        if fnmatch.fnmatchcase(f"/{path}", named) or named.endswith(f"/{path}"):
            return version
    return default


def _parsed(path: str, content: bytes, opa: Opa) -> dict[str, Any]:
    """The syntax tree of an older module, with its places in the text."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise _refused(path, f"it is not UTF-8: {error.reason}") from error
    with tempfile.TemporaryDirectory(prefix="placet-older-") as scratch:
        write_tree(Path(scratch), {path: content})
        options = ["--v0-compatible", "--format", "json", "--json-include", "locations,-comments"]
        answer = opa.run(["parse", *options, str(Path(scratch, path))], accept_failure=True)
        if answer.returncode != 0:
            raise _refused(path, printable(first_error(answer, Path(scratch))))
    try:
        syntax: dict[str, Any] = json.loads(answer.stdout)
    except RecursionError as error:
        raise _refused(path, "it is nested too deeply") from error
    except ValueError as error:  # Python's own limit
        raise _refused(path, "it has a number of too many digits") from error
    return {"rules": [], **syntax}


def _prepared(path: str, text: str, syntax: Mapping[str, Any], gone: frozenset[str]) -> tuple[bytes, set[str]]:
    """A module with a head for each body and functions in place of the builtins `gone`; and which of these it calls."""
    lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(location: Mapping[str, Any]) -> tuple[int, str]:
        at = lines[location["row"] - 1] + location["col"] - 1
        said = base64.b64decode(location["text"]).decode()
        if not text.startswith(said, at):
            raise _refused(path, f"line {location['row']} cannot be converted; write it as today's Rego")
        return at, said

    changes: set[tuple[int, str, str]] = set()  # where, what stands there, what takes its place
    head = ""
    for rule in syntax["rules"]:
        at, said = place(rule["location"])
        if said.startswith("{"):
            changes.add((at, "", f"\n\n{head} "))
        else:
            head = place(rule["head"]["location"])[1]
    called: set[str] = set()
    for term in _operators(syntax["rules"]):
        name = dotted(term)
        if name in gone:
            at, said = place(term["location"])
            called.add(name)
            changes.add((at, said, _PREFIX + name.rsplit(".", 1)[-1]))
    for at, said, instead in sorted(changes, reverse=True):
        text = text[:at] + instead + text[at + len(said) :]
    return text.encode(), called


def _operators(node: Any) -> Iterator[Mapping[str, Any]]:
    """What is called, wherever it stands."""
    if isinstance(node, list):
        for one in node:
            yield from _operators(one)
    elif isinstance(node, Mapping):
        terms = node.get("value") if node.get("type") == "call" else node.get("terms")
        if isinstance(terms, list) and terms and isinstance(terms[0], Mapping):
            yield terms[0]
        for name, below in node.items():
            if name != "location":
                yield from _operators(below)


def _functions(builtins: set[str]) -> bytes:
    """The functions that stand for builtins, as `opa fmt` writes them."""
    written = [_PREFIX + _GONE[name].replace("_is_collection", f"{_PREFIX}is_collection") for name in sorted(builtins)]
    if any("is_collection" in one for one in written):
        written.append(_COLLECTION)
    return "".join(f"\n{one}\n" for one in written).encode()


def _refused(path: str | None, detail: str) -> Denied:
    return Denied(Reason.REGO_COMPILE, f"{path}: {detail}" if path and path not in detail else detail, field=path)

"""The manifest of a bundle that is being built: what its author gave, and what follows from the policy itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import policy_project, preflight, roots, stray, strict_json
from app.core.bundle import MANIFEST, is_data, is_policy, modules_of, placed
from app.core.bundle_source import Source
from app.core.errors import Denied
from app.core.files import write_tree
from app.core.opa import Module, Opa
from app.core.reason_codes import Reason

#: Entrypoints shown when one has to be chosen.
_SHOWN = 8


@dataclass(frozen=True)
class Choices:
    """What whoever builds says beside the files."""

    #: In place of the manifest's; empty: the manifest's, or inferred from packages and data.
    roots: tuple[str, ...] = ()
    entrypoint: str | None = None
    #: The version of the fleet's oldest OPA.
    oldest_opa: str | None = None
    #: Builtins that the system allows by name.
    allowed_builtins: frozenset[str] = frozenset()
    #: OPA's strict mode: what is unused is refused too.
    strict: bool = True
    #: Whether all of it is older Rego (v0). What a bundle says of its own modules needs no telling.
    older: bool = False


@dataclass(frozen=True)
class Completed:
    """What is packed: the files with their manifest, the modules as OPA parsed them, and what was inferred."""

    files: Mapping[str, bytes]
    modules: Sequence[Module]
    inferred: Mapping[str, Any]


def completed(
    files: Mapping[str, bytes],
    sources: Sequence[Source],
    opa: Opa,
    choices: Choices,
    facts: Mapping[str, Any],
    syntax: Sequence[Module] | None = None,
) -> Completed:
    """The files with a whole manifest. `syntax`: the modules, where they were read already.

    Raises `Denied`, or `UsageError` about placet.yaml.
    """
    wrapped = any(one.wrapped for one in sources)
    manifest = _given(files, wrapped)
    for path, content in files.items():
        if stray.is_leftover(path) or not is_policy(path):
            raise stray.fault(path, content).denied()
    modules = modules_of(files)
    if not modules:
        raise Denied(Reason.ARCHIVE_EMPTY, "the bundle holds no Rego module; name the directory where *.rego lies")
    syntax = _inspected(modules, opa) if syntax is None else syntax
    # Of several inputs, none speaks for the whole.
    known = settings(sources)
    own = known[0] if len(sources) == 1 and known else policy_project.Settings()
    decided: dict[str, Any] = {}

    owned = list(choices.roots or manifest.get("roots") or own.roots or [])
    if not owned or (wrapped and owned == [""]):
        if reserved := next(preflight.packages(syntax, None), None):
            raise reserved.denied("rego")
        owned = decided["roots"] = roots.inferred((one.package for one in syntax), _data(files))
    for fault in roots.faults(owned):
        raise fault.denied()
    manifest["roots"] = owned

    named = choices.entrypoint or preflight.entrypoint(manifest) or own.entrypoint
    if named is None:
        named = decided["entrypoint"] = _annotated(modules, syntax, opa)
    metadata = manifest.setdefault("metadata", {})
    placet = metadata.setdefault("placet", {}) if isinstance(metadata, dict) else None
    if not isinstance(placet, dict):
        raise Denied(Reason.MANIFEST_MALFORMED, "metadata.placet must be an object", field="metadata.placet")
    placet["entrypoint"] = named
    placet["build"] = dict(facts)
    return Completed({**files, MANIFEST: strict_json.canonical(manifest)}, syntax, decided)


def _given(files: Mapping[str, bytes], wrapped: bool) -> dict[str, Any]:
    """The manifest as it came, without what only `opa build` writes. Raises `Denied`."""
    if MANIFEST not in files:
        return {}
    try:
        manifest = strict_json.load_object(files[MANIFEST])
        strict_json.canonical(manifest)
    except strict_json.StrictJSONError as error:
        raise Denied(Reason.MANIFEST_MALFORMED, str(error), field=MANIFEST) from error
    except ValueError as error:
        raise Denied(Reason.MANIFEST_MALFORMED, f"{error}; write it as a string", field=MANIFEST) from error
    if not manifest.get("revision", True):
        del manifest["revision"]  # `opa build` writes an empty one
    if wrapped and not manifest.get("wasm", True):
        del manifest["wasm"]
    return manifest


def _inspected(modules: Mapping[str, bytes], opa: Opa) -> list[Module]:
    """The modules' syntax. `opa check` names file, line and column of what does not parse; `inspect` only says so."""
    try:
        return opa.inspect(modules)
    except Denied:
        try:
            opa.check(modules)
        except Denied as denied:
            if "keyword is required" in denied.detail:
                denied.detail += "; older Rego (v0) is converted by `placet bundle build --v0-compatible`"
            raise
        raise


def settings(sources: Sequence[Source]) -> list[policy_project.Settings]:
    """What the placet.yaml of each directory says, or of each commit. Raises `UsageError` when one is wrong."""
    found = []
    for one in sources:
        if one.directory is not None:
            found.append(policy_project.settings_of(one.directory))
        elif one.settings is not None:
            found.append(policy_project.parsed_settings(one.settings, f"{one.name}: {policy_project.SETTINGS}"))
    return found


def _data(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The data documents as one tree, for its names alone: what is wrong with them, the packing says."""
    tree: dict[str, Any] = {}
    for path, content in files.items():
        if is_data(path):
            _graft(tree, placed(path, content))
    return tree


def _graft(into: dict[str, Any], document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        if isinstance(into.get(name), dict) and isinstance(value, dict):
            _graft(into[name], value)
        else:
            into[name] = value


def _annotated(modules: Mapping[str, bytes], syntax: Sequence[Module], opa: Opa) -> str:
    """The one rule that a `# METADATA` comment calls an entrypoint. Raises `Denied` when it is not one."""
    with tempfile.TemporaryDirectory(prefix="placet-entrypoint-") as scratch:
        write_tree(Path(scratch), modules)
        answer = opa.run(["inspect", "--annotations", "--format", "json", scratch], accept_failure=True)
    try:
        annotated = json.loads(answer.stdout).get("annotations") or [] if answer.returncode == 0 else []
    except (ValueError, AttributeError):
        annotated = []
    found = sorted(
        {
            "/".join(str(part["value"]) for part in one["path"][1:])
            for one in annotated
            if one["annotations"].get("entrypoint") is True and one["annotations"].get("scope") != "package"
        }
    )
    if len(found) == 1:
        return found[0]
    rules = sorted({rule for module in syntax for rule in module.rules})
    likely = [rule for rule in rules if rule.rsplit("/", 1)[-1] in ("decision", "allow", "authz", "response", "main")]
    shown = ", ".join((found or likely or rules)[:_SHOWN])
    why = "several rules are annotated as entrypoints" if found else "nothing says which rule decides"
    raise Denied(
        Reason.MANIFEST_ENTRYPOINT,
        f"{why}; name it: --entrypoint RULE, such as {shown}",
        field="metadata.placet.entrypoint",
    )

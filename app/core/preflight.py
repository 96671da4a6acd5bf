"""What would stop a bundle, told before it is signed: every fault with its name and its remedy.

The same checks are steps of the verifier (`app.core.rego_check` raises the first), since a bundle may
have been built by something else.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core import data_conflicts, determinism, policy_remedy, roots, stray, strict_json, syntax_tree
from app.core.bundle import MANIFEST, build_bundle, is_data, is_policy, modules_of, read_directory
from app.core.errors import Denied, UsageError
from app.core.fault import Fault
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS
from app.core.opa import Module, Opa
from app.core.reason_codes import Reason
from app.core.syntax_tree import dotted, imported

#: Names shown of those that one fault is about.
_SHOWN = 10


def check(
    policy: Path | Mapping[str, bytes],
    opa: Opa,
    *,
    oldest: str | None = None,
    allowed: frozenset[str] = frozenset(),
    strict: bool = True,
    syntax: Sequence[Module] | None = None,
) -> list[Fault]:
    """All faults of a directory, or of a bundle's files by path, that make the verifier refuse it. Empty when none.

    `oldest` is the version of the fleet's oldest OPA; `allowed` are builtins that the system allows by name;
    `strict` is OPA's strict mode, which is for authors: the verifier has none. `syntax` is what `opa.inspect` gave for
    these very modules, where somebody asked it already.
    """
    try:
        files = dict(read_directory(policy, leftovers=True) if isinstance(policy, Path) else policy)
    except Denied as denied:
        return [Fault.of(denied)]
    found = [
        stray.fault(path, content) for path, content in files.items() if stray.is_leftover(path) or not is_policy(path)
    ]
    manifest = _manifest(files)
    named = manifest.get("roots") if manifest else None
    wrong = [] if manifest is None else list(roots.faults(named))
    found += wrong
    modules = {path: content for path, content in modules_of(files).items() if not stray.is_leftover(path)}
    compiles = True
    try:
        if modules:
            opa.check(modules, strict=strict, allowed=allowed)
    except Denied as denied:
        compiles = False
        found.append(policy_remedy.fault(denied))
    try:
        syntax = opa.inspect(modules) if syntax is None else syntax
    except Denied as denied:
        if compiles:  # else the compiler has said it, with the place
            found.append(Fault.of(denied))
    else:
        found += unknown(syntax, opa, allowed)
        found += data_conflicts.faults(syntax, {path: raw for path, raw in files.items() if is_data(path)})
        sound = manifest is not None and not wrong
        owned = named if sound else None
        told = " ".join(one.message for one in found if one.reason == Reason.REGO_COMPILE)
        found += policy_faults(
            syntax, modules, opa, roots_=owned, entrypoint=entrypoint(manifest), allowed=allowed, told=told
        )
        if oldest is not None:
            found += capabilities(syntax, modules, opa, oldest)
    if not found:  # what is left: the form of manifest and data
        try:
            build_bundle(files)
        except Denied as denied:
            found.append(Fault.of(denied))
    return list(dict.fromkeys(found))


def policy_faults(
    modules: Sequence[Module],
    sources: Mapping[str, bytes],
    opa: Opa,
    *,
    roots_: Sequence[str] | None,
    entrypoint: str | None,
    allowed: frozenset[str] = frozenset(),
    told: str = "",
) -> Iterator[Fault]:
    """What is wrong with modules that compile: packages, entrypoint, and calls that are not deterministic.

    The compiler refuses some of these calls, too: those that stand in what it `told` are not told again.
    """
    yield from packages(modules, roots_)
    if entrypoint is not None and not defines(modules, entrypoint):
        yield Fault(
            Reason.MANIFEST_ENTRYPOINT,
            f"no rule defines {entrypoint}",
            "correct metadata.placet.entrypoint, or write the rule",
            "metadata.placet.entrypoint",
        )
    for one in determinism.all_findings(modules, sources, opa, allowed):
        if one.finding.builtin in FORBIDDEN_BUILTINS and one.finding.builtin in re.findall(r"[\w.]+", told):
            continue
        yield Fault(
            Reason.REGO_NONDETERMINISTIC, one.said, "docs/determinism.md has the form to write instead", one.file
        )


def packages(modules: Iterable[Module], owned: Sequence[str] | None) -> Iterator[Fault]:
    """Packages that are reserved, or outside of the roots `owned`, if these are known."""
    for module in modules:
        name = module.package.replace("/", ".")
        if roots.is_reserved(module.package):
            yield Fault(
                Reason.REGO_OUTSIDE_ROOTS,
                f"{module.file} is package {name}, outside the roots that a policy may have",
                "names that begin with placet, and system, are reserved: choose another",
                module.file,
            )
        elif owned is not None and not roots.covered(module.package, tuple(owned)):
            yield Fault(
                Reason.REGO_OUTSIDE_ROOTS,
                f"{module.file} is package {name}, outside the roots {', '.join(owned)}",
                "add its root, or let `build` infer the roots",
                module.file,
            )


def defines(modules: Iterable[Module], entrypoint: str) -> bool:
    """Whether a rule has the path `entrypoint`, or lies below it."""
    return any(roots.under(rule, entrypoint) for module in modules for rule in module.rules)


def entrypoint(manifest: Mapping[str, Any] | None) -> str | None:
    """The entrypoint that a manifest names, whatever else is wrong with it."""
    metadata = (manifest or {}).get("metadata")
    placet = metadata.get("placet") if isinstance(metadata, Mapping) else None
    named = placet.get("entrypoint") if isinstance(placet, Mapping) else None
    return named if isinstance(named, str) else None


def capabilities(modules: Sequence[Module], sources: Mapping[str, bytes], opa: Opa, oldest: str) -> list[Fault]:
    """What the modules use that OPA `oldest` lacks. Raises `UsageError` when this OPA does not know that version."""
    old = json.loads(known_capabilities(opa, oldest))
    has = {one["name"] for one in old["builtins"]}
    lacking: dict[str, set[str]] = {}
    for module in modules:
        for name in called(module.syntax) & (opa.builtins - has):
            lacking.setdefault(name, set()).add(module.file)
    if lacking:
        files = sorted(set().union(*lacking.values()))
        return [
            Fault(
                Reason.REGO_COMPILE,
                f"OPA {oldest} has no {_some(sorted(lacking))}, called in {_some(files)}",
                "write it without them, or bring the fleet to a newer OPA",
                files[0],
            )
        ]
    # Not a builtin, but the language: the oldest's own compiler flags say it.
    with tempfile.TemporaryDirectory(prefix="placet-oldest-") as scratch:
        file = Path(scratch) / "capabilities.json"
        file.write_text(json.dumps(old))
        try:
            opa.check(sources, capabilities=file)
        except Denied as denied:
            return [
                Fault(
                    Reason.REGO_COMPILE,
                    f"OPA {oldest} could not compile it: {denied.detail}",
                    "write it as that version reads it, or bring the fleet to a newer OPA",
                )
            ]
    return []


def unknown(modules: Sequence[Module], opa: Opa, allowed: frozenset[str] = frozenset()) -> list[Fault]:
    """All builtins that the modules call and may not, by name: the compiler stops after a few."""
    may = {one["name"] for one in json.loads(opa.capabilities_with(allowed))["builtins"]}
    own = syntax_tree.named(module.syntax for module in modules)
    lacking: dict[str, str] = {}
    for module in modules:
        for name in called(module.syntax) - may:
            if (
                name.split(".", 1)[0] not in own[syntax_tree.package(module.syntax)]
            ):  # a rule of the package's, such as lib.f(x)
                lacking.setdefault(name, module.file)
    if len(lacking) < 2:
        return []  # the compiler has named it
    names = sorted(lacking)
    return [
        Fault(
            Reason.REGO_COMPILE,
            f"{len(names)} builtins that a policy may not call, or that OPA {opa.version} lacks: {', '.join(names)}",
            "docs/determinism.md says what to write instead; another program's own builtins have no place in a bundle",
            lacking[names[0]],
        )
    ]


def known_capabilities(opa: Opa, version: str) -> bytes:
    """What OPA `version` could do, as the OPA at hand knows it."""
    plain = version.removeprefix("v")
    known = opa.run(["capabilities"]).stdout.decode().split()
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?", plain) or f"v{plain}" not in known:
        raise UsageError(
            f"OPA {opa.version} does not know an OPA {version}; give a version between {known[0]} and {known[-1]}, "
            "such as 1.4.0"
        )
    return opa.run(["capabilities", "--version", f"v{plain}"]).stdout


def called(syntax: Mapping[str, Any]) -> set[str]:
    """The names of what a module calls, or replaces by `with`, but for data, input and what it imports."""
    other = {"data", "input", *imported(syntax)}
    found: set[str] = set()
    layer: list[Any] = [syntax.get("rules", [])]
    while layer:
        one = layer.pop()
        if isinstance(one, list):
            layer.extend(one)
        elif isinstance(one, Mapping):
            terms = one.get("value") if one.get("type") == "call" else one.get("terms")
            if isinstance(terms, list) and terms:
                found.add(dotted(terms[0]) or "")
            if "target" in one:
                found.add(dotted(one["target"]) or "")
            layer.extend(below for name, below in one.items() if name != "location")
    return {name for name in found if name and name.split(".", 1)[0] not in other}


def _manifest(files: Mapping[str, bytes]) -> dict[str, Any] | None:
    try:
        return strict_json.load_object(files[MANIFEST]) if MANIFEST in files else None
    except strict_json.StrictJSONError:
        return None  # what packs the bundle says where it is damaged


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

"""Everything that is wrong with a policy, at once: each with file, line and column, and with what to do about it.

The verifier stops at the first fault, since a release with one does not run. An author wants to hear of all of them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from app.core import allowed_builtins, archive, bundle_source, determinism, preflight, schema_annotations
from app.core.bundle import MANIFEST
from app.core.bundle_manifest import Choices, completed
from app.core.complaint import printable
from app.core.errors import Denied, PlacetError
from app.core.fault import Fault
from app.core.files import read_bounded, write_tree
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS
from app.core.json_place import place
from app.core.opa import Opa, errors_in
from app.core.policy_evaluation import first_fault
from app.core.policy_project import SETTINGS, Project
from app.core.policy_remedy import remedy
from app.core.reason_codes import Reason

#: What is told with its column, or from the syntax tree with its line, by checks of this module.
_TOLD = frozenset({Reason.REGO_COMPILE, Reason.REGO_NONDETERMINISTIC})


@dataclass(frozen=True, order=True)
class Finding:
    """One fault. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    #: `syntax`, `compile`, `format`, `determinism`, `bundle` or `lint`.
    kind: str
    message: str
    remedy: str
    #: Whether the policy is refused for it; a lint's warning is only shown.
    fatal: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON shows it."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{printable(self.file)}:{self.line}:{self.column}: {self.message}"


def check(project: Project, opa: Opa, allow: Iterable[str] = ()) -> list[Finding]:
    """All faults that OPA and the verifier know of, ordered by place.

    `allow` are builtins that the system allows by name, beside those that placet.yaml has.
    """
    allowed = allowed_builtins.known(opa, [project.settings], allow)
    with tempfile.TemporaryDirectory(prefix="placet-check-") as scratch:
        found = _compiled(project, opa, Path(scratch), allowed)
        found |= set(_formatted(project, opa, Path(scratch), found))
    found |= set(_deterministic(project, opa, {one.file for one in found if one.kind == "syntax"}, allowed))
    found |= set(_bundled(project, opa, allowed))
    return sorted(found)


def unreadable(directory: Path, denied: Denied) -> Finding:
    """Why a policy could not even be read (`policy_project.load`), or compiled in time, at the file to blame."""
    path = directory / (denied.field or "")
    raw = read_bounded(path, archive.MAX_DECOMPRESSED, "data") if path.is_file() and not path.is_symlink() else b""
    message, _, helps = denied.detail.partition("; ")
    return Finding(
        os.path.normpath(path),
        *place(raw, message),
        "compile" if denied.reason == Reason.REGO_COMPILE else "bundle",
        printable(message),
        printable(helps) or Fault.of(denied).remedy,
    )


def _compiled(project: Project, opa: Opa, scratch: Path, allowed: frozenset[str]) -> set[Finding]:
    """What OPA's strict compiler says: of the policy with what a policy may call, then of its tests with everything."""
    capabilities = scratch / "capabilities.json"
    capabilities.write_bytes(opa.capabilities_with(allowed))
    schemas = project.schema_options(scratch / "schemas")
    limited = ["--capabilities", str(capabilities), *schemas]
    found = _opa_check(project, opa, {**project.modules, **project.data}, scratch / "policy", limited)
    if project.tests:
        found += _opa_check(project, opa, project.files, scratch / "all", schemas)
    return _once(found)


def _once(found: Iterable[Finding]) -> set[Finding]:
    """Each fault once: one of the policy is found again with its tests, and OPA's parser tells one in several ways."""
    kept: dict[tuple[str, int, int, str], Finding] = {}
    for one in found:
        key = (one.file, one.line, one.column, "" if one.kind == "syntax" else one.message)
        if key not in kept or one.message.startswith(kept[key].message):  # what more it says
            kept[key] = one
    return set(kept.values())


def _opa_check(
    project: Project, opa: Opa, files: Mapping[str, bytes], directory: Path, options: list[str]
) -> list[Finding]:
    """What `opa check` says of some files; when one does not parse, of the others as well."""
    found = list(_said(project, opa, files, directory, options))
    broken = {one.file for one in found if one.kind == "syntax"}
    rest = _without(project, files, broken)
    if broken and len(rest) < len(files):
        again = _said(project, opa, rest, directory.with_name(f"{directory.name}-rest"), options)
        # What is missing now may stand in a file that does not parse.
        found += [one for one in again if not _dangling(one.message)]
    return found


def _without(project: Project, files: Mapping[str, bytes], broken: set[str]) -> dict[str, bytes]:
    """The files but for those that findings name."""
    return {path: content for path, content in files.items() if project.location(path) not in broken}


def _dangling(message: str) -> bool:
    """Whether a message is about a name that may be defined in a file that is left out."""
    called = re.search(r"undefined function (\S+)", message)
    return bool(called and called[1] not in FORBIDDEN_BUILTINS) or "undefined ref: data" in message


def _said(
    project: Project, opa: Opa, files: Mapping[str, bytes], directory: Path, options: list[str]
) -> Iterator[Finding]:
    write_tree(directory, files)
    rego = {path: content for path, content in files.items() if path.endswith(".rego")}
    if faulty := list(schema_annotations.faults(rego, directory, opa.run)):  # OPA would follow them, maybe for ever
        for file, row, message in faulty:
            yield Finding(
                project.location(file), row, 1, "compile", message, "docs/authoring.md says what a schema may hold"
            )
        return
    answer = opa.run(
        ["check", "--strict", "--max-errors", "0", "--format", "json", *options, str(directory)], accept_failure=True
    )
    if answer.returncode == 0 or not files:
        return
    for error in errors_in(answer) or [{"message": _text(answer)}]:
        location = error.get("location") or {}
        file = str(location.get("file") or "").removeprefix(f"{directory}/")
        if "compile the schema" in str(error.get("message")):
            file = project.settings.schema_ or ""
        message = printable(str(error.get("message", "unknown error")).replace(f"{directory}/", ""))
        code = str(error.get("code", ""))
        yield Finding(
            project.location(file) if file else str(project.directory),
            max(1, int(location.get("row") or 1)),
            max(1, int(location.get("col") or 1)),
            "syntax" if code == "rego_parse_error" else "compile",
            message,
            remedy(code, message),
        )


def _text(answer: CompletedProcess[bytes]) -> str:
    text = b"\n".join((answer.stderr, answer.stdout)).decode(errors="replace").strip()
    return text[:1000] or "opa check failed and said nothing"


def _formatted(project: Project, opa: Opa, scratch: Path, found: set[Finding]) -> Iterator[Finding]:
    every = {**project.modules, **project.tests}
    sources = _without(project, every, {one.file for one in found if one.kind == "syntax"})
    try:
        written = formatted(sources, opa, scratch / "formatted")
    except PlacetError:
        # It refuses some faults of the compiler's, too, and stops there.
        sources = _without(project, every, {one.file for one in found})
        written = formatted(sources, opa, scratch / "formatted-rest")
    for path, wanted in written.items():
        if wanted != sources[path]:
            was, should = sources[path].split(b"\n"), wanted.split(b"\n")
            same = next((n for n, (a, b) in enumerate(zip(was, should, strict=False)) if a != b), len(should))
            yield Finding(
                project.location(path),
                min(same, len(was)) + 1,
                1,
                "format",
                "not formatted as `opa fmt` does",
                "run: placet policy fmt",
            )


def formatted(sources: Mapping[str, bytes], opa: Opa, scratch: Path, prefix: str = "") -> dict[str, bytes]:
    """The sources as `opa fmt` writes them. Raises `PlacetError` when one does not parse, `prefix` before its path."""
    if not sources:
        return {}
    write_tree(scratch, sources)
    answer = opa.run(["fmt", "--write", str(scratch)], accept_failure=True)
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").replace(f"{scratch}/", prefix)
        if unwritten := re.search(r"(\S+\.rego) was successfully formatted, but the result is invalid", said):
            named = f"{printable(unwritten[1])}: a name in it has a control character"
            raise PlacetError(f"opa fmt cannot write {named}; write it without")
        first = re.search(r"\S+\.rego:\d+: [^\n]*", said)
        what = first_fault(scratch, opa, prefix) or printable(first[0] if first else said)[:400]
        raise PlacetError(f"opa fmt could not read {what}; `placet policy check` shows everything")
    return {path: (scratch / path).read_bytes() for path in sources}


def _deterministic(project: Project, opa: Opa, broken: set[str], allowed: frozenset[str]) -> Iterator[Finding]:
    sources = _without(project, project.modules, broken)
    if not sources:
        return
    try:
        modules = opa.inspect(sources)
    except Denied:
        return  # the compiler has named what does not parse
    for one in determinism.all_findings(modules, sources, opa, allowed):
        if one.finding.builtin in FORBIDDEN_BUILTINS:
            continue  # the compiler refuses it too, with the column
        yield Finding(
            project.location(one.file),
            one.finding.line or 1,
            1,
            "determinism",
            printable(one.finding.what),
            "a decision depends on bundle, data, input and one clock reading alone: docs/determinism.md has the "
            "form to write instead",
        )


def _bundled(project: Project, opa: Opa, allowed: frozenset[str]) -> Iterator[Finding]:
    """What the verifier would refuse of the bundle that `placet bundle build` packs."""
    yield from _contradictions(project)
    for fault in _faults(project, opa, allowed):
        if fault.reason not in _TOLD:
            file, line, column = _place(project, fault)
            message = fault.message
            if fault.field and fault.field in project.written:  # as its author knows it
                message = message.replace(fault.field, project.written[fault.field][0])
            yield Finding(file, line, column, "bundle", printable(message), printable(fault.remedy))


def _contradictions(project: Project) -> Iterator[Finding]:
    """What placet.yaml and .manifest both say, and not the same."""
    ours, theirs = project.settings, project.manifest
    if ours.roots is not None and "roots" in theirs and sorted(ours.roots) != sorted(map(str, theirs["roots"] or [])):
        yield _contradiction(project, "roots")
    if ours.entrypoint is not None and project.manifest_entrypoint not in (None, ours.entrypoint):
        yield _contradiction(project, "entrypoint")


def _contradiction(project: Project, member: str) -> Finding:
    return Finding(
        project.location(SETTINGS),
        1,
        1,
        "bundle",
        f"{member} stands in {MANIFEST} too, and says something else there",
        f"delete it here: OPA reads {MANIFEST}",
    )


def _faults(project: Project, opa: Opa, allowed: frozenset[str]) -> list[Fault]:
    """The faults of what `build` would pack. Where it stops at the first, those of the files as they are."""
    try:
        source = bundle_source.read(str(project.directory), git=False)
    except Denied as denied:
        return [Fault.of(denied)]
    try:
        whole = completed(source.files, [source], opa, Choices(), {})
    except Denied as denied:
        if denied.reason == Reason.MANIFEST_ENTRYPOINT:
            what = denied.detail.partition("; ")[0]
            return [Fault(denied.reason, what, f"name it in {SETTINGS}: entrypoint: app/authz/decision")]
        found = preflight.check(source.files, opa, allowed=allowed)
        return [one for one in found if one.reason != Reason.MANIFEST_MISSING] or [Fault.of(denied)]
    return preflight.check(whole.files, opa, allowed=allowed, syntax=whole.modules)


def _place(project: Project, fault: Fault) -> tuple[str, int, int]:
    """Where to look: the file that the fault names; in a module the line of its package, in JSON the member."""
    named = fault.field or ""
    if named in project.modules:
        lines = project.modules[named].splitlines()
        row = next((number for number, line in enumerate(lines, 1) if line.startswith(b"package ")), 1)
        return project.location(named), row, 1
    if named in project.data:
        raw = project.written[named][1] if named in project.written else project.data[named]
        return project.location(named), *place(raw, fault.message)
    manifest = project.directory / MANIFEST
    if named and named != MANIFEST and (project.directory / named).is_file():
        return project.location(named), 1, 1
    if manifest.is_file():
        raw = read_bounded(manifest, archive.MAX_DECOMPRESSED, "the manifest")
        return project.location(MANIFEST), *place(raw, fault.message, named.partition(".")[0])
    return project.location(SETTINGS), 1, 1

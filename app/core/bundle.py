"""An OPA bundle as Placet accepts it: a manifest, Rego modules and JSON data, all inside the bundle's roots."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import archive, stray, strict_json
from app.core import roots as roots_of
from app.core.errors import Denied, UsageError
from app.core.reason_codes import Reason

MANIFEST = ".manifest"

#: Files beside the policy that a bundle directory may hold and that `build` leaves out.
IGNORED_BY_BUILD = (
    "_test.rego",
    "README.md",
    "placet.yaml",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".schema.json",
    "/input.json",
    "/subject.json",
)

_MEMBERS = {"roots", "revision", "metadata", "rego_version"}


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself."""

    roots: tuple[str, ...]
    #: Rule path of the decision, such as `payments/authz/decision`.
    entrypoint: str
    revision: str


@dataclass(frozen=True)
class Bundle:
    """A bundle that has the right form. Nothing is said yet about who made it."""

    digest: str
    manifest: Manifest
    #: Rego source by path.
    modules: Mapping[str, bytes]
    #: `data.json` documents by path.
    data: Mapping[str, bytes]


def digest_of(raw: bytes) -> str:
    """The SHA-256 of some bytes, as `sha256:…`."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def is_data(path: str) -> bool:
    """Whether a file of a bundle is a document of data."""
    return path.rsplit("/", 1)[-1] == "data.json"


def is_policy(path: str) -> bool:
    """Whether a file is one of those that a bundle may hold: the manifest, Rego, data."""
    return path == MANIFEST or path.endswith(".rego") or is_data(path)


def modules_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The Rego among the files of a bundle."""
    return {path: content for path, content in files.items() if path.endswith(".rego")}


def parse_bundle(raw: bytes) -> Bundle:
    """Read a bundle and check its form. Raises `Denied`."""
    files = archive.read_archive(raw)
    if MANIFEST not in files:
        raise Denied(
            Reason.MANIFEST_MISSING,
            f"there is no {MANIFEST} that names roots and entrypoint (bundles/payments has one)",
        )
    manifest = _parse_manifest(files.pop(MANIFEST))
    modules = modules_of(files)
    data = {path: content for path, content in files.items() if is_data(path)}
    for path in files:
        if path not in modules and path not in data:
            raise stray.fault(path, files[path]).denied()
    if not modules:
        raise Denied(Reason.ARCHIVE_EMPTY, "the bundle holds no Rego module")
    _check_data(data, manifest.roots)
    return Bundle(digest_of(raw), manifest, modules, data)


def read_directory(
    directory: Path,
    *,
    leave_out: Sequence[str] = (),
    left_out: list[str] | None = None,
    leftovers: bool = False,
    placed: Callable[[str], str] = str,
) -> dict[str, bytes]:
    """The files of a policy that somebody wrote, by path, without those that a pattern of `leave_out` names.

    Those are added to `left_out`.

    Hidden directories hold other tools' files, and are not entered. With `leftovers`, what editors left is named with
    the rest, empty, for whoever tells all faults at once. `placed` gives a file the path that it is to have. Raises
    `Denied` or `UsageError`.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory")
    files: dict[str, bytes] = {}
    for path in _walk(directory):
        name = path.relative_to(directory).as_posix()
        if name.endswith(IGNORED_BY_BUILD) or named_by(name, leave_out):
            if left_out is not None:
                left_out.append(name)
            continue
        if leftovers and stray.is_leftover(name):
            files[name] = b""
            continue
        name = placed(name)
        archive.check_path(name)
        if name in files:
            raise Denied(Reason.ARCHIVE_DUPLICATE, f"{path} would be {name!r} too; rename it", field=name)
        require_file(path, name)
        if path.stat().st_size > archive.MAX_DECOMPRESSED or len(files) >= archive.MAX_MEMBERS:
            raise Denied(Reason.ARCHIVE_TOO_LARGE, f"{path} is too large, or one file too many", field=name)
        files[name] = path.read_bytes()
    if not files:
        raise Denied(Reason.ARCHIVE_EMPTY, f"{directory} holds no policy")
    return files


def require_file(path: Path, name: str) -> None:
    """Raises `Denied` when `path`, called `name` in its directory, is a link, or nothing that can be read whole."""
    if path.is_symlink():
        said = f"{path} is a link; put the file itself there, or its directory"
        raise Denied(Reason.ARCHIVE_LINK, said, field=name)
    if not path.is_file():
        raise Denied(Reason.ARCHIVE_SPECIAL, f"{path} is not a regular file", field=name)


def _walk(directory: Path) -> Iterator[Path]:
    """Everything that is no plain directory, in a fixed order."""
    for here, below, names in os.walk(directory):
        links = [name for name in below if Path(here, name).is_symlink()]
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in links)
        yield from (Path(here, name) for name in sorted([*names, *links]))


def named_by(path: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern such as `*.yaml` or `docs/*` names the file: by its path, or by its last part."""
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatchcase(path, one) or fnmatch.fnmatchcase(name, one) for one in patterns)


def build_bundle(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a bundle, which `parse_bundle` accepts. The same files give the same bytes. Raises `Denied`."""
    packed = dict(files)
    if MANIFEST in packed:
        packed[MANIFEST] = _completed_manifest(files)
    raw = archive.write_archive(packed)
    parse_bundle(raw)
    return raw


def _completed_manifest(files: Mapping[str, bytes]) -> bytes:
    """The manifest as it is packed: with a revision that names the content, where the author gave none."""
    try:
        manifest = strict_json.load_object(files[MANIFEST])
    except strict_json.StrictJSONError as error:
        raise Denied(Reason.MANIFEST_MALFORMED, str(error), field=MANIFEST) from error
    if "revision" not in manifest:
        content = hashlib.sha256()
        for path in sorted(files):
            content.update(f"{path}\0{digest_of(files[path])}\n".encode())
        manifest["revision"] = content.hexdigest()[:16]
    try:
        return strict_json.canonical(manifest)
    except ValueError as error:
        raise Denied(Reason.MANIFEST_MALFORMED, f"{error}; write it as a string", field=MANIFEST) from error


def _parse_manifest(raw: bytes) -> Manifest:
    try:
        document = strict_json.load_object(raw)
    except strict_json.StrictJSONError as error:
        raise Denied(Reason.MANIFEST_MALFORMED, str(error), field=MANIFEST) from error
    if unknown := sorted(set(document) - _MEMBERS):
        raise Denied(Reason.MANIFEST_MALFORMED, f"unknown member {unknown[0]!r}", field=unknown[0])
    if document.get("rego_version", 1) != 1:
        raise Denied(Reason.MANIFEST_MALFORMED, "only Rego v1 is accepted", field="rego_version")
    revision = document.get("revision", "")
    if not isinstance(revision, str) or len(revision) > 256:
        raise Denied(Reason.MANIFEST_MALFORMED, "revision must be a short string", field="revision")
    roots = _checked_roots(document.get("roots"))
    metadata = document.get("metadata", {})
    placet = metadata.get("placet", {}) if isinstance(metadata, dict) else None
    entrypoint = placet.get("entrypoint") if isinstance(placet, dict) else None
    if not isinstance(entrypoint, str) or not roots_of.PATH.fullmatch(entrypoint):
        raise Denied(
            Reason.MANIFEST_ENTRYPOINT,
            'name the rule that decides, such as {"metadata": {"placet": {"entrypoint": "app/authz/decision"}}}',
            field="metadata.placet.entrypoint",
        )
    if not roots_of.covered(entrypoint, roots):
        raise Denied(
            Reason.MANIFEST_ENTRYPOINT,
            f"{entrypoint!r} lies outside the roots",
            field="metadata.placet.entrypoint",
        )
    return Manifest(roots, entrypoint, revision)


def _checked_roots(value: Any) -> tuple[str, ...]:
    for fault in roots_of.faults(value):
        raise fault.denied()
    return tuple(value)


def _check_data(data: Mapping[str, bytes], roots: tuple[str, ...]) -> None:
    """Every document lies under a root, and no value is given twice."""
    merged: dict[str, Any] = {}
    for path, raw in data.items():
        document = placed(path, raw)
        _check_under_roots(document, "", roots, path)
        _merge(merged, document, path)


def placed(path: str, raw: bytes) -> dict[str, Any]:
    """A document of data where its path puts it: `a/data.json` is about `a`. Raises `Denied`."""
    try:
        document = strict_json.load_object(raw)
    except strict_json.StrictJSONError as error:
        raise Denied(Reason.DATA_MALFORMED, f"{path}: {error}", field=path) from error
    for segment in reversed(path.split("/")[:-1]):
        document = {segment: document}
    return document


def _check_under_roots(value: Any, at: str, roots: tuple[str, ...], file: str) -> None:
    if at and roots_of.covered(at, roots):
        return
    leads_to_root = not at or any(root.startswith(at + "/") for root in roots)
    if not leads_to_root or not isinstance(value, dict):
        raise Denied(Reason.DATA_OUTSIDE_ROOTS, f"{file} defines data.{at.replace('/', '.')}", field=file)
    for name, below in value.items():
        if not name or "/" in name:
            raise Denied(Reason.DATA_OUTSIDE_ROOTS, f"{file} has {name!r} above the roots", field=file)
        _check_under_roots(below, f"{at}/{name}" if at else name, roots, file)


def _merge(into: dict[str, Any], document: dict[str, Any], file: str) -> None:
    for name, value in document.items():
        if name not in into:
            into[name] = value
        elif isinstance(into[name], dict) and isinstance(value, dict):
            _merge(into[name], value, file)
        else:
            raise Denied(
                Reason.DATA_MALFORMED,
                f"{file} gives {name!r} a value that another file gives too",
                field=file,
            )

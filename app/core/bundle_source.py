"""What a bundle is built from: directories, a bundle that somebody built, a commit in git, an OCI artifact."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core import archive, data_files, git_facts, git_source, oci, preflight, statements, stray, strict_json
from app.core.bundle import IGNORED_BY_BUILD, MANIFEST, digest_of, named_by, read_directory
from app.core.errors import Denied, UsageError
from app.core.git_facts import GitFacts
from app.core.policy_project import SETTINGS
from app.core.reason_codes import Reason

#: What a project has beside its policy, and OPA never loads from a bundle.
_BESIDE = (
    *("*.md", "LICENSE*", "NOTICE*", "Makefile", "*.sh", "*.go", "*.py", "*.txt", "*.toml", "*.lock"),
    # In a work tree or a submodule .git is a file.
    *(".git", ".gitattributes", ".gitkeep", ".gitmodules", ".editorconfig", ".gitlab-ci.yml", ".regal.yaml"),
    # What a build, a signature and a report of tests leave there: the next build is the same.
    *("*.tar.gz", "*.build.json", "*.sigstore.json", "*.attestations.jsonl", "*.xml"),
)


@dataclass(frozen=True)
class Source:
    """The files of one input, by path, and where they are from."""

    name: str
    files: Mapping[str, bytes]
    #: Files that were there and are not taken, so that people can see it.
    left_out: tuple[str, ...] = ()
    git: GitFacts | None = None
    #: The input as an in-toto ResourceDescriptor, when it has a digest of its own.
    resource: Mapping[str, Any] | None = None
    #: The submodules that it has, as ResourceDescriptors.
    submodules: Sequence[Mapping[str, Any]] = ()
    #: Whether it is a bundle already, of which roots "" means that nobody chose any.
    wrapped: bool = False
    #: Modules of older Rego (v0) as they came, by path, where `files` has them converted.
    originals: Mapping[str, bytes] = field(default_factory=dict)
    #: Where it lies, if it is a directory: its placet.yaml is there.
    directory: Path | None = field(default=None, compare=False)
    #: Its placet.yaml, if it has one and is no directory.
    settings: bytes | None = None


def read(source: str, *, ignore: Sequence[str] = (), git: bool = True) -> Source:
    """Read one input. Raises `UsageError`, `Denied` or `PlacetError`."""
    if source.startswith("git+"):
        fetched = git_source.fetch(source)
        taken, left = _taken(fetched.files, ignore)
        beside = [{**one.resource, "name": path} for path, one in fetched.submodules.items()]
        facts, settings = fetched.facts, fetched.files.get(SETTINGS)
        return Source(fetched.name, taken, left, facts, facts.resource, submodules=beside, settings=settings)
    if source.startswith("oci:"):
        raw, digest = oci.read(source)
        return _bundle(source, raw, {"uri": source, "digest": {"sha256": digest.removeprefix("sha256:")}})
    path = Path(source)
    if path.is_file():
        with path.open("rb") as file:
            raw = file.read(archive.MAX_COMPRESSED + 1)
        return _bundle(source, raw, dict(statements.resource(path.name, digest_of(raw))))
    if not path.is_dir():
        raise UsageError(f"{source} is no directory, no bundle and no address such as git+https://HOST/PATH@COMMIT")
    known = git_facts.facts(path) if git else None
    skipped: list[str] = []
    given = read_directory(path, leave_out=(*ignore, *_BESIDE), left_out=skipped, leftovers=True, placed=module_path)
    taken, left = _taken(given, ())
    return Source(source, taken, (*skipped, *left), known, directory=path)


def merged(sources: Sequence[Source], *, entrypoint: str | None = None) -> dict[str, bytes]:
    """The files of several inputs as one bundle's, of which `entrypoint` decides, if it is given.

    Raises `Denied` when two give one value, or one member of the manifest, differently.
    """
    if len(sources) == 1:
        return dict(sources[0].files)
    files: dict[str, bytes] = {}
    documents: dict[str, list[tuple[str, bytes]]] = {}
    for number, source in enumerate(sources):
        for path, content in source.files.items():
            if path.rsplit("/", 1)[-1] in ("data.json", MANIFEST):
                documents.setdefault(path, []).append((source.name, content))
            elif path not in files:
                files[path] = content
            elif files[path] != content:
                files[f"{number + 1}/{path}"] = content  # where a module lies means nothing: its package says
    for path, found in documents.items():
        if len(found) == 1:
            files[path] = found[0][1]
        elif path == MANIFEST:
            files[path] = data_files.dumps(_merged_manifest(found, entrypoint))
        else:
            files[path] = data_files.dumps(_merged_documents(path, found))
    return files


def _merged_manifest(found: Iterable[tuple[str, bytes]], entrypoint: str | None) -> dict[str, Any]:
    """One manifest with the roots of all. Which of several entrypoints decides, only whoever builds can say."""
    whole: dict[str, Any] = {"roots": []}
    deciding: dict[str, str] = {}
    for name, raw in found:
        document = _object(raw, f"{name}: {MANIFEST}", MANIFEST, Reason.MANIFEST_MALFORMED)
        roots = document.pop("roots", None) or []
        whole["roots"] += [one for one in (roots if isinstance(roots, list) else [roots]) if one not in whole["roots"]]
        if (named := preflight.entrypoint(document)) is not None:
            deciding.setdefault(named, name)
            del document["metadata"]["placet"]["entrypoint"]
        _merge(whole, document, f"{name}: {MANIFEST}", MANIFEST, Reason.MANIFEST_MALFORMED)
    if entrypoint is None and len(deciding) > 1:
        said = ", ".join(f"{name} has the entrypoint {named}" for named, name in deciding.items())
        why = f"{said}; say which one decides in the whole: --entrypoint {next(iter(deciding))}"
        raise Denied(Reason.MANIFEST_ENTRYPOINT, why, field="metadata.placet.entrypoint")
    whole["roots"].sort(key=str)  # whichever came first
    if chosen := entrypoint or next(iter(deciding), None):
        _merge(whole, {"metadata": {"placet": {"entrypoint": chosen}}}, "", MANIFEST, Reason.MANIFEST_MALFORMED)
    return whole


def _merged_documents(path: str, found: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name, raw in found:
        where = f"{name}: {path}"
        _merge(whole, _object(raw, where, path, Reason.DATA_MALFORMED), where, path, Reason.DATA_MALFORMED)
    return whole


def _object(raw: bytes, where: str, path: str, reason: Reason) -> dict[str, Any]:
    try:
        return strict_json.load_object(raw)
    except strict_json.StrictJSONError as error:
        raise Denied(reason, f"{where}: {error}", field=path) from error


def _merge(into: dict[str, Any], document: Mapping[str, Any], where: str, path: str, reason: Reason) -> None:
    for name, value in document.items():
        if isinstance(into.get(name), dict) and isinstance(value, dict):
            _merge(into[name], value, where, path, reason)
        elif name not in into or into[name] == value:
            into[name] = value
        else:
            why = f"{where} gives {name!r} another value than before it; keep one"
            raise Denied(reason, why, field=path)


def _bundle(name: str, raw: bytes, resource: Mapping[str, Any]) -> Source:
    files, left = _taken(unpack(raw), ())
    signature = tuple(path for path in files if path == ".signatures.json")
    return Source(
        name,
        {path: content for path, content in files.items() if path not in signature},
        (*left, *signature),
        resource=resource,
        wrapped=True,
    )


def unpack(raw: bytes) -> dict[str, bytes]:
    """The files of a bundle that somebody else built: bounded as `archive.read_archive`, with the paths of `opa build`.

    `opa build` writes `/data.json` and `/policy/x.rego`, `tar` writes `./x.rego` and extension headers: what is
    packed anew has none of it. Links and paths that leave the bundle are refused here too.
    """
    files: dict[str, bytes] = {}
    try:
        unpacked = io.BytesIO(archive.decompressed(raw))
        with tarfile.open(fileobj=unpacked, mode="r:", errorlevel=2, tarinfo=archive.ForeignMember) as tar:
            for count, member in enumerate(tar):
                if count >= archive.MAX_MEMBERS:
                    raise Denied(Reason.ARCHIVE_TOO_LARGE, f"more than {archive.MAX_MEMBERS} entries")
                if member.isdir():
                    continue
                path = member.name.removeprefix("./").lstrip("/")
                if not member.isreg():
                    raise Denied(Reason.ARCHIVE_LINK, f"{path!r} is a link or a special file", field=path)
                path = module_path(path)
                archive.check_path(path)
                if path in files:
                    raise Denied(Reason.ARCHIVE_DUPLICATE, f"{path!r} stands twice", field=path)
                content = tar.extractfile(member)
                assert content is not None  # regular files always have content
                files[path] = content.read()
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise Denied(Reason.ARCHIVE_MALFORMED, f"not a tar archive: {error}") from error
    return files


def module_path(path: str) -> str:
    """A path that a bundle may have, for a module that lies elsewhere; any other file's as it is.

    Where a module lies means nothing, its package says where it belongs. So it may come without directories of the
    machine that built it, and from `CIS 1 / a.rego`.
    """
    if not path.endswith(".rego") or stray.is_leftover(path) or ".." in path.split("/"):
        return path
    path = "/".join(archive.plain_segment(segment) for segment in path.split("/"))
    while len(path.rpartition("/")[0]) >= archive.MAX_DIRECTORY and "/" in path:
        path = path.partition("/")[2]
    return path


def _beside(path: str) -> bool:
    return path.endswith(IGNORED_BY_BUILD) or named_by(path, _BESIDE)


def _taken(files: Mapping[str, bytes], ignore: Sequence[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """What goes into the bundle, with data.yaml as data.json, and what does not."""
    taken: dict[str, bytes] = {}
    left: list[str] = []
    for path, content in files.items():
        if _beside(path) or (path.startswith(".") and "/" in path) or named_by(path, ignore):
            left.append(path)
        else:
            taken[path] = content
    return data_files.as_json(taken), tuple(left)

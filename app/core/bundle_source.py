"""What a bundle is built from: directories, a bundle that somebody built, a commit in git, an OCI artifact."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core import archive, git_facts, git_source, oci, statements, stray, strict_json, strict_yaml
from app.core.bundle import IGNORED_BY_BUILD, MANIFEST, digest_of, named_by, read_directory
from app.core.errors import Denied, UsageError
from app.core.git_facts import GitFacts
from app.core.reason_codes import Reason

#: What a project has beside its policy, and OPA never loads from a bundle.
_BESIDE = (
    *("*.md", "LICENSE*", "NOTICE*", "Makefile", "*.sh", "*.go", "*.py", "*.txt", "*.toml", "*.lock"),
    # In a work tree or a submodule .git is a file.
    *(".git", ".gitattributes", ".gitkeep", ".gitmodules", ".editorconfig", ".gitlab-ci.yml", ".regal.yaml"),
    # What a build, a signature and a report of tests leave there: the next build is the same.
    *("*.tar.gz", "*.build.json", "*.sigstore.json", "*.attestations.jsonl", "*.xml"),
)

#: Values of one YAML document, each alias counted where it stands.
_MAX_VALUES = 1_000_000


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


def read(source: str, *, ignore: Sequence[str] = (), git: bool = True) -> Source:
    """Read one input. Raises `UsageError`, `Denied` or `PlacetError`."""
    if source.startswith("git+"):
        fetched = git_source.fetch(source)
        taken, left = _taken(fetched.files, ignore)
        beside = [{**one.resource, "name": path} for path, one in fetched.submodules.items()]
        return Source(fetched.name, taken, left, fetched.facts, fetched.facts.resource, submodules=beside)
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
    facts = git_facts.facts(path) if git else None
    taken, left = _taken(read_directory(path, leave_out=(*ignore, *_BESIDE), leftovers=True, placed=module_path), ())
    return Source(source, taken, left, facts, directory=path)


def merged(sources: Sequence[Source]) -> dict[str, bytes]:
    """The files of several inputs as one bundle's. Raises `Denied` when two give one value, or one manifest member."""
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
        files[path] = found[0][1] if len(found) == 1 else _merged_documents(path, found)
    return files


def _merged_documents(path: str, found: Iterable[tuple[str, bytes]]) -> bytes:
    whole: dict[str, Any] = {}
    for name, raw in found:
        try:
            document = strict_json.load_object(raw)
        except strict_json.StrictJSONError as error:
            raise Denied(Reason.DATA_MALFORMED, f"{name}: {path}: {error}", field=path) from error
        if path == MANIFEST:
            whole["roots"] = [*whole.get("roots", []), *(document.pop("roots", None) or [])]
        _merge(whole, document, f"{name}: {path}", path)
    return _dumps(whole)


def _merge(into: dict[str, Any], document: Mapping[str, Any], where: str, path: str) -> None:
    for name, value in document.items():
        if isinstance(into.get(name), dict) and isinstance(value, dict):
            _merge(into[name], value, where, path)
        elif name not in into or into[name] == value:
            into[name] = value
        else:
            raise Denied(Reason.DATA_MALFORMED, f"{where} gives {name!r} another value than before it", field=path)


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
        name = path.rsplit("/", 1)[-1]
        if _beside(path) or (path.startswith(".") and "/" in path) or named_by(path, ignore):
            left.append(path)
        elif name in ("data.yaml", "data.yml"):
            json_path = path.removesuffix(name) + "data.json"
            if json_path in files or json_path in taken:
                raise Denied(Reason.DATA_MALFORMED, f"{path} and {json_path} both give data; keep one", field=path)
            try:
                taken[json_path] = _dumps(_counted(strict_yaml.load(content)))
            except (strict_yaml.StrictYAMLError, ValueError, TypeError) as error:
                raise Denied(Reason.DATA_MALFORMED, f"{path} is no data: {error}", field=path) from error
        else:
            taken[path] = content
    return taken, tuple(left)


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


def _dumps(document: Any) -> bytes:
    """Data as JSON with its members in order, whatever its numbers are: RFC 8785 could not hold all of them."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()

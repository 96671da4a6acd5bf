"""A policy as its author has it: a directory of Rego with its tests, its data and a small placet.yaml.

What stands in placet.yaml, every member optional:

    roots: [payments]                       # else in .manifest
    entrypoint: payments/authz/decision     # else in .manifest
    threshold: 90                           # percent of the policy's lines that its tests must reach
    schema: input.schema.json               # a JSON schema of the input, or a directory of NAME.schema.json
    allowed_builtins: [rand.intn]           # those that the system's verification policy allows by name
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.core import archive, data_files, schema_annotations, strict_json, strict_yaml
from app.core.bundle import MANIFEST, is_data, require_file
from app.core.complaint import complaint
from app.core.errors import UsageError
from app.core.files import read_bounded, write_tree
from app.core.roots import PATH

SETTINGS = "placet.yaml"

#: Bytes of placet.yaml, of the manifest, of one schema.
_MAX_SMALL = 1024 * 1024

_Builtin = Annotated[str, StringConstraints(min_length=1, max_length=512)]
_RulePath = Annotated[str, StringConstraints(pattern=f"^{PATH.pattern}$", max_length=512)]


class Settings(BaseModel):
    """What an author demands of a policy."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    roots: Annotated[list[_RulePath], Field(min_length=1)] | None = None
    entrypoint: _RulePath | None = None
    threshold: Annotated[float, Field(ge=0, le=100)] = 0
    schema_: Annotated[str | None, Field(alias="schema", min_length=1, max_length=512)] = None
    allowed_builtins: Annotated[list[_Builtin], Field(max_length=64)] = []


@dataclass(frozen=True)
class Project:
    """The files of one policy, read once: what is checked is what was there at one moment."""

    directory: Path
    settings: Settings
    #: Rego of the policy, by path relative to `directory`.
    modules: Mapping[str, bytes]
    #: Rego of its tests.
    tests: Mapping[str, bytes]
    #: Its documents of data, as JSON.
    data: Mapping[str, bytes]
    #: JSON schemas by their name for OPA: `input.json` is `schema.input`.
    schemas: Mapping[str, bytes] = field(default_factory=dict)
    #: Roots and entrypoint that .manifest gives, if there is one that can be read.
    manifest: Mapping[str, Any] = field(default_factory=dict)
    #: Of `data` that is written as YAML: the file and its text, by the document's path.
    written: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        """All that OPA loads of it."""
        return {**self.modules, **self.tests, **self.data}

    @property
    def entrypoint(self) -> str | None:
        """The rule that decides, such as `payments/authz/decision`, if the project says which."""
        named = self.settings.entrypoint or self.manifest_entrypoint
        return named if isinstance(named, str) and PATH.fullmatch(named) else None

    @property
    def manifest_entrypoint(self) -> Any:
        """What .manifest gives as the entrypoint, whatever it is."""
        return ((self.manifest.get("metadata") or {}).get("placet") or {}).get("entrypoint")

    def location(self, path: str) -> str:
        """A path of this project as somebody in the current directory would write it."""
        return os.path.normpath(self.directory / (self.written[path][0] if path in self.written else path))

    @property
    def prefix(self) -> str:
        """What stands before a path of this project, as `location` writes it."""
        here = os.path.normpath(self.directory)
        return "" if here == "." else f"{here}/"

    def stage(self, directory: Path) -> Path:
        """Write what OPA loads below `directory`. Its neighbours, such as placet.yaml, would become data there."""
        write_tree(directory, self.files)
        return directory

    def schema_options(self, directory: Path) -> list[str]:
        """Write the schemas below `directory`; the options by which OPA takes them."""
        if not self.schemas:
            return []
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.schemas.items():
            (directory / name).write_bytes(content)
        only = self.settings.schema_ is not None and (self.directory / self.settings.schema_).is_file()
        return ["--schema", str(directory / next(iter(self.schemas)) if only else directory)]


def load(directory: Path) -> Project:
    """Read the policy in `directory`. Raises `UsageError` when there is none, or its settings are wrong.

    Raises `Denied`, as a build does, for links, and for YAML data that is none.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory; `placet policy new NAME` makes a policy to start from")
    settings = settings_of(directory)
    rego: dict[str, bytes] = {}
    data: dict[str, bytes] = {}
    left = archive.MAX_DECOMPRESSED
    for path in _walk(directory):
        name = path.relative_to(directory).as_posix()
        if not name.isprintable():  # a terminal may obey it, and a report cannot hold it
            raise UsageError(f"{name!r} in {directory} is no name that can be shown; rename the file")
        content = read_bounded(path, left, "a policy's file")
        left -= len(content)
        (rego if name.endswith(".rego") else data)[name] = content
        if len(rego) + len(data) > archive.MAX_MEMBERS:
            raise UsageError(f"{directory} holds more than {archive.MAX_MEMBERS} files of policy; name one policy")
    tests = {name: content for name, content in rego.items() if name.endswith("_test.rego")}
    modules = {name: content for name, content in rego.items() if name not in tests}
    if not modules:
        raise UsageError(f"{directory} holds no policy (*.rego); `placet policy new NAME` makes one to start from")
    manifest = directory / MANIFEST
    return Project(
        directory,
        settings,
        modules,
        tests,
        data_files.as_json(data),
        _schemas(directory, settings.schema_),
        _manifest(manifest) if manifest.is_file() else {},
        {data_files.json_path(path): (path, raw) for path, raw in data.items() if data_files.is_yaml(path)},
    )


def _walk(directory: Path) -> Iterator[Path]:
    """The files that OPA would load, in a fixed order. Hidden directories hold other tools' files."""
    for here, below, files in os.walk(directory):
        below[:] = sorted(name for name in below if not name.startswith("."))
        links = [name for name in below if Path(here, name).is_symlink()]
        for name in [*links, *sorted(files)]:
            rego = name.endswith(".rego") and not name.startswith("._")
            if name in links or rego or is_data(name) or data_files.is_yaml(name):
                path = Path(here, name)
                require_file(path, path.relative_to(directory).as_posix())
                yield path


def settings_of(directory: Path) -> Settings:
    """What the placet.yaml of a directory says. Raises `UsageError` when that is wrong."""
    path = directory / SETTINGS
    return parsed_settings(read_bounded(path, _MAX_SMALL, "the settings"), str(path)) if path.exists() else Settings()


def parsed_settings(raw: bytes, path: str) -> Settings:
    """What a placet.yaml says that is called `path`. Raises `UsageError` when that is wrong."""
    if len(raw) > _MAX_SMALL:
        raise UsageError(f"{path}: the settings are larger than {_MAX_SMALL >> 20} MiB")
    try:
        document = strict_yaml.load(raw)
        return Settings.model_validate({} if document is None else document)
    except strict_yaml.StrictYAMLError as error:
        row, column = error.place
        raise UsageError(f"{path}:{row}:{column}: not YAML: {error.problem}") from error
    except ValidationError as error:
        row, column = strict_yaml.member(raw, error.errors(include_url=False, include_input=False)[0]["loc"])
        known = ", ".join(one.alias or name for name, one in Settings.model_fields.items())
        raise UsageError(f"{path}:{row}:{column}: {complaint(error)}; its members are {known}") from error


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest as far as it can be read; `check` says what is wrong with it."""
    try:
        document = strict_json.load_object(read_bounded(path, _MAX_SMALL, "the manifest"))
    except strict_json.StrictJSONError:
        return {}
    metadata = document.get("metadata")
    return document if isinstance(metadata, dict) and isinstance(metadata.get("placet", {}), dict) else {}


def _schemas(directory: Path, named: str | None) -> dict[str, bytes]:
    if named is None:
        return {}
    path = directory / named
    if not path.resolve().is_relative_to(directory.resolve()):
        raise UsageError(f"{directory / SETTINGS}: schema: {named} lies outside of the policy's directory")
    found = [path] if path.is_file() else sorted(path.glob("*.json")) if path.is_dir() else []
    if not found:
        raise UsageError(f"{directory / SETTINGS}: schema: there is no JSON schema at {path}")
    schemas = {}
    for one in found:
        raw = read_bounded(one, _MAX_SMALL, "a schema")
        try:
            document = strict_json.loads(raw)
        except strict_json.StrictJSONError as error:
            raise UsageError(f"{one}: {error}") from error
        if leaves := next((ref for ref in schema_annotations.references(document) if not ref.startswith("#")), None):
            raise UsageError(f"{one}: OPA would fetch {leaves[:200]!r}: a $ref may name a part of the same file, '#/…'")
        schemas[one.name.replace(".schema.json", ".json")] = raw  # files of that name are left out of a bundle
    return schemas

"""What OPA loads is one bundle: the governance library, the verified policy, and glue for its entrypoint.

The rule is fixed and the bytes are reproducible, so that replay composes the same bundle. No part can shadow
another: library modules lie under `placet/`, the policy's under `policy/`, and the policy's data stays where it is,
inside roots that the verifier has kept clear of ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.core import archive, strict_json
from app.core.bundle import Bundle
from app.core.shipped import shipped

#: Roots of the composed bundle besides the policy's own.
OUR_ROOTS = ("placet", "placet_glue", "placet_log")

#: Bytes of a library's file at most.
MAX_LIBRARY = 4 * 1024 * 1024

_MODULE = re.compile(r"[a-z0-9_]{1,100}\.rego")


@dataclass(frozen=True)
class Library:
    """The governance library: its modules by file name, and the digest over all of them."""

    digest: str
    modules: Mapping[str, bytes]

    @classmethod
    def shipped(cls) -> Library:
        """The library that came with this distribution."""
        return cls.of_directory(shipped("rego") / "placet")

    @classmethod
    def of_directory(cls, directory: Path) -> Library:
        """The library whose modules lie in a directory. Raises `OSError`, or `ValueError` where one is no text."""
        paths = (path for path in directory.glob("*.rego") if not path.name.endswith("_test.rego"))
        modules = {path.name: path.read_bytes() for path in paths}
        for name, source in modules.items():
            try:
                source.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{name} is not UTF-8") from error
        return cls.of(modules)

    @classmethod
    def of(cls, modules: Mapping[str, bytes]) -> Library:
        """The library of these modules."""
        ordered = dict(sorted(modules.items()))
        content = hashlib.sha256()
        for name, source in ordered.items():
            content.update(f"{name}\0{hashlib.sha256(source).hexdigest()}\n".encode())
        return cls("sha256:" + content.hexdigest(), ordered)

    @classmethod
    def read(cls, raw: bytes) -> Library:
        """The library that `written` wrote: its digest is computed anew. Raises `ValueError` for all else."""
        modules = strict_json.load_object(raw)
        if not modules or not all(_MODULE.fullmatch(name) and isinstance(modules[name], str) for name in modules):
            raise ValueError("it holds no modules of a library")
        found = cls.of({name: source.encode() for name, source in modules.items()})
        if found.written() != raw:
            raise ValueError("it is not written as libraries are")
        return found

    def written(self) -> bytes:
        """The one file that holds it: JSON of the modules' sources by their names."""
        return strict_json.canonical({name: source.decode() for name, source in self.modules.items()})


@dataclass(frozen=True)
class Composed:
    """The bundle that OPA activates, and the revision by which it is known."""

    revision: str
    raw: bytes


def revision(policy_digest: str, library_digest: str) -> str:
    """The revision of a composed bundle: the digests of its parts."""
    return f"policy={policy_digest} library={library_digest}"


def compose(policy: Bundle, library: Library) -> Composed:
    """Compose the one bundle from verified parts."""
    name = revision(policy.digest, library.digest)
    manifest = {"revision": name, "roots": sorted([*OUR_ROOTS, *policy.manifest.roots]), "rego_version": 1}
    files = {
        ".manifest": strict_json.canonical(manifest),
        "placet/glue.rego": _glue(policy, library),
        **{f"placet/library/{path}": source for path, source in library.modules.items()},
        **{f"policy/{path}": source for path, source in policy.modules.items()},
        **policy.data,
    }
    return Composed(name, archive.write_archive(files))


def _glue(policy: Bundle, library: Library) -> bytes:
    """Names the entrypoint, which Rego cannot do from data.

    `object.get` over an object hides the rule's type: OPA infers types across modules, and would refuse a policy
    that answers with a plain boolean where the library asks for an object.
    """
    reference = "data" + "".join(f'["{segment}"]' for segment in policy.manifest.entrypoint.split("/"))
    return f"""package placet_glue

value := object.get({{"v": {reference}}}, "v", null)

bundles := {{"library": "{library.digest}", "policy": "{policy.digest}"}}
""".encode()

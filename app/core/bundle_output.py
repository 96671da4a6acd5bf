"""Where a built bundle goes: a file, a directory with what is in it, or an OCI layout. Whole, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.core import archive, oci
from app.core.errors import PlacetError, UsageError
from app.core.files import is_stream, sync_directory, write_together, write_tree


def write(out: str, bundle: bytes, notes: bytes) -> Path:
    """Write a bundle, and beside it OUT.build.json. Returns the path. Raises `UsageError` or `PlacetError`.

    `oci:DIR` is an OCI layout; `DIR/`, or a directory that exists, takes the bundle's files. Neither may hold
    anything yet.
    """
    if out.startswith("oci:"):
        path = Path(out.removeprefix("oci:").rstrip("/") or ".")
        _write_directory(path, oci.layout(bundle, f"{path.name}.tar.gz"), notes)
    elif out.endswith("/") or Path(out).is_dir():
        path = Path(out)
        _write_directory(path, archive.read_archive(bundle), notes)
    else:
        path = Path(out)
        beside = {} if is_stream(path) else {_notes(path): notes}
        write_together({**beside, path: bundle}, mode=0o644)
    return path


def _write_directory(path: Path, files: Mapping[str, bytes], notes: bytes) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} holds something already; name a new or an empty directory")
    try:
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise PlacetError(f"cannot write {path}: {error.strerror}") from error
    try:
        write_tree(scratch, files)
        scratch.chmod(0o755)
        write_together({_notes(path): notes}, mode=0o644)
        if path.exists():
            path.rmdir()
        scratch.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise PlacetError(f"cannot write {path}: {error.strerror}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _notes(path: Path) -> Path:
    return path.with_name(path.name + ".build.json")

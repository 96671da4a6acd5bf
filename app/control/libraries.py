"""Governance libraries: each that this control plane has run with is kept, so that replay finds what decided.

They are objects named by the library's own digest, which is computed anew of what is in them. Nobody else may bring
one: a sidecar could bring the very library by which its records come out as it wants.
"""

from __future__ import annotations

from app.control.objects import Objects
from app.control.problems import Invalid, NotFound
from app.core.compose import Library

#: Where they lie in the object store.
PREFIX = "libraries"


def keep(objects: Objects, library: Library) -> None:
    """Store it, unless one is there: a damaged one is for fsck to name. Raises `Unavailable`."""
    try:
        objects.get(key(library.digest))
    except NotFound:
        objects.put(key(library.digest), library.written())


def find(objects: Objects, digest: str) -> bytes:
    """The file of the library with that digest. Raises `NotFound`, and `Invalid` when the store gives another."""
    raw = objects.get(key(digest))
    try:
        there = Library.read(raw).digest
    except ValueError as error:
        raise Invalid(f"the stored library {digest} was changed: {error}") from error
    if there != digest:
        raise Invalid(f"the stored library {digest} was changed")
    return raw


def key(digest: str) -> str:
    """The object of the library with that digest."""
    return f"{PREFIX}/{digest.removeprefix('sha256:')}.json"

"""Objects that are named by their own digests: the files that TUF serves and served, refused batches that no break
names, and libraries. And the object by which a store is known."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from app.control import libraries
from app.control.fsck.finding import Finding
from app.control.fsck.tables import Tables
from app.control.objects import CANARY, Objects
from app.control.problems import NotFound
from app.core.compose import Library


def check(tables: Tables, objects: Objects) -> Iterator[Finding]:
    """Compare each with its name."""
    told = {row["object"] for row in tables.breaks(None, None)}
    for prefix, digest in (("targets", _sha256), ("quarantine", _sha256), (libraries.PREFIX, _library)):
        for key, _ in objects.keys(prefix):
            due = key.rpartition("/")[2].partition(".")[0]
            try:
                there = due if key in told else digest(objects.get(key))
            except NotFound:  # removed since it was listed
                continue
            if due != there:
                detail = "the object has another digest than its name"
                yield Finding("changed", detail, object=key, expected=due, found=there)
    if not objects.is_marked():
        yield Finding("changed", "the object by which the store is known is another", object=CANARY)


def _sha256(body: bytes) -> str:
    return sha256(body).hexdigest()


def _library(body: bytes) -> str:
    try:
        return Library.read(body).digest.removeprefix("sha256:")
    except ValueError as error:
        return str(error)

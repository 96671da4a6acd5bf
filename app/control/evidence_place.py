"""Where a stored Sigstore bundle says that it stands in the lineage log. It was verified when it was taken."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from app.control.objects import Objects
from app.control.problems import NotFound
from app.core import merkle, strict_json
from app.core.checkpoint import MAX_CHECKPOINT


@dataclass(frozen=True)
class Place:
    """The place of the bundle's log entry, its leaf hash, and the checkpoint that its signer saw."""

    index: int
    leaf: bytes
    checkpoint: str


def place_in(objects: Objects, key: str, *, refused: bool = False) -> Place | None:
    """The place that the object `key` names; None where it is missing or damaged. Raises `Unavailable`.

    `refused`: it is not a bundle, but the body of a request that holds one (`app.control.lineage`).
    """
    try:
        document = strict_json.load_object(objects.get(key))
        if refused:
            document = strict_json.load_object(document["evidence"].encode())
        [entry] = document["verificationMaterial"]["tlogEntries"]
        index = int(entry["logIndex"])
        body = base64.b64decode(entry["canonicalizedBody"], validate=True)
        checkpoint = entry["inclusionProof"]["checkpoint"]["envelope"]
    except (NotFound, ValueError, LookupError, TypeError, AttributeError):
        return None
    if not isinstance(checkpoint, str) or len(checkpoint) > MAX_CHECKPOINT or index < 0:
        return None
    return Place(index, merkle.entry_hash(body), checkpoint)

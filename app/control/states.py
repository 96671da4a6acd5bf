"""Trust states that sidecars had in force: archived by digest, so that replay finds what a decision rested on."""

from __future__ import annotations

from hashlib import sha256

from app.control import systems
from app.control.plane import Plane
from app.control.problems import Invalid, TooLarge
from app.core import strict_json

#: Bytes of a trust state. What a sidecar writes to OPA is shorter.
MAX_STATE = 256 * 1024


def keep(plane: Plane, system: str, digest: str, document: bytes) -> None:
    """Store the document whose SHA-256 is `digest` (`sha256:…`). Raises `Invalid` when it is that of another."""
    with plane.store.read() as session:
        systems.find(session, system)
    if len(document) > MAX_STATE:
        raise TooLarge(f"a trust state has at most {MAX_STATE} bytes")
    if f"sha256:{sha256(document).hexdigest()}" != digest:
        raise Invalid("the document has another digest")
    try:
        strict_json.load_object(document)
    except strict_json.StrictJSONError as error:
        raise Invalid(f"the trust state is {error}") from error
    plane.objects.put(_key(system, digest), document)


def find(plane: Plane, system: str, digest: str) -> bytes:
    """The document with that digest. Raises `NotFound`, and `Invalid` when the store gives another."""
    document = plane.objects.get(_key(system, digest))
    if f"sha256:{sha256(document).hexdigest()}" != digest:
        raise Invalid(f"the stored trust state {digest} was changed")
    return document


def _key(system: str, digest: str) -> str:
    return f"states/{system}/{digest.removeprefix('sha256:')}.json"

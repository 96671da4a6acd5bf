"""How a journal's statements name things: what they are about, what they came of, and by which digest."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from app.core import statements
from app.core.statements import Resource

START, STEP, END = "execution/start", "execution/step", "execution/end"
ENFORCE = "release/enforce"
WITHDRAWN, RENEWED = "lease/withdrawn", "lease/renewed"
#: The kind of a change of the trust state, which is no link to in-toto.
TRUST = "trust/change"

#: The caller's own names begin so.
ARTIFACT = "artifact/"
#: An earlier link that a step goes on from, of whichever execution and sidecar.
PARENT = "link/parent"


class Ref(NamedTuple):
    """Something that a statement names: a name, and a digest `sha256:…`."""

    name: str
    digest: str


def payload_digest(statement: bytes) -> str:
    """The digest by which others name a statement: of the signed bytes, whichever signature they carry."""
    return f"sha256:{sha256(statement).hexdigest()}"


def execution_ref(sidecar: str, instance: str, execution: str) -> Ref:
    """An execution of one instance of a sidecar, as the subject of its links."""
    return Ref(f"execution/{execution}", payload_digest(f"{sidecar}\n{instance}\n{execution}".encode()))


def sidecar_ref(sidecar: str, instance: str) -> Ref:
    """One instance of a sidecar, as the subject of what is said of its lease."""
    return Ref(f"sidecar/{instance}", payload_digest(f"{sidecar}\n{instance}".encode()))


def decision_ref(identifier: str, leaf: bytes) -> Ref:
    """A decision, by the leaf hash of its record in its batch."""
    return Ref(f"decision/{identifier}", f"sha256:{leaf.hex()}")


def warrant_ref(jti: str, token: str) -> Ref:
    """A warrant, by the digest of its token."""
    return Ref(f"warrant/{jti}", payload_digest(token.encode()))


def approval_ref(jti: str, digest: str) -> Ref:
    """The approval by which a warrant was issued, by the digest of its statement."""
    return Ref(f"approval/{jti}", digest)


def descriptors(refs: Iterable[Ref]) -> list[Resource]:
    """The in-toto descriptors of these."""
    return [statements.resource(one.name, one.digest) for one in refs]

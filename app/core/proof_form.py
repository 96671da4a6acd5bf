"""The form of a proof file: RFC 8785 bytes of exactly the known members. docs/proof.md says what they mean.

Nothing is verified here: `app.core.proof` does that.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.core import statements, strict_json
from app.core.complaint import complaint, place
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.targets import Digest

FORMAT = f"{statements.PLACET}/proof/v1"

#: Bytes of a proof file: a record of 8 MiB in base64, and the evidence of its release.
MAX_PROOF = 32 * 1024 * 1024

#: Pieces of a release's evidence: its signature, and its attestations.
MAX_PIECES = 65

_Text = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Form = TypeVar("_Form", bound=BaseModel)
_Decimal = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Release(_Part):
    digest: Digest
    evidence: Annotated[list[dict[str, Any]], Field(max_length=MAX_PIECES)]


class _File(_Part):
    format: Literal["https://placet.dev/proof/v1"]
    record: _Text | None
    salt: _Text | None
    leaf: _Hex
    index: _Decimal
    path: Annotated[list[_Hex], Field(max_length=64)]
    batch: dict[str, Any]
    release: _Release | None


@dataclass(frozen=True)
class ReleaseEvidence:
    """What was signed about the policy that decided: Sigstore bundles, the release's signature first."""

    digest: str
    evidence: tuple[bytes, ...]


@dataclass(frozen=True)
class Proof:
    """One proof file."""

    #: The entry as OPA wrote it; None if it was erased, as is then the salt.
    record: bytes | None
    salt: bytes | None
    leaf: bytes
    #: The position in the batch.
    index: int
    #: The audit path, from the leaf's neighbour up.
    path: tuple[bytes, ...]
    #: The Sigstore bundle over the batch's statement.
    batch: bytes
    #: None when the entry names no policy, or was erased.
    release: ReleaseEvidence | None

    @classmethod
    def read(cls, raw: bytes) -> Proof:
        """Read a proof file. Raises `Denied` with `proof.malformed`."""
        file = read_canonical(raw, _File, MAX_PROOF)
        if (file.record is None) != (file.salt is None):
            raise malformed("an erased record leaves no salt, and no other does", "salt")
        if file.record is None and file.release is not None:
            raise malformed("an erased record names no policy", "release")
        release = file.release
        return cls(
            record=_decoded(file.record, "record"),
            salt=_decoded(file.salt, "salt"),
            leaf=bytes.fromhex(file.leaf),
            index=int(file.index),
            path=tuple(bytes.fromhex(hash_) for hash_ in file.path),
            batch=strict_json.canonical(file.batch),
            release=ReleaseEvidence(release.digest, _canonical(release.evidence)) if release else None,
        )

    def write(self) -> bytes:
        """The proof file. Sigstore bundles in it are written anew, which leaves what they say as it is."""
        release = self.release
        return strict_json.canonical(
            {
                "format": FORMAT,
                "record": _encoded(self.record),
                "salt": _encoded(self.salt),
                "leaf": self.leaf.hex(),
                "index": str(self.index),
                "path": [hash_.hex() for hash_ in self.path],
                "batch": strict_json.load_object(self.batch),
                "release": release
                and {
                    "digest": release.digest,
                    "evidence": [strict_json.load_object(one) for one in release.evidence],
                },
            }
        )


def read_canonical(raw: bytes, form: type[_Form], limit: int) -> _Form:
    """A file of this form: at most `limit` bytes, and the RFC 8785 ones. Raises `Denied` with `proof.malformed`."""
    if len(raw) > limit:
        raise malformed(f"larger than {limit} bytes")
    try:
        document = strict_json.load_object(raw)
        canonical = strict_json.canonical(document)
    except ValueError as error:
        raise malformed(str(error)) from error
    if canonical != raw:
        raise malformed("not RFC 8785 bytes")
    try:
        return form.model_validate(document)
    except ValidationError as error:
        raise Denied(Reason.PROOF_MALFORMED, complaint(error), step="proof", field=place(error)) from error


def malformed(detail: str, field: str | None = None) -> Denied:
    """The denial of a file that is no proof."""
    return Denied(Reason.PROOF_MALFORMED, f"{field}: {detail}" if field else detail, step="proof", field=field)


def _canonical(documents: Sequence[dict[str, Any]]) -> tuple[bytes, ...]:
    return tuple(strict_json.canonical(one) for one in documents)


def _encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _decoded(value: str | None, field: str) -> bytes | None:
    """Base64 of the one canonical spelling."""
    if value is None:
        return None
    try:
        decoded = base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise malformed("not base64", field) from error
    if base64.b64encode(decoded).decode() != value:
        raise malformed("not canonical base64", field)
    return decoded

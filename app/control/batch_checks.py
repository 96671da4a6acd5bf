"""What of a signed batch can be checked without the database: who signed it, and that its records are what it says.

The order matters. Until the signature is known to be the sidecar's own, nothing is decompressed or counted, and what
is wrong proves nothing against the sidecar.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from app.control import records, sidecar_statement
from app.control.plane import StatementVerifier
from app.control.problems import Problem
from app.core import merkle
from app.core.batch import BatchStatement
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.evidence_form import MAX_EVIDENCE
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

#: Bytes of a request: a batch that does not compress, in base64, with salts and evidence.
MAX_BODY = records.MAX_BATCH * 4 // 3 + 2 * MAX_EVIDENCE

STEP = "decision batch"


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    records: str
    salts: str
    evidence: str


#: Makes texts and nothing else: from 24 MB of `[[],[],…]` other parsers make objects for seconds.
_decode = msgspec.json.Decoder(_Body).decode


@dataclass(frozen=True)
class Offer:
    """A request's body, of which nothing is proved."""

    #: Base64 of gzip.
    records: str
    salts: str
    evidence: bytes

    @classmethod
    def read(cls, body: bytes) -> Offer:
        """Read a body. Raises `Denied` with `batch.malformed`."""
        try:
            given = _decode(body)
        except msgspec.ValidationError as error:
            raise _malformed("the body has exactly the texts records, salts and evidence") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _malformed(f"the body: {error}") from error
        evidence = given.evidence.encode()
        if len(evidence) > MAX_EVIDENCE:
            raise _malformed(f"the evidence is larger than {MAX_EVIDENCE} bytes")
        return cls(given.records, given.salts, evidence)


@dataclass(frozen=True)
class Signed:
    """An offer whose statement the sidecar signed."""

    offer: Offer
    verified: VerifiedStatement
    payload: bytes
    log_index: int


@dataclass(frozen=True)
class Whole:
    """A signed batch with its records, which are those that it commits to."""

    batch: BatchStatement
    #: SHA-256 of the records, hexadecimal.
    digest: str
    #: Lines without newlines.
    entries: list[bytes]
    salts: bytes
    leaves: list[bytes]


def signed_by(signer: SignerIdentity, verify: StatementVerifier, offer: Offer) -> Signed:
    """The signature, its time and its place in the log. Raises `Denied`: nothing then proves who made this."""
    one = sidecar_statement.signed_by(signer, verify, offer.evidence, Reason.BATCH_INVALID, STEP)
    return Signed(offer, one.verified, one.payload, one.log_index)


def statement_of(signed: Signed) -> BatchStatement:
    """What was signed, which must be of the one who signed it. Raises `Denied`."""
    batch = BatchStatement.read(signed.payload)
    if batch.sidecar != signed.verified.signer.identity:
        raise Denied(Reason.BATCH_INVALID, f"it speaks of {batch.sidecar}", step=STEP, field="sidecar")
    return batch


def whole_of(signed: Signed, batch: BatchStatement) -> Whole:
    """The records, if they are what the statement says of them. No more is decompressed than it speaks of."""
    length = batch.last_byte - batch.first_byte
    if length > records.MAX_BATCH:
        raise _malformed(f"a batch has at most {records.MAX_BATCH} bytes")
    raw = _decoded(signed.offer.records, "records", lambda body: records.decompress(body, length))
    salts = _decoded(signed.offer.salts, "salts", bytes)
    if len(raw) != length or not raw.endswith(b"\n"):
        raise _root(f"{len(raw)} bytes of records, not {length} bytes of whole lines")
    if (count := raw.count(b"\n")) != batch.entries:
        raise _root(f"{count} entries, not {batch.entries}")
    entries = raw[:-1].split(b"\n")
    try:
        leaves = merkle.leaf_hashes(salts, entries)
    except ValueError as error:
        raise _root(str(error)) from error
    _require_same(batch, entries, leaves)
    return Whole(batch, sha256(raw).hexdigest(), entries, salts, leaves)


def _require_same(batch: BatchStatement, entries: list[bytes], leaves: list[bytes]) -> None:
    """Root, counts and digests, computed anew."""
    other = batch.differing(entries, leaves)
    if "root" in other:
        raise _root("the root over these records and salts is another one")
    if other:
        raise _root(f"the records say otherwise of {', '.join(other)}")


def _decoded(text: str, name: str, form: Callable[[bytes], bytes]) -> bytes:
    try:
        return form(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise _root(f"{name}: not base64") from error
    except Problem as error:
        raise _root(f"{name}: {error}") from error


def _malformed(detail: str) -> Denied:
    return Denied(Reason.BATCH_MALFORMED, detail, step=STEP)


def _root(detail: str) -> Denied:
    return Denied(Reason.BATCH_ROOT, detail, step=STEP)

"""Who signed a batch, which can be told without the database; then its records are read (`app.control.batch_reading`).

The order matters: until the signature is known to be the sidecar's own, nothing is decompressed or counted, and what
is wrong proves nothing against the sidecar.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from app.control import sidecar_statement
from app.control.batch_reading import MAX_BATCH, STEP
from app.control.plane import StatementVerifier
from app.core.batch import BatchStatement
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.evidence_form import MAX_EVIDENCE
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

#: Bytes of a request: a batch that does not compress, in base64, with salts and evidence.
MAX_BODY = MAX_BATCH * 4 // 3 + 2 * MAX_EVIDENCE


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


def _malformed(detail: str) -> Denied:
    return Denied(Reason.BATCH_MALFORMED, detail, step=STEP)

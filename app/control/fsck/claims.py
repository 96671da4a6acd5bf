"""What is said of one batch: by the statement that the sidecar signed, or, where that cannot be had, by its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.control.batch_checks import Offer, Signed, signed_by, statement_of
from app.control.batch_reading import STEP
from app.control.plane import StatementVerifier
from app.control.raw_records import Span
from app.control.sidecar_statement import payload_of
from app.control.store.as_stored import Row
from app.core import strict_json
from app.core.batch import BatchStatement, payload_digest
from app.core.errors import Denied
from app.core.governance import sidecar_id
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

#: The columns that are empty in batches without a signature, and in no other.
SIGNED = ("first_entry", "entries", "root", "payload", "opa", "evidence", "salts", "leaves", "log_index", "signed_at")


@dataclass(frozen=True)
class Claims:
    """The place of a batch, and what its records are."""

    system: Any
    sidecar: Any
    instance: Any
    file: Any
    first: Any
    last: Any
    first_entry: Any = None
    entries: Any = None
    root: Any = None
    payload: Any = None
    previous: Any = None
    opa: Any = None

    @property
    def span(self) -> Span:
        """Which bytes of which file."""
        return Span(self.system, self.sidecar, self.instance, self.file, self.first, self.last)

    @classmethod
    def of_row(cls, row: Row) -> Claims:
        """As the row says, which nothing proves."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    @classmethod
    def of_place(cls, row: Row) -> Claims:
        """As a row says of a batch that came without a signature."""
        return cls(*(row[name] for name in ("system", "sidecar", "instance", "file", "first", "last")))

    @classmethod
    def of_statement(cls, batch: BatchStatement, payload: bytes) -> Claims:
        """As the sidecar signed."""
        _, _, _, _, system, sidecar = batch.sidecar.split("/")
        return cls(
            system,
            sidecar,
            batch.instance,
            batch.file,
            batch.first_byte,
            batch.last_byte,
            batch.first_entry,
            batch.entries,
            batch.root,
            payload_digest(payload),
            batch.previous,
            batch.opa,
        )


@dataclass(frozen=True)
class Signers:
    """Verifies that a batch was signed by a sidecar of this control plane's."""

    domain: str
    #: The URLs by which the control plane has issued identities.
    issuers: tuple[str, ...]
    verify: StatementVerifier

    def proved(self, evidence: bytes, system: Any, sidecar: Any) -> tuple[Signed, BatchStatement]:
        """What `evidence` proves, of this sidecar or of the one of which it speaks. Raises `Denied`."""
        own = sidecar_id(self.domain, system, sidecar)
        try:
            return self._by(own, evidence)
        except Denied:
            claimed = _speaks_of(evidence)
            if claimed == own or not claimed.startswith(f"spiffe://{self.domain}/sidecar/"):
                raise
            return self._by(claimed, evidence)

    def _by(self, identity: str, evidence: bytes) -> tuple[Signed, BatchStatement]:
        offer = Offer("", "", evidence)  # what it came with is checked apart
        refusal: Denied | None = None
        for issuer in self.issuers:
            try:
                signed = signed_by(SignerIdentity(identity=identity, issuer=issuer), self.verify, offer)
                return signed, statement_of(signed)
            except Denied as denied:
                refusal = denied
            except ValueError:  # of a damaged row: nobody can have such a name
                break
        raise refusal or Denied(Reason.BATCH_INVALID, f"nobody signs as {identity!r}", step=STEP)


def is_signed(row: Row) -> bool:
    """Whether a row is of a signed batch, also when a part of that is gone, or was added to one that is not."""
    return 2 * sum(row[name] is not None for name in SIGNED) >= len(SIGNED)


def _speaks_of(evidence: bytes) -> str:
    """The sidecar that a statement names; nothing is proved of it."""
    try:
        return str(strict_json.load_object(payload_of(evidence))["predicate"]["sidecar"])
    except (ValueError, LookupError, TypeError):
        return ""

"""Signed batches as a sidecar makes them, and a verifier that reads signatures in plain JSON (as conftest's does)."""

import base64
import gzip
import json
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256

from sqlmodel import select

from app.control.plane import DEFAULT_IDENTITY_ISSUER
from app.control.publication import object_key, release_file
from app.control.store import Release
from app.core import merkle
from app.core.batch import BatchStatement, payload_digest
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.governance import control_plane_id
from app.core.reason_codes import Reason
from app.core.targets import SIGNATURE_FILE
from app.core.verification_policy import SignerIdentity

DOMAIN = "placet.internal"
OPA = "sha256:" + "4" * 64
AT = datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC)


def sidecar_id(name, system="payments", domain=DOMAIN):
    return f"spiffe://{domain}/sidecar/{system}/{name}"


def give_release(plane, digest="sha256:" + "1" * 64):
    """The release that conftest's records name, as if it had been published."""
    signature = plain_evidence(b"{}", "dev@example.org")
    row = Release(
        digest=digest,
        revision="r1",
        entrypoint="app/authz/decision",
        roots=["app"],
        signer_identity="dev@example.org",
        signer_issuer="https://accounts.example.org",
        signed_at=AT,
        provenance={},
        bundle_length=1,
        signature_length=len(signature),
        signature_sha256=sha256(signature).hexdigest(),
        attestations_length=0,
        attestations_sha256="0" * 64,
    )
    file = release_file(row.digest, SIGNATURE_FILE, row.signature_sha256, row.signature_length)
    plane.objects.put(object_key(file), signature)
    with plane.store.write() as session:
        session.add(row)
    return signature


def plain_evidence(payload, identity, issuer=DEFAULT_IDENTITY_ISSUER, log_index=7):
    """What stands for a Sigstore bundle: it says who signed."""
    document = {
        "signer": {"identity": identity, "issuer": issuer},
        "dsseEnvelope": {"payload": base64.b64encode(payload).decode()},
        "verificationMaterial": {"tlogEntries": [{"logIndex": str(log_index)}]},
    }
    return json.dumps(document).encode()


def sign_break_plain(says):
    """Signs what is said of a break, as `plain_evidence`."""
    return plain_evidence(says.statement(), control_plane_id(DOMAIN))


def verify_batch_plain(raw, *, subject, policy, step):
    policy.require_somebody()
    try:
        document = json.loads(raw)
        signer = SignerIdentity(**document["signer"])
        statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
        about = [one["digest"]["sha256"] for one in statement["subject"]]
        predicate_type = statement["predicateType"]
        int(document["verificationMaterial"]["tlogEntries"][0]["logIndex"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise Denied(Reason.EVIDENCE_MALFORMED, "not JSON", step=step) from None
    if signer not in policy.identities:
        raise Denied(Reason.EVIDENCE_IDENTITY, f"signed by {signer.identity}", step=step)
    if subject.removeprefix("sha256:") not in about:
        raise Denied(Reason.EVIDENCE_SUBJECT, "about something else", step=step)
    return VerifiedStatement(predicate_type, statement, signer, AT, raw)


@dataclass(frozen=True)
class Made:
    """A batch, of which any part may be replaced."""

    statement: BatchStatement
    raw: bytes
    salts: bytes
    signer: str
    #: In place of the statement's own bytes.
    payload: bytes | None = None
    #: In place of the plain evidence.
    evidence: bytes | None = None

    def change(self, **changes):
        """Another statement about the same bytes."""
        return replace(self, statement=replace(self.statement, **changes))

    def body(self):
        payload = self.payload or self.statement.statement()
        evidence = self.evidence or plain_evidence(payload, self.signer)
        return request(gzip.compress(self.raw, 1), self.salts, evidence)


def request(packed, salts, evidence):
    return {
        "records": base64.b64encode(packed).decode(),
        "salts": base64.b64encode(salts).decode(),
        "evidence": evidence.decode(),
    }


@dataclass
class Chain:
    """The history of one instance of a sidecar: each batch follows the one before."""

    name: str = "one"
    system: str = "payments"
    instance: str = "i1"
    file: str = "000001.log"
    domain: str = DOMAIN
    entry: int = 0
    byte: int = 0
    previous: str | None = None
    #: The time of plain evidence; with real signatures it must be near that of the test.
    closed_at: datetime = AT
    made: list[Made] = field(default_factory=list)

    @property
    def path(self):
        return f"/api/v1/systems/{self.system}/sidecars/{self.name}/batches"

    @property
    def signer(self):
        return sidecar_id(self.name, self.system, self.domain)

    def peek(self, raw, **place):
        """The next batch, which is not taken to have been made."""
        entries = raw[:-1].split(b"\n")
        salts = os.urandom(merkle.SALT * len(entries))
        leaves = [merkle.leaf_hash(salts[16 * n : 16 * n + 16], entry) for n, entry in enumerate(entries)]
        where = {
            "file": self.file,
            "first_entry": self.entry,
            "first_byte": self.byte,
            "previous": self.previous,
            "instance": self.instance,
        }
        statement = BatchStatement.describe(
            **where | place, sidecar=self.signer, entries=entries, leaves=leaves, opa=OPA, closed_at=self.closed_at
        )
        return Made(statement, raw, salts, self.signer)

    def next(self, raw, **place):
        made = self.peek(raw, **place)
        self.follow(made)
        return made

    def follow(self, made):
        statement = made.statement
        self.entry, self.byte, self.file = statement.next_entry, statement.last_byte, statement.file
        self.previous = payload_digest(statement.statement())
        self.made.append(made)

    def send(self, api, made):
        body = made if isinstance(made, dict) else made.body()
        return api.post(self.path, json=body)


def rows(plane, table):
    """All rows of a table."""
    with plane.store.read() as session:
        return list(session.exec(select(table)))

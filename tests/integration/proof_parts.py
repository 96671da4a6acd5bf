"""What proofs are made of before anything is signed: entries, batches, and statements about releases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.core import merkle, statements
from app.core.batch import BatchStatement, payload_digest
from app.core.record_entry import RECORD_TYPE

from .proof_stand import DOMAIN, SIDECAR

OTHER_SIDECAR = f"spiffe://{DOMAIN}/sidecar/payments/b"
STRANGER = "stranger@example.org"

POLICY, OTHER_POLICY = (f"sha256:{sha256(name).hexdigest()}" for name in (b"policy", b"other policy"))
LIBRARY, STATE, OPA = (f"sha256:{sha256(name).hexdigest()}" for name in (b"library", b"state", b"opa"))
CLOSED_AT = datetime(2026, 1, 1, tzinfo=UTC)
COMMIT = "4f1cb57b2c7a7bd7e4c54d0d0e3e3f5f6b6d5b0a"

# ---- entries and batches -----------------------------------------------------------------------------------


#: The execution of whatever names none.
EXECUTION = "an-execution-of-many-verifiers"


def record(number: int, *, allow: bool = True, **result: Any) -> bytes:
    """A decision record as OPA writes it, after masking."""
    answer = {
        "allow": allow,
        "bundles": {"library": LIBRARY, "policy": POLICY},
        "reasons": [] if allow else [{"code": "policy.denied", "message": "The policy denies the request."}],
        "state": STATE,
        "execution": EXECUTION,
        **result,
    }
    return line(number, path="placet/decision", result=answer)


def line(number: int, **members: Any) -> bytes:
    whole = {
        "bundles": {},
        "decision_id": f"00000000-0000-4000-8000-{number:012x}",
        "input": {"action": {"name": "refund"}, "resource": {"id": f"p-{number}", "type": "payment"}},
        "labels": {"id": "3f1b", "version": "1.22.2"},
        "level": "info",
        "msg": "Decision Log",
        "timestamp": "2026-01-01T00:00:00.123456789Z",
        "type": RECORD_TYPE,
        **members,
    }
    return json.dumps(dict(sorted(whole.items())), separators=(",", ":"), ensure_ascii=False).encode()


START = {
    "decision": {
        "allow": True,
        "bundles": {"library": LIBRARY, "policy": POLICY},
        "state": STATE,
        "execution": EXECUTION,
    },
    "claims": {},
}
#: Deeper than parsers that recurse can follow; OPA takes and records 10,000.
DEEP = record(5).replace(b'"input":{', b'"input":{"context":{"a":' + b"[" * 3000 + b"]" * 3000 + b"},")

#: The batch of which most proofs are: seven entries, so that paths have different lengths.
ENTRIES = [
    record(0),
    record(1, allow=False),
    b"2026/01/01 00:00:00 http: TLS handshake error from 127.0.0.1:1: EOF",
    record(3, allow=False, bundles={"library": LIBRARY, "policy": None}, state=None),
    line(4, path="placet/start", result=START),
    DEEP,
    record(6, execution=None, reasons=[{"code": "policy:note", "message": '\u20ac \u2028 \U0001f600 "\\'}]),
]
NAMES = ["allow", "deny", "message", "no-policy", "start", "deep", "last"]


def salts(count: int) -> list[bytes]:
    return [sha256(b"salt %d" % number).digest()[:16] for number in range(count)]


def leaves(entries: list[bytes]) -> list[bytes]:
    return [merkle.leaf_hash(salt, entry) for salt, entry in zip(salts(len(entries)), entries, strict=True)]


def batch(entries: list[bytes] = ENTRIES, **changed: Any) -> BatchStatement:
    return BatchStatement.describe(
        **{
            "sidecar": SIDECAR,
            "instance": "0f" * 16,
            "file": "00000001.log",
            "first_entry": 0,
            "first_byte": 0,
            "entries": entries,
            "leaves": leaves(entries),
            "previous": None,
            "opa": OPA,
            "closed_at": CLOSED_AT,
            **changed,
        }
    )


def following(before: BatchStatement, entries: list[bytes], **changed: Any) -> BatchStatement:
    previous = payload_digest(before.statement())
    return batch(entries, first_entry=before.next_entry, first_byte=before.last_byte, previous=previous, **changed)


MANY = [record(number, allow=number % 3 > 0) for number in range(1000)]
SINGLE = [record(7)]
#: What no decision says: that it allows, and no policy did.
NAMELESS = [record(8, bundles={"library": LIBRARY, "policy": None})]


# ---- releases ----------------------------------------------------------------------------------------------


def provenance(digest: str) -> bytes:
    sources = [
        {"uri": "git+https://git.example.org/policies", "digest": {"gitCommit": COMMIT}},
        statements.resource("payments/authz.rego", f"sha256:{sha256(b'rego').hexdigest()}"),
    ]
    times = {"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z"}
    return statements.provenance(
        statements.resource("payments.tar.gz", digest), sources=sources, manifest={"roots": ["payments"]}, **times
    )


def link(digest: str) -> bytes:
    products = [statements.resource("payments.tar.gz", digest)]
    return statements.link("build", command=["placet", "bundle", "build"], materials=[], products=products)


def tests(digest: str) -> bytes:
    return statements.statement(
        [statements.resource("payments.tar.gz", digest)],
        "https://in-toto.io/attestation/test-result/v0.1",
        {"result": "PASSED", "configuration": [], "passedTests": ["test_refund"], "warnedTests": [], "failedTests": []},
    )

"""What a forger may try on a Sigstore bundle: each change with the reason for which our verifier refuses it.

Many of these pass one library or another: docs/proof.md has the checks that are ours.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sigstore._internal.timestamp import TimestampAuthorityClient

from app.core import strict_json
from app.core.reason_codes import Reason

from .proof_stand import Stand
from .release_kit import at

Document = dict[str, Any]
Edit = Callable[[Document], object]


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def evidence_changes(stand: Stand, other: Document) -> Iterator[tuple[str, Edit, Reason]]:
    """Changes of a Sigstore bundle. `other` is another good one by the same certificate."""
    invalid, malformed = Reason.EVIDENCE_INVALID, Reason.EVIDENCE_MALFORMED

    def entry(bundle: Document) -> Document:
        return bundle["verificationMaterial"]["tlogEntries"][0]

    def log_proof(bundle: Document) -> Document:
        return entry(bundle)["inclusionProof"]

    def plus(document: Document, name: str, more: int = 1) -> None:
        document[name] = str(int(document.get(name, "0")) + more)

    def both(bundle: Document) -> None:
        plus(entry(bundle), "logIndex")
        plus(log_proof(bundle), "logIndex")

    yield "logIndex", lambda bundle: plus(entry(bundle), "logIndex"), invalid
    yield "logIndex of the proof", lambda bundle: plus(log_proof(bundle), "logIndex"), invalid
    yield "both logIndex", both, invalid
    yield "treeSize", lambda bundle: plus(log_proof(bundle), "treeSize"), invalid
    yield "treeSize of one", lambda bundle: log_proof(bundle).update(treeSize="1"), invalid
    yield "rootHash", lambda bundle: log_proof(bundle).update(rootHash=b64(bytes(32))), invalid
    yield "no hashes", lambda bundle: log_proof(bundle).update(hashes=[]), invalid
    yield "hashes turned round", lambda bundle: _turned_round(log_proof(bundle)["hashes"]), invalid
    yield "a hash more", lambda bundle: log_proof(bundle)["hashes"].append(b64(bytes(32))), invalid
    yield "log id", lambda bundle: entry(bundle)["logId"].update(keyId=b64(bytes(32))), invalid
    yield "an empty log id", lambda bundle: entry(bundle)["logId"].update(keyId=""), invalid
    promise = {"signedEntryTimestamp": b64(b"x" * 70)}
    yield "a promise", lambda bundle: entry(bundle).update(inclusionPromise=promise), invalid
    yield "a time of the log", lambda bundle: entry(bundle).update(integratedTime="1700000000"), invalid
    yield (
        "a promise and a time",
        lambda bundle: entry(bundle).update(inclusionPromise=promise, integratedTime="1700000000"),
        invalid,
    )
    version = {"kind": "dsse", "version": "0.0.1"}
    yield "kindVersion of Rekor v1", lambda bundle: entry(bundle).update(kindVersion=version), invalid
    yield (
        "all of Rekor v1",
        lambda bundle: entry(bundle).update(kindVersion=version, inclusionPromise=promise, integratedTime="1700000000"),
        invalid,
    )
    yield "an unknown kindVersion", lambda bundle: entry(bundle)["kindVersion"].update(version="0.0.3"), invalid
    yield from _checkpoint_changes(stand, log_proof)
    yield from _timestamp_changes(stand, other)

    for place in ("canonicalizedBody", "inclusionProof"):
        yield (
            f"{place} of another",
            lambda bundle, place=place: entry(bundle).update({place: entry(other)[place]}),
            invalid,
        )
    yield (
        "the log entry of another",
        lambda bundle: bundle["verificationMaterial"].update(tlogEntries=other["verificationMaterial"]["tlogEntries"]),
        invalid,
    )
    yield (
        "the signature of another",
        lambda bundle: bundle["dsseEnvelope"].update(signatures=other["dsseEnvelope"]["signatures"]),
        invalid,
    )
    yield "the payload changed", _payload_changed, invalid

    material, envelope = ("verificationMaterial",), ("dsseEnvelope",)
    logged = (*material, "tlogEntries", 0)
    objects = {
        "the bundle": (),
        "verificationMaterial": material,
        "the certificate": (*material, "certificate"),
        "timestampVerificationData": (*material, "timestampVerificationData"),
        "the timestamp": (*material, "timestampVerificationData", "rfc3161Timestamps", 0),
        "the log entry": logged,
        "logId": (*logged, "logId"),
        "kindVersion": (*logged, "kindVersion"),
        "inclusionProof": (*logged, "inclusionProof"),
        "the checkpoint": (*logged, "inclusionProof", "checkpoint"),
        "the envelope": envelope,
        "the signature": (*envelope, "signatures", 0),
    }
    for what, path in objects.items():
        yield f"an unknown member of {what}", lambda bundle, path=path: at(bundle, path).update(extra="x"), malformed
    texts = {
        "the certificate": (*material, "certificate", "rawBytes"),
        "the timestamp": (*material, "timestampVerificationData", "rfc3161Timestamps", 0, "signedTimestamp"),
        "logId": (*logged, "logId", "keyId"),
        "canonicalizedBody": (*logged, "canonicalizedBody"),
        "rootHash": (*logged, "inclusionProof", "rootHash"),
        "a hash": (*logged, "inclusionProof", "hashes", 0),
        "the payload": (*envelope, "payload"),
        "the signature": (*envelope, "signatures", 0, "sig"),
    }
    for what, path in texts.items():
        for named, junk in (("junk", "!"), ("a line break", "\n"), ("padding", "=")):

            def spoil(bundle: Document, path: Any = path, junk: str = junk) -> None:
                text = at(bundle, path)
                at(bundle, path[:-1])[path[-1]] = text[:4] + junk + text[4:]

            yield f"{named} in the base64 of {what}", spoil, malformed
    yield (
        "another media type",
        lambda bundle: bundle.update(mediaType=bundle["mediaType"].replace("0.3", "0.2")),
        malformed,
    )
    yield "a key id", lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(keyid="a"), malformed
    yield "two signatures", lambda bundle: _double(bundle["dsseEnvelope"]["signatures"]), malformed
    yield "two log entries", lambda bundle: _double(bundle["verificationMaterial"]["tlogEntries"]), malformed
    yield "no log entry", lambda bundle: bundle["verificationMaterial"].update(tlogEntries=[]), malformed
    yield "no checkpoint", lambda bundle: log_proof(bundle).pop("checkpoint"), malformed
    yield "no inclusion proof", lambda bundle: entry(bundle).pop("inclusionProof"), malformed
    yield "another payload type", lambda bundle: bundle["dsseEnvelope"].update(payloadType="text/plain"), invalid


def _turned_round(hashes: list[str]) -> None:
    """A path may have one hash alone, of which the other direction is the same."""
    hashes[:] = hashes[::-1] if len(hashes) > 1 else [b64(base64.b64decode(hashes[0])[::-1])]


def _double(one: list[Any]) -> None:
    one.append(copy.deepcopy(one[0]))


def _payload_changed(bundle: Document) -> None:
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["extra"] = "x"
    bundle["dsseEnvelope"]["payload"] = b64(strict_json.canonical(statement))


def _checkpoint_changes(stand: Stand, log_proof: Callable[[Document], Document]) -> Iterator[tuple[str, Edit, Reason]]:
    """Checkpoints that are cut, of another log, or signed anew with the log's own key."""
    key = load_pem_private_key((stand.sigstore.directory / "keys" / "rekor.key.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)

    def note(bundle: Document) -> tuple[str, str]:
        text, signature = log_proof(bundle)["checkpoint"]["envelope"].split("\n\n")
        return text + "\n", signature

    def put(bundle: Document, text: str, signature: str) -> None:
        log_proof(bundle)["checkpoint"]["envelope"] = f"{text}\n{signature}"

    def sign_anew(bundle: Document, change: Callable[[str], str], name: str | None = None) -> None:
        text, signature = note(bundle)
        _, signer, blob = signature.split()
        text = change(text)
        hint = base64.b64decode(blob)[:4]
        put(bundle, text, f"\u2014 {name or signer} {b64(hint + key.sign(text.encode()))}\n")

    def line(number: int, value: str) -> Callable[[str], str]:
        def change(text: str) -> str:
            lines = text.split("\n")
            lines[number] = value
            return "\n".join(lines)

        return change

    def larger(bundle: Document) -> str:
        return str(int(log_proof(bundle)["treeSize"]) + 1)

    def grown(bundle: Document) -> None:
        """By so much that a path must be longer. By one, the log's key can say what it likes: monitors compare."""
        sign_anew(bundle, line(1, "1000000"))
        log_proof(bundle)["treeSize"] = "1000000"

    def other_root(bundle: Document) -> None:
        sign_anew(bundle, line(2, b64(sha256(b"x").digest())))

    invalid = Reason.EVIDENCE_INVALID
    foreign = "rekor.example.org"
    yield "another origin", lambda bundle: put(bundle, line(0, foreign)(note(bundle)[0]), note(bundle)[1]), invalid
    yield "another origin, signed anew", lambda bundle: sign_anew(bundle, line(0, foreign)), invalid
    yield "another origin and signer, signed anew", lambda bundle: sign_anew(bundle, line(0, foreign), foreign), invalid
    yield "another signer, signed anew", lambda bundle: sign_anew(bundle, lambda text: text, foreign), invalid
    yield (
        "an origin that goes on, signed anew",
        lambda bundle: sign_anew(bundle, lambda text: text.replace("\n", ".example.org\n", 1)),
        invalid,
    )
    yield "a larger checkpoint, signed anew", lambda bundle: sign_anew(bundle, line(1, larger(bundle))), invalid
    yield "a larger tree, signed anew", grown, invalid
    yield "a checkpoint of another root, signed anew", other_root, invalid
    yield "a size with a zero before, signed anew", lambda bundle: sign_anew(bundle, _zero_before), invalid
    yield "a checkpoint without signature", lambda bundle: put(bundle, note(bundle)[0], ""), invalid
    yield (
        "a checkpoint of a stranger's signature",
        lambda bundle: put(bundle, note(bundle)[0], f"\u2014 {foreign} {b64(bytes(68))}\n"),
        invalid,
    )
    yield "junk behind the checkpoint", lambda bundle: put(bundle, note(bundle)[0], note(bundle)[1] + "junk\n"), invalid


def _zero_before(text: str) -> str:
    lines = text.split("\n")
    lines[1] = "0" + lines[1]
    return "\n".join(lines)


def _timestamp_changes(stand: Stand, other: Document) -> Iterator[tuple[str, Edit, Reason]]:
    client = TimestampAuthorityClient(f"{stand.sigstore.urls['tsa']}/api/v1/timestamp")

    def data(bundle: Document) -> Document:
        return bundle["verificationMaterial"]["timestampVerificationData"]

    def later(bundle: Document) -> None:
        stamp = client.request_timestamp(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
        data(bundle)["rfc3161Timestamps"].append({"signedTimestamp": b64(stamp.as_bytes())})

    invalid = Reason.EVIDENCE_INVALID
    yield "a late second timestamp", later, invalid
    yield "the same timestamp twice", lambda bundle: _double(data(bundle)["rfc3161Timestamps"]), invalid
    yield "no timestamp", lambda bundle: data(bundle).update(rfc3161Timestamps=[]), invalid
    yield (
        "the timestamp of another",
        lambda bundle: data(bundle).update(rfc3161Timestamps=data(other)["rfc3161Timestamps"]),
        invalid,
    )

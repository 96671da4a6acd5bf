"""What a forger may try on a proof file; the reasons are those for which our verifier refuses it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256

from app.core import merkle, strict_json
from app.core.reason_codes import Reason

from .evidence_tampering import Document, Edit, b64


def edited(raw: bytes, edit: Edit) -> bytes:
    """A proof with something of it changed, written as every proof is."""
    document = json.loads(raw)
    edit(document)
    return strict_json.canonical(document)


def raw_changes(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The same document, or nearly, in other bytes."""
    yield "pretty", json.dumps(json.loads(raw), indent=2, sort_keys=True).encode()
    yield "a newline at the end", raw + b"\n"
    yield "a space before", b" " + raw
    yield "a byte order mark", b"\xef\xbb\xbf" + raw
    yield (
        "members in another order",
        json.dumps(dict(reversed(json.loads(raw).items())), separators=(",", ":")).encode(),
    )
    yield "an escape", raw.replace(b'"format"', b'"\\u0066ormat"')
    yield "a slash escaped", raw.replace(b"https://", b"https:\\/\\/", 1)
    yield "half of it", raw[: len(raw) // 2]
    yield "nothing", b""
    yield "a list", b"[]"
    yield "not UTF-8", raw.replace(b'"index"', b'"ind\xffex"')
    yield "another file behind it", raw * 2
    for name in (b"format", b"record", b"leaf", b"index", b"treeSize", b"logIndex", b"payload", b"digest", b"sig"):
        at = raw.index(b'"%b":' % name)
        value = raw[at : raw.index(b",", at)].rstrip(b"}]")
        yield f"{name.decode()} twice", raw[:at] + value + b"," + raw[at:]
        yield f"{name.decode()} twice, the first null", raw[:at] + b'"%b":null,' % name + raw[at:]


def form_changes() -> Iterator[tuple[str, Edit]]:
    """Members that are missing, unknown, or of another form."""
    for name in ("format", "record", "salt", "leaf", "index", "path", "batch", "release"):
        yield f"without {name}", lambda proof, name=name: proof.pop(name)
        yield f"{name} is a number", lambda proof, name=name: proof.update({name: 1})
        if name not in {"record", "salt"}:  # an entry may be empty
            yield f"{name} is empty", lambda proof, name=name: proof.update({name: ""})
    yield "an unknown member", lambda proof: proof.update(comment="")
    yield "an unknown member of the release", lambda proof: proof["release"].update(name="")
    yield "another format", lambda proof: proof.update(format="https://placet.dev/proof/v2")
    yield "a member in capitals", lambda proof: proof.update(Record=proof["record"])
    yield "an erased record with its salt", lambda proof: proof.update(record=None, release=None)
    yield "a record without its salt", lambda proof: proof.update(salt=None)
    yield "an erased record with a release", lambda proof: proof.update(record=None, salt=None)
    yield "junk in base64", lambda proof: proof.update(record=proof["record"][:8] + "\n" + proof["record"][8:])
    yield "base64 of another alphabet", lambda proof: proof.update(salt="-_" + proof["salt"][2:])
    yield "base64 with bits to spare", _bits_to_spare
    yield "base64 without padding", lambda proof: proof.update(salt=proof["salt"].rstrip("="))
    yield "a leaf in capitals", lambda proof: proof.update(leaf="AB" + proof["leaf"][2:])
    yield "a leaf cut short", lambda proof: proof.update(leaf=proof["leaf"][:-2])
    yield "an index with a zero before", lambda proof: proof.update(index="0" + proof["index"])
    yield "an index below zero", lambda proof: proof.update(index="-1")
    yield "an index as a number", lambda proof: proof.update(index=int(proof["index"]))
    yield "an index beyond all", lambda proof: proof.update(index="9" * 30)
    yield "a path of capitals", lambda proof: proof.update(path=["AB" + proof["path"][0][2:], *proof["path"][1:]])
    yield "a hash cut short", lambda proof: proof.update(path=[proof["path"][0][:-2], *proof["path"][1:]])
    yield "a path of 100", lambda proof: proof.update(path=["0" * 64] * 100)
    yield "a digest without its name", lambda proof: proof["release"].update(digest=proof["release"]["digest"][7:])
    yield "66 pieces of evidence", lambda proof: proof["release"].update(evidence=proof["release"]["evidence"][:1] * 66)
    yield "evidence as text", lambda proof: proof.update(batch=json.dumps(proof["batch"]))


def _bits_to_spare(proof: Document) -> None:
    """Of the last character before the padding, lenient decoders drop four bits."""
    proof["salt"] = proof["salt"][:-3] + chr(ord(proof["salt"][-3]) + 1) + "=="


def leaf_and_path_changes(hashes: list[bytes], others: list[Document]) -> Iterator[tuple[str, Edit, Reason]]:
    """`others` are good proofs of other records of the same batch; `hashes` the batch's leaves."""
    leaf, path = Reason.PROOF_LEAF, Reason.PROOF_PATH
    one = others[0]

    def border_moved(proof: Document) -> None:
        salt, record = base64.b64decode(proof["salt"]), base64.b64decode(proof["record"])
        proof.update(salt=b64(salt + record[:1]), record=b64(record[1:]))

    def node_as_leaf(proof: Document) -> None:
        """A node of the tree is no leaf, though the path above it leads to the root."""
        left, right = sorted([proof["leaf"], proof["path"][0]], key=lambda hash_: hash_ != proof["leaf"])
        node = sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()
        proof.update(record=None, salt=None, release=None, leaf=node, path=proof["path"][1:])

    yield "another record", lambda proof: proof.update(record=one["record"]), leaf
    yield "a changed record", lambda proof: proof.update(record=b64(base64.b64decode(proof["record"]) + b" ")), leaf
    yield "another salt", lambda proof: proof.update(salt=one["salt"]), leaf
    yield "salt and record of another", lambda proof: proof.update(salt=one["salt"], record=one["record"]), leaf
    yield "another leaf", lambda proof: proof.update(leaf=one["leaf"]), leaf
    yield "the border of salt and record moved", border_moved, leaf
    yield "an empty record", lambda proof: proof.update(record=""), leaf
    yield "a salt of no bytes", lambda proof: proof.update(salt=""), leaf
    yield (
        "leaf, salt and record of another",
        lambda proof: proof.update({name: one[name] for name in ("leaf", "salt", "record")}),
        path,
    )
    yield "the path of another", lambda proof: proof.update(path=others[1]["path"]), path
    yield "a path turned round", lambda proof: proof["path"].reverse(), path
    yield "a hash of the path changed", lambda proof: proof["path"].__setitem__(0, "0" * 64), path
    yield "a path that is too short", lambda proof: proof["path"].pop(), path
    yield "a path that is too long", lambda proof: proof["path"].append("0" * 64), path
    yield "no path", lambda proof: proof.update(path=[]), path
    yield "a node as a leaf", node_as_leaf, path
    yield "another index", lambda proof: proof.update(index="1"), path
    yield "an index of another path's length", lambda proof: proof.update(index=str(len(hashes) - 1)), path
    yield "an index outside", lambda proof: proof.update(index=str(len(hashes))), Reason.PROOF_BATCH
    yield (
        "an erased record's other leaf",
        lambda proof: proof.update(record=None, salt=None, release=None, leaf=merkle.leaf_hash(bytes(16), b"").hex()),
        path,
    )

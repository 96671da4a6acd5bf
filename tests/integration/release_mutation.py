"""Random changes to a release: its bytes, its JSON, what base64 hides in it, its tar, and how its parts go together.

`mutated` gives one change and its name. `meaning` tells changes that mean something from those that are void; what is
void stands in test_release_mutations.py.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from . import release_mutation_archive as archived
from .release_kit import at, places, replaced
from .release_mutation_json import member, raw_json, scrambled, swapped, twice, wrapped

ECDSA_WITH_SHA256 = bytes.fromhex("2a8648ce3d040302")


@dataclass(frozen=True)
class Parts:
    """A release as it lies in files."""

    bundle: bytes
    signature: bytes
    attestations: tuple[bytes, ...]

    def evidence(self) -> list[bytes]:
        return [self.signature, *self.attestations]

    def with_evidence(self, number: int, raw: bytes) -> Parts:
        if number == 0:
            return replace(self, signature=raw)
        changed = list(self.attestations)
        changed[number - 1] = raw
        return replace(self, attestations=tuple(changed))


def mutated(parts: Parts, others: Parts, chance: random.Random) -> tuple[str, Parts]:
    """A change of the release, and its name. `others` is another valid release of the same signers."""
    kind = chance.choice(list(KINDS))
    return kind, KINDS[kind](parts, others, chance)


# ---- evidence --------------------------------------------------------------------------------------------------


def _of_document(change: Callable[[Any, Any, random.Random], Any]) -> Callable[[Parts, Parts, random.Random], Parts]:
    """A change of one piece of evidence as JSON; it may give bytes as well."""

    def changed(parts: Parts, others: Parts, chance: random.Random) -> Parts:
        number = chance.randrange(len(parts.evidence()))
        document, other = json.loads(parts.evidence()[number]), json.loads(chance.choice(others.evidence()))
        found = change(document, other, chance)
        return parts.with_evidence(number, found if isinstance(found, bytes) else json.dumps(found).encode())

    return changed


def _foreign(document: Any, other: Any, chance: random.Random) -> Any:
    path = chance.choice([one for one in places(document)[1:] if one in places(other)])
    return replaced(document, path, at(other, path))


def _number(document: Any, _: Any, chance: random.Random) -> Any:
    path = chance.choice([path for path in places(document) if str(at(document, path)).isdecimal()])
    number = int(at(document, path))
    return replaced(
        document,
        path,
        chance.choice([str(number + 1), str(abs(number - 1)), str(number + 2**32), number, f"0{number}"]),
    )


ENCODED = {"rawBytes", "keyId", "rootHash", "canonicalizedBody", "signedTimestamp", "payload", "sig"}


def _encoded(document: Any, chance: random.Random) -> tuple[tuple[Any, ...], bytes]:
    """A place that holds base64, and what it means."""
    hashes = [path for path in places(document) if len(path) > 1 and path[-2] == "hashes"]
    path = chance.choice([*(one for one in places(document) if one and one[-1] in ENCODED), *hashes])
    return path, base64.b64decode(at(document, path))


def _decoded(document: Any, _: Any, chance: random.Random) -> Any:
    """Certificates, timestamps, signatures and hashes, changed below their base64."""
    path, raw = _encoded(document, chance)
    return replaced(document, path, base64.b64encode(scrambled(raw, chance)).decode())


def _length(document: Any, _: Any, chance: random.Random) -> Any:
    """A length or a tag of DER, as parsers meet it."""
    path, raw = _encoded(document, chance)
    changed = bytearray(raw)
    where = chance.choice([at for at, byte in enumerate(raw) if byte in (0x30, 0x31, 0x02, 0x04, 0xA0, 0xA3)] or [0])
    if where + 1 < len(changed):
        changed[where + chance.randrange(2)] = chance.choice([0, 1, 0x7F, 0x80, 0x81, 0x84, 0xFF, 0x30])
    return replaced(document, path, base64.b64encode(changed).decode())


def _inner(document: Any, _: Any, chance: random.Random) -> Any:
    """The statement, or the body that the log holds, changed as JSON."""
    path = chance.choice([one for one in places(document) if one and one[-1] in ("payload", "canonicalizedBody")])
    inner = json.loads(base64.b64decode(at(document, path)))
    below = chance.choice([raw_json, member, twice, wrapped, swapped])(inner, None, chance)
    raw = below if isinstance(below, bytes) else json.dumps(below).encode()
    return replaced(document, path, base64.b64encode(raw).decode())


def _checkpoint(document: Any, other: Any, chance: random.Random) -> Any:
    path = ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "checkpoint", "envelope")
    lines, theirs = at(document, path).split("\n"), at(other, path).split("\n")
    where = chance.randrange(len(lines))
    how = chance.randrange(5)
    if how == 0:
        lines[where] = scrambled(lines[where].encode() or b" ", chance).decode(errors="replace")
    elif how == 1:
        del lines[where]
    elif how == 2:
        lines.insert(where, chance.choice(lines))
    elif how == 3:
        lines[where] = chance.choice(theirs)
    else:
        chance.shuffle(lines)
    return replaced(document, path, "\n".join(lines))


def _proof(document: Any, _: Any, chance: random.Random) -> Any:
    path = ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "hashes")
    hashes = list(at(document, path))
    how = chance.randrange(4)
    if how == 0 and hashes:
        del hashes[chance.randrange(len(hashes))]
    elif how == 1:
        hashes.insert(chance.randrange(len(hashes) + 1), base64.b64encode(chance.randbytes(32)).decode())
    elif how == 2 and len(hashes) > 1:
        hashes.reverse()
    else:
        hashes *= chance.choice([0, 2, 64])
    return replaced(document, path, hashes)


# ---- how the parts go together ------------------------------------------------------------------------------------


def _assembled(parts: Parts, others: Parts, chance: random.Random) -> Parts:
    mine, theirs = list(parts.attestations), list(others.attestations)
    where = chance.randrange(len(mine))
    rest = tuple(mine[:where] + mine[where + 1 :])
    return chance.choice(
        [
            replace(parts, attestations=rest),
            replace(parts, attestations=()),
            replace(parts, signature=mine[where], attestations=rest),
            replace(parts, signature=b""),
            replace(parts, signature=others.signature),
            replace(parts, attestations=(*rest, chance.choice(theirs))),
            replace(parts, attestations=(*mine, chance.choice(theirs))),
            replace(parts, attestations=(*mine, b"{}")),
            replace(parts, attestations=(*mine, parts.signature + parts.signature)),
            replace(parts, attestations=tuple(mine * 30)),
            replace(parts, bundle=others.bundle),
            replace(others, bundle=parts.bundle),
            replace(parts, signature=parts.bundle, bundle=parts.signature),
        ]
    )


def _of_bundle(change: Callable[[bytes, random.Random], bytes]) -> Callable[[Parts, Parts, random.Random], Parts]:
    """A change of the bundle alone."""
    return lambda parts, _, chance: replace(parts, bundle=change(parts.bundle, chance))


KINDS: dict[str, Callable[[Parts, Parts, random.Random], Parts]] = {
    "bytes of the JSON": _of_document(raw_json),
    "a member": _of_document(member),
    "a member twice": _of_document(twice),
    "a value wrapped": _of_document(wrapped),
    "two values swapped": _of_document(swapped),
    "a value of another bundle": _of_document(_foreign),
    "a number": _of_document(_number),
    "bytes below base64": _of_document(_decoded),
    "lengths below base64": _of_document(_length),
    "the statement or the log's body": _of_document(_inner),
    "the checkpoint": _of_document(_checkpoint),
    "the proof": _of_document(_proof),
    "the parts": _assembled,
    "bytes of the gzip": _of_bundle(archived.of_gzip),
    "bytes of the tar": _of_bundle(archived.of_tar),
    "a header of the tar": _of_bundle(archived.of_header),
    "files of the tar": _of_bundle(archived.of_entries),
    "manifest and data": _of_bundle(archived.of_metadata),
}


# ---- what is void ------------------------------------------------------------------------------------------------


def meaning(parts: Parts) -> tuple[bytes, frozenset[str]]:
    """What a release says, without what nobody signed and nobody could read differently."""
    return parts.bundle, frozenset(_meaning(json.loads(one)) for one in parts.evidence())


def _meaning(document: Any) -> str:
    for entry in document["verificationMaterial"]["tlogEntries"]:
        if entry.get("integratedTime") == "0":
            del entry["integratedTime"]
        proof = entry["inclusionProof"]
        if proof.get("hashes") == []:
            del proof["hashes"]
        text, _, signatures = proof["checkpoint"]["envelope"].partition("\n\n")
        origin = text.split("\n")[0]
        own = sorted({line for line in signatures.split("\n") if line.startswith(f"\u2014 {origin} ")})
        proof["checkpoint"]["envelope"] = [text, *own]
    for stamp in document["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]:
        raw = base64.b64decode(stamp["signedTimestamp"])
        # By its place: a changed name cannot be found.
        stamp["signedTimestamp"] = [len(raw), *(byte for where, byte in enumerate(raw) if where not in _algorithm(raw))]
    for signature in document["dsseEnvelope"]["signatures"]:
        if signature.get("keyid") == "":
            del signature["keyid"]
    return json.dumps(document, sort_keys=True)


def _algorithm(raw: bytes) -> range:
    """Where the name of the signature's algorithm stands: before the signature, which ends a timestamp."""
    # SEQUENCE { OID }, OCTET STRING { SEQUENCE … } to the end.
    for where in range(len(raw) - 2, 0, -1):
        if raw[where] == 0x04 and where + 2 + raw[where + 1] == len(raw) and raw[where + 2] == 0x30:
            return range(where - len(ECDSA_WITH_SHA256), where)
    return range(0)

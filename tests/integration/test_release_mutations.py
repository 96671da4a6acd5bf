"""One change anywhere in signed evidence, and it no longer verifies: structured mutations of real Sigstore bundles.

What follows is void, and is meant to be: it changes nothing that anybody signed and nothing that readers could
understand differently. Nothing else may verify.

- white space between the tokens of the JSON, and the order of members;
- `integratedTime: "0"`, `keyid: ""` and empty `hashes` of a path of no hashes, or their absence: both spell
  protobuf's default;
- a further signature line in the checkpoint, by another key: witnesses cosign so;
- in a timestamp, the name of the signature's algorithm: CMS does not sign it, OpenSSL does not read it, and the time
  stays what was signed.
"""

import base64
import json
import random
import string
import time

import pytest

from app.core.errors import Denied
from app.core.reason_codes import Reason

from .release_kit import at, places, replaced, signed_release, without

pytestmark = pytest.mark.stack

LIMIT = 1.0  # seconds of CPU that any one verification may take


@pytest.fixture(scope="module")
def release(sigstore, opa_binary):
    return signed_release(sigstore, opa_binary)


@pytest.fixture(scope="module")
def attempt(release):
    """Whether evidence verifies as the signature of the release. Anything but `Denied` fails the test."""
    from app.core.bundle import digest_of
    from app.core.evidence import verify_evidence

    digest = digest_of(release.bundle)

    def verifies(evidence):
        raw = evidence if isinstance(evidence, bytes) else json.dumps(evidence).encode()
        began = time.thread_time()
        try:
            verify_evidence(raw, subject=digest, policy=release.policy, trust=release.trust, step="signature")
            said = None
        except Denied as denied:
            said = str(denied)
        assert time.thread_time() - began < LIMIT
        assert said is None or "\n" not in said
        return said is None

    return verifies


@pytest.fixture(scope="module")
def document(release):
    return json.loads(release.signature)


@pytest.fixture(scope="module")
def others(release):
    """Valid bundles of the same signer: of another artifact, and of this one with another statement."""
    return [json.loads(release.other_signature), json.loads(release.attestation)]


def test_the_release_verifies(release, attempt, document):
    assert attempt(document)
    assert release.verify().signer.identity == "dev@example.org"


def test_a_timestamp_of_another_signature_is_told_as_such(release, document, others):
    signature = ("dsseEnvelope", "signatures", 0, "sig")
    with pytest.raises(Denied) as denied:
        release.verify(signature=json.dumps(replaced(document, signature, at(others[0], signature))).encode())
    assert denied.value.reason == Reason.EVIDENCE_INVALID
    assert denied.value.detail == "the timestamp is not of this signature"
    assert denied.value.field == "rfc3161Timestamps"


def test_every_member_is_needed(attempt, document):
    survived = [path for path in places(document)[1:] if attempt(without(document, path))]
    assert [path[-1] for path in survived] == ["integratedTime"]


def test_no_member_may_have_another_type_or_value(attempt, document):
    survived = []
    for path in places(document):
        value = at(document, path)
        for wrong in (None, True, 0, 1, -1, 1.5, "", "0", "A", [], {}, [value], {"a": value}, [value, value]):
            if wrong != value and attempt(replaced(document, path, wrong)):
                survived.append((path, wrong))
    assert survived == []


def test_no_member_may_stand_twice(attempt, document):
    text = json.dumps(document)
    survived = []
    for path in places(document):
        if path and isinstance(path[-1], str):
            member = f'"{path[-1]}": {json.dumps(at(document, path))}'
            assert text.count(member) >= 1
            for twice in (f"{member}, {member}", f'"{path[-1]}": null, {member}'):
                survived += [path] if attempt(text.replace(member, twice, 1).encode()) else []
    assert survived == []


def test_no_member_may_be_added(attempt, document):
    survived = []
    for path in places(document):
        value = at(document, path)
        if isinstance(value, dict):
            for name in ("extra", "publicKey", *(one.capitalize() for one in value), *(one.upper() for one in value)):
                if name not in value and attempt(replaced(document, path, {**value, name: "x"})):
                    survived.append((path, name))
        if isinstance(value, list):
            survived += [
                path for more in (value * 2, [*value, {}], [*value, None]) if attempt(replaced(document, path, more))
            ]
    assert survived == []


BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"


def other_character(character):
    """Another one by its lowest bit, which lenient decoders of base64 drop before padding."""
    return BASE64[BASE64.index(character) ^ 1] if character in BASE64 else "A"


def test_no_character_may_change(attempt, document):
    """At many places of every string, not only at its ends: certificates and timestamps are long."""
    survived = []
    for path in places(document):
        value = at(document, path)
        if isinstance(value, str) and value and path[-1] != "signedTimestamp":
            for where in {
                0,
                1,
                len(value) // 2,
                len(value) - 4,
                len(value) - 3,
                len(value) - 2,
                len(value) - 1,
                *range(7, len(value), 61),
            } & set(range(len(value))):
                changed = value[:where] + other_character(value[where]) + value[where + 1 :]
                survived += [(path, where)] if attempt(replaced(document, path, changed)) else []
            for changed in (value[:-1], value[1:], value + value[-1], value + "\n", " " + value, value.swapcase()):
                if changed != value and attempt(replaced(document, path, changed)):
                    survived.append((path, changed))
    assert survived == []


def test_no_number_may_change(attempt, document):
    survived = []
    for path in places(document):
        value = at(document, path)
        if isinstance(value, str) and value.isdecimal():
            number = int(value)
            for changed in (
                str(number + 1),
                str(max(number - 1, 0)),
                "0",
                str(2**63 - 1),
                str(2**64),
                number,
                f"0{value}",
                f"-{value}",
                f"{value}.0",
                f" {value}",
                f"{value}e0",
            ):
                if changed != value and attempt(replaced(document, path, changed)):
                    survived.append((path, changed))
    assert survived == []


def test_nothing_may_come_from_another_valid_bundle(attempt, document, others):
    survived = []
    for other in others:
        for path in places(document):
            try:
                theirs = at(other, path)
            except (KeyError, IndexError):
                continue
            if theirs != at(document, path) and attempt(replaced(document, path, theirs)):
                survived.append(path)
    # The same certificate signed all three, and the whole other bundle about this artifact is valid by itself.
    assert survived == [()]


def test_a_hash_of_the_proof_may_not_be_missing_moved_or_doubled(attempt, document):
    path = ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "hashes")
    hashes = at(document, path)
    assert hashes
    for wrong in ([], hashes[1:], hashes[:-1], hashes * 2, [*hashes, hashes[0]], [hashes[0][::-1], *hashes[1:]]):
        if wrong != hashes:
            assert not attempt(replaced(document, path, wrong))


def test_rekor_v2_has_no_time_and_no_promise_of_its_own(attempt, document):
    entry = ("verificationMaterial", "tlogEntries", 0)
    promise = {"signedEntryTimestamp": base64.b64encode(b"x" * 70).decode()}
    for more in (
        {"integratedTime": "1700000000"},
        {"inclusionPromise": promise},
        {"integratedTime": "1700000000", "inclusionPromise": promise},
        {"kindVersion": {"kind": "dsse", "version": "0.0.1"}},
        {
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": "1700000000",
            "inclusionPromise": promise,
        },
    ):
        assert not attempt(replaced(document, entry, {**at(document, entry), **more}))


def test_what_is_void(attempt, document):
    assert attempt(json.dumps(document, indent=2, sort_keys=True).encode())
    assert attempt(b"\r\n\t " + json.dumps(dict(reversed(document.items()))).encode() + b" \n")
    assert attempt(without(document, ("verificationMaterial", "tlogEntries", 0, "integratedTime")))
    envelope = ("dsseEnvelope", "signatures", 0)
    assert attempt(replaced(document, envelope, {**at(document, envelope), "keyid": ""}))


def timestamp_bytes(document):
    path = ("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps", 0, "signedTimestamp")
    return path, base64.b64decode(at(document, path))


def test_no_bit_of_a_timestamp_may_change(attempt, document):
    path, raw = timestamp_bytes(document)
    ecdsa_with_sha256 = bytes.fromhex("2a8648ce3d040302")
    algorithm = raw.rindex(ecdsa_with_sha256)
    void = range(algorithm, algorithm + len(ecdsa_with_sha256))
    for where in range(len(raw)):
        changed = bytearray(raw)
        changed[where] ^= 1 << (where % 8)
        assert where in void or not attempt(replaced(document, path, base64.b64encode(changed).decode())), where


def test_a_timestamp_may_not_be_cut_or_grow(attempt, document):
    path, raw = timestamp_bytes(document)
    for wrong in (b"", raw[:-1], raw + b"\0", raw * 2, b"\0" + raw, raw[: len(raw) // 2]):
        assert not attempt(replaced(document, path, base64.b64encode(wrong).decode()))


def test_a_witness_may_cosign_the_checkpoint(attempt, document):
    path = ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "checkpoint", "envelope")
    envelope = at(document, path)
    witness = "\u2014 witness.example.org " + base64.b64encode(bytes(68)).decode() + "\n"
    assert attempt(replaced(document, path, envelope + witness))
    text, signature = envelope.split("\n\n")
    for wrong in (
        f"{text}\n\n{witness}",
        f"{text}\n\n",
        text,
        f"{text}\nmore\n\n{signature}",
        f"{text}\n\n\n{signature}",
        envelope.replace("\u2014 127.0.0.1", "\u2014 127.0.0.2"),
        envelope.replace("127.0.0.1", "rekor.sigstore.dev"),
        envelope.replace("127.0.0.1\n", "127.0.0.1 - 1\n", 1),
    ):
        assert wrong != envelope
        assert not attempt(replaced(document, path, wrong))


def test_random_bytes_of_the_file(attempt, release):
    chance = random.Random(20260131)
    survived = []
    for _ in range(300):
        raw = bytearray(release.signature)
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            where = chance.randrange(len(raw))
            if chance.random() < 0.6:
                raw[where] = chance.randrange(256)
            elif chance.random() < 0.5:
                del raw[where]
            else:
                raw.insert(where, chance.randrange(256))
        if attempt(bytes(raw)) and json.loads(raw) != json.loads(release.signature):
            survived.append(bytes(raw))
    assert survived == []

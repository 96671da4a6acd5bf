import base64
import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.core import merkle
from app.core.checkpoint import MAX_CHECKPOINT, Checkpoint
from app.core.errors import Denied
from app.core.trust import TrustConfig

from .log_kit import Authority

ROOT = merkle.entry_hash(b"entry")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"))


def test_what_the_log_signed(authority):
    note = authority.note(7, ROOT)
    found = Checkpoint.read(note, authority.trust, at=datetime.now(UTC))
    assert (found.origin, found.size, found.root, found.note) == ("127.0.0.1", 7, ROOT, note)
    assert found.key_id == authority.key_id()
    assert Checkpoint.read(note.encode(), authority.trust) == found


def test_witnesses_may_sign_too_and_lines_may_be_added(authority):
    note = authority.note(7, ROOT, more="something else\n")
    witness = "\u2014 witness.example.org " + base64.b64encode(bytes(68)).decode() + "\n"
    assert Checkpoint.read(note + witness, authority.trust).size == 7


def test_an_empty_log(authority):
    assert Checkpoint.read(authority.note(0, merkle.root([])), authority.trust).size == 0
    with pytest.raises(Denied, match="without entries"):
        Checkpoint.read(authority.note(0, ROOT), authority.trust)


def test_a_log_with_an_ecdsa_key(tmp_path, authority):
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    document = json.loads(authority.file.read_text())
    [log] = document["trustedRoot"]["tlogs"]
    key_id = sha256(spki).digest()
    log["logId"]["keyId"] = base64.b64encode(key_id).decode()
    log["publicKey"] |= {"rawBytes": base64.b64encode(spki).decode(), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    file = tmp_path / "trust-config.json"
    file.write_text(json.dumps(document))
    trust = TrustConfig.from_file(file)
    text = f"127.0.0.1\n7\n{base64.b64encode(ROOT).decode()}\n"

    def note(signed):
        signature = base64.b64encode(key_id[:4] + key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))).decode()
        return f"{text}\n\u2014 127.0.0.1 {signature}\n"

    assert Checkpoint.read(note(text), trust).size == 7
    for wrong in (note(text + "x"), authority.note(7, ROOT)):
        with pytest.raises(Denied, match="not signed by the log's key"):
            Checkpoint.read(wrong, trust)


def test_before_the_key_was_trusted(authority):
    early = datetime.now(UTC) - timedelta(days=2)
    with pytest.raises(Denied, match="not signed by the log's key"):
        Checkpoint.read(authority.note(7, ROOT), authority.trust, at=early)


def test_a_foreign_key_does_not_sign(authority, stranger):
    with pytest.raises(Denied, match=r"log.invalid: the checkpoint is not signed by the log's key"):
        Checkpoint.read(stranger.note(7, ROOT), authority.trust)
    # Nor under the key id of the right one.
    theirs = stranger.note(7, ROOT).rpartition(" ")
    signature = authority.key_id()[:4] + base64.b64decode(theirs[2])[4:]
    with pytest.raises(Denied, match="not signed by the log's key"):
        Checkpoint.read(f"{theirs[0]} {base64.b64encode(signature).decode()}\n", authority.trust)


def test_another_origin_under_the_same_key(authority):
    with pytest.raises(Denied, match=r"log.invalid: the checkpoint is of another log: 'log.example.org'"):
        Checkpoint.read(authority.note(7, ROOT, origin="log.example.org"), authority.trust)


def test_signed_in_another_name(authority):
    text = authority.note(7, ROOT).partition("\n\n")[0] + "\n"
    with pytest.raises(Denied, match="not signed by the log's key"):
        Checkpoint.read(authority.sign(text, name="somebody"), authority.trust)


def test_a_bad_signature_beside_a_good_one(authority):
    note = authority.note(7, ROOT)
    bad = base64.b64encode(authority.key_id()[:4] + bytes(64)).decode()
    with pytest.raises(Denied, match="not signed by the log's key"):
        Checkpoint.read(f"{note}\u2014 127.0.0.1 {bad}\n", authority.trust)


def test_every_changed_bit_is_refused(authority):
    note = authority.note(7, ROOT).encode()
    for at in range(len(note)):
        changed = bytearray(note)
        changed[at] ^= 1
        with pytest.raises(Denied):
            Checkpoint.read(bytes(changed), authority.trust)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1\n7\n",
        f"\n7\n{base64.b64encode(ROOT).decode()}\n",
        f"127.0.0.1\n07\n{base64.b64encode(ROOT).decode()}\n",
        f"127.0.0.1\n-7\n{base64.b64encode(ROOT).decode()}\n",
        f"127.0.0.1\n{10**19}\n{base64.b64encode(ROOT).decode()}\n",
        "127.0.0.1\n7\n////\n",
        f"127.0.0.1\n7\n{base64.b64encode(ROOT).decode()[:-1]}\n",
        f"127.0.0.1\n7\n {base64.b64encode(ROOT).decode()}\n",
        f"127.0.0.1\r\n7\n{base64.b64encode(ROOT).decode()}\n",
    ],
)
def test_signed_but_of_another_form(authority, text):
    with pytest.raises(Denied, match=r"^log\.invalid: "):
        Checkpoint.read(authority.sign(text), authority.trust)


@pytest.mark.parametrize("raw", [b"", b"\n", b"\xff", b"a\n7\nb\n\n", b"x" * (MAX_CHECKPOINT + 1), "\ud800\n\n\n"])
def test_what_is_no_checkpoint(authority, raw):
    with pytest.raises(Denied, match=r"^log\.invalid: "):
        Checkpoint.read(raw, authority.trust)


def test_a_signature_that_is_none(authority):
    note = authority.note(7, ROOT)
    for line in ("- 127.0.0.1 AAAA", "\u2014 127.0.0.1", "\u2014 127.0.0.1 A A", "junk", ""):
        with pytest.raises(Denied, match=re.escape("log.invalid")):
            Checkpoint.read(f"{note}{line}\n", authority.trust)

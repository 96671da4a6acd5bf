"""Keys of holders: read from files, named by thumbprint, and used to prove possession."""

import base64
import json
import subprocess
import time
from hashlib import sha256

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from app.core import holder_keys
from app.core.errors import UsageError
from app.core.jwk import KeyRefused

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
@pytest.mark.parametrize("passphrase", [None, b"a phrase of some length"])
def test_a_key_survives_its_file(alg, passphrase):
    key = holder_keys.generate(alg)
    pem = holder_keys.store_private(key, passphrase)
    assert (b"ENCRYPTED" in pem) is (passphrase is not None)
    again = holder_keys.load_private(pem, passphrase)
    assert (again.alg, again.jwk) == (alg, key.jwk)


def test_openssls_own_keys_are_read(tmp_path):
    for options in (["-algorithm", "ed25519"], ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]):
        private, public = tmp_path / "key.pem", tmp_path / "key.pub"
        subprocess.run(["openssl", "genpkey", *options, "-out", private], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
        key = holder_keys.load_private(private.read_bytes())
        assert holder_keys.load_public(public.read_bytes()) == key.jwk


def test_an_encrypted_key_needs_its_own_passphrase():
    pem = holder_keys.store_private(holder_keys.generate(), b"right")
    with pytest.raises(UsageError, match="PLACET_KEY_PASSPHRASE"):
        holder_keys.load_private(pem)
    with pytest.raises(UsageError, match="passphrase is wrong"):
        holder_keys.load_private(pem, b"wrong")
    with pytest.raises(UsageError, match="not encrypted"):
        holder_keys.load_private(holder_keys.store_private(holder_keys.generate()), b"any")


OTHERS = {
    "RSA": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed448": ed448.Ed448PrivateKey.generate(),
}


@pytest.mark.parametrize("key", OTHERS.values(), ids=OTHERS)
def test_keys_of_other_kinds_are_refused(key):
    with pytest.raises(UsageError, match="Ed25519 and P-256"):
        holder_keys.load_private(key.private_bytes(PEM, PKCS8, PLAIN))
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(UsageError, match="Ed25519 and P-256"):
        holder_keys.load_public(public)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "neither"),
        (b"\xff\xfe", "neither"),
        (b"{", "not JSON"),
        (b"{}", "OKP"),
        (b'{"kty":"OKP","crv":"Ed25519","x":"AAAA"}', "not valid"),
        (b'{"kty":"EC","crv":"P-256","x":"AAAA"}', "exactly the members"),
        (b'{"kty":["OKP"]}', "OKP"),
    ],
)
def test_junk_is_no_key(raw, said):
    with pytest.raises(UsageError, match=said):
        holder_keys.load_public(raw)
    with pytest.raises(UsageError, match="cannot be read"):
        holder_keys.load_private(raw)


def test_a_private_key_is_never_taken_for_a_public_one():
    key = holder_keys.generate()
    with pytest.raises(UsageError, match="private key"):
        holder_keys.load_public(holder_keys.store_private(key))
    with pytest.raises(UsageError, match="private key"):
        holder_keys.load_public(json.dumps(key.jwk | {"d": "AAAA"}).encode())


def test_a_jwk_may_say_more_than_is_needed():
    key = holder_keys.generate("ES256")
    assert holder_keys.load_public(json.dumps(key.jwk | {"kid": "1", "alg": "ES256", "use": "sig"}).encode()) == key.jwk
    with pytest.raises(KeyRefused, match="exactly"):
        holder_keys.public_jwk(key.jwk | {"kid": "1"})


def test_the_thumbprint_is_that_of_the_standard():
    # The example key of RFC 8037, appendix A.2, whose thumbprint appendix A.3 gives.
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert holder_keys.thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_a_proof_is_over_this_request(alg):
    key = holder_keys.generate(alg)
    before = int(time.time())
    proof = holder_keys.proof(key, "refund", "payment", "p-1", nonce="n-1")
    assert jwt.get_unverified_header(proof) == {"alg": alg, "typ": "proof+jwt"}
    claims = jwt.decode(proof, key.private.public_key(), algorithms=[alg])
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b"refund", b"payment", b"p-1")]
    assert claims.pop("req") == sha256(b".".join(parts)).hexdigest()
    assert before <= claims.pop("iat") <= time.time()
    assert claims == {"jti": "n-1"}


def test_no_two_requests_have_one_digest():
    names = [("a", "b", "c"), ("a.b", "", "c"), ("", "a", "b.c"), ("a", "b/c", ""), ("a", "b", "c\n"), ("A", "b", "c")]
    assert len({holder_keys.request_digest(*name) for name in names}) == len(names)

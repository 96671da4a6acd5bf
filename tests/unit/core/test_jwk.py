import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519

from app.core import jwk
from app.core.jwk import KeyRefused, vet, vet_set


def public(key, **members):
    if isinstance(key, rsa.RSAPrivateKey):
        document = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        document = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        document = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    document.pop("key_ops", None)
    return {**document, **members}


def text(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


P256 = public(ec.generate_private_key(ec.SECP256R1()))
P384 = public(ec.generate_private_key(ec.SECP384R1()))
P521 = public(ec.generate_private_key(ec.SECP521R1()))
K256 = public(ec.generate_private_key(ec.SECP256K1()))
ED25519 = public(ed25519.Ed25519PrivateKey.generate())
ED448 = public(ed448.Ed448PrivateKey.generate())
X25519 = {"kty": "OKP", "crv": "X25519", "x": text(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw())}
RSA2048 = public(rsa.generate_private_key(65537, 2048))
RSA1024 = public(rsa.generate_private_key(65537, 1024))
PRIVATE = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (P256, "ES256"),
        (P384, "ES384"),
        (ED25519, "EdDSA"),
        (RSA2048, "RS256"),
        ({**RSA2048, "alg": "PS512"}, "PS512"),
        ({**P256, "alg": "ES256", "use": "sig"}, "ES256"),
    ],
)
def test_accepted(key, alg):
    vetted = vet("k1", {**key, "x5c": ["left out"], "kid": "another"})
    assert (vetted.kid, vetted.alg) == ("k1", alg)
    [only] = json.loads(vetted.jwks_text())["keys"]
    assert set(only) <= {"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"}
    assert (only["kid"], only["alg"], only["use"]) == ("k1", alg, "sig")


REFUSED = {
    "symmetric": {"kty": "oct", "k": "c2VjcmV0"},
    "symmetric without its key": {"kty": "oct"},
    "private": PRIVATE,
    "no type": {"crv": "P-256"},
    "a type that is no string": {"kty": ["EC"]},
    "a type that is an object": {"kty": {}},
    "an unknown type": {"kty": "XYZ"},
    "RSA of 1024 bits": RSA1024,
    "RSA of too many bits": {"kty": "RSA", "e": "AQAB", "n": text(b"\xff" * 1025)},
    "RSA for encryption": {**RSA2048, "use": "enc"},
    "RSA with an EC algorithm": {**RSA2048, "alg": "ES256"},
    "RSA with a symmetric algorithm": {**RSA2048, "alg": "HS256"},
    "RSA with no algorithm": {**RSA2048, "alg": "none"},
    "RSA with an encryption algorithm": {**RSA2048, "alg": "RSA-OAEP"},
    "an algorithm that is no string": {**RSA2048, "alg": ["RS256"]},
    "an algorithm of null": {**RSA2048, "alg": None},
    "an EC algorithm of null": {**P256, "alg": None},
    "RSA with an exponent of 1": {**RSA2048, "e": "AQ"},
    "RSA with an even exponent": {**RSA2048, "e": "Ag"},
    "RSA without a modulus": {**RSA2048, "n": ""},
    "P-521": P521,
    "secp256k1": K256,
    "Ed448": ED448,
    "X25519": X25519,
    "a curve that is no string": {**P256, "crv": ["P-256"]},
    "P-256 with another curve's algorithm": {**P256, "alg": "ES384"},
    "P-256 named P-384": {**P256, "crv": "P-384"},
    "P-256 as OKP": {**P256, "kty": "OKP"},
    "Ed25519 as EC": {**ED25519, "kty": "EC"},
    "a point off the curve": {**P256, "y": P256["x"]},
    "a point at nought": {**P256, "x": text(bytes(32)), "y": text(bytes(32))},
    "half a point": {key: value for key, value in P256.items() if key != "y"},
    "a coordinate that is a number": {**P256, "x": 5},
    "a coordinate with padding": {**P256, "x": P256["x"] + "="},
    "a coordinate with junk that lenient decoders skip": {**P256, "x": P256["x"][:5] + "\n" + P256["x"][5:]},
    "a coordinate in plain base64": {**ED25519, "x": "+/" + ED25519["x"][2:]},
    "a short coordinate": {**P256, "x": P256["x"][:-2]},
    "a short Ed25519 key": {**ED25519, "x": ED25519["x"][:-3]},
    "a modulus without end": {**RSA2048, "n": "A" * 100_000},
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises(KeyRefused) as error:
        vet("k1", REFUSED[name])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("member", sorted(jwk._PRIVATE_MEMBERS))
def test_every_private_member_is_refused(member):
    with pytest.raises(KeyRefused, match="private"):
        vet("k1", {**RSA2048, member: "AQAB"})


@pytest.mark.parametrize("kid", ["", None, 5, ["k"], "k" * 257])
def test_bad_kids(kid):
    with pytest.raises(KeyRefused, match="kid"):
        vet(kid, P256)


def keys(*several):
    return json.dumps({"keys": several}).encode()


def test_a_set():
    vetted = vet_set(keys({**P256, "kid": "a"}, {**ED25519, "kid": "b"}))
    assert {kid: key.alg for kid, key in vetted.items()} == {"a": "ES256", "b": "EdDSA"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1]}',
        b'{"keys": [], "keys": [1]}',
        keys(P256),
        keys({**P256, "kid": "a"}, {**ED25519, "kid": "a"}),
        keys({**P256, "kid": "a"}, {**RSA1024, "kid": "b"}),
        keys({**P256, "kid": 1}),
        keys({"kid": "a", "kty": []}),
        b'{"Keys": [], "keys": []}',
    ],
)
def test_one_bad_key_refuses_the_set(raw):
    with pytest.raises(KeyRefused):
        vet_set(raw)

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from app.core.x509_roots import MAX_ROOT, RootRefused, issued, vet

P256 = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])


def root(key=P256, *, ca=True, usage=None, ends=timedelta(days=1), algorithm=None, constrained=True):
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(NAME, NAME, key.public_key(), 1, now - timedelta(days=9), now + ends)
    if constrained:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if usage is not None:
        flags = [name == usage for name in ("digital_signature", "", "", "", "", "key_cert_sign", "", "", "")]
        builder = builder.add_extension(x509.KeyUsage(*flags), critical=True)
    if algorithm is None and not isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def leaf(key=P256):
    """A certificate by the root with this key."""
    now, name = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
    builder = x509.CertificateBuilder(NAME, name, P256.public_key(), 2, now, now + timedelta(hours=1))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("key", [P256, rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()])
def test_who_issued_a_chain(key):
    others = (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate())
    assert issued(root(key), [leaf(key)])
    for beside in (leaf(key), root(key)):
        assert not issued(root(key), [leaf(others[0]), beside]), "which did not issue the leaf"
    for other in others:
        assert not issued(root(other), [leaf(key)])


def test_intermediates():
    top, between = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    middle, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "middle")]), datetime.now(UTC)

    def certified(*, ca=True, ends=timedelta(hours=1)):
        builder = x509.CertificateBuilder(NAME, middle, between.public_key(), 3, now - timedelta(days=1), now + ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.sign(top, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    builder = x509.CertificateBuilder(middle, NAME, P256.public_key(), 4, now, now + timedelta(hours=1))
    end = builder.sign(between, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    assert issued(root(top), [end, leaf(), certified()])
    assert not issued(root(top), [end, certified(ca=False)])
    assert not issued(root(top), [end, certified(ends=-timedelta(hours=1))])


@pytest.mark.parametrize(
    "pem",
    [
        root(),
        root(usage="key_cert_sign"),
        root(ec.generate_private_key(ec.SECP384R1())),
        root(rsa.generate_private_key(65537, 2048)),
        root(ed25519.Ed25519PrivateKey.generate()),
        root(ends=-timedelta(days=1)),  # OPA compares times with its own clock reading
        f"\n{root()}\n\n",
    ],
)
def test_a_root(pem):
    assert vet(pem) == pem.strip() + "\n"


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        ("", "one certificate"),
        ("junk", "one certificate"),
        (root() + root(), "one certificate"),
        (f"a comment\n{root()}", "one certificate"),
        (root() + "\n" * MAX_ROOT, "one certificate"),
        (root().replace("CERTIFICATE", "TRUSTED CERTIFICATE"), "one certificate"),
        (root().replace("\n", "\n\x00", 1), "one certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "parse"),
        (root()[:200] + "\n-----END CERTIFICATE-----\n", "parse"),
        (root(ca=False), "no certificate authority"),
        (root(constrained=False), "no basic constraints"),
        (root(usage="digital_signature"), "key usage"),
        (root(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (root(ec.generate_private_key(ec.SECP256K1())), "secp256k1"),
        (root(dsa.generate_private_key(2048)), "of a kind"),
    ],
)
def test_no_root(pem, why):
    with pytest.raises(RootRefused, match=why):
        vet(pem)

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from app.core.x509_roots import MAX_ROOT, RootRefused, vet

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

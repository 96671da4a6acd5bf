"""The keys and certificates of the local stack: made once, kept in one directory of mode 0700, files 0600."""

from __future__ import annotations

import datetime
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.core.errors import PlacetError
from app.core.files import sync_directory, write_atomically

#: Certificates start this long before they are made, so that a clock set back a little does not void them.
_BACKDATED = datetime.timedelta(minutes=5)
_LIFETIME = datetime.timedelta(days=3650)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True)
class Keys:
    """The key files below `directory`. Public parts are read from them, so that there is one truth."""

    directory: Path

    @property
    def ca_key(self) -> Path:
        """Fulcio's signing key, PKCS #8, encrypted because Fulcio reads no other."""
        return self.directory / "fulcio-ca.key.pem"

    @property
    def ca_password(self) -> Path:
        """The password of `ca_key`."""
        return self.directory / "fulcio-ca.password"

    @property
    def ca_certificate(self) -> Path:
        """Fulcio's self-signed certificate."""
        return self.directory / "fulcio-ca.crt.pem"

    @property
    def ct_log_key(self) -> Path:
        """The CT log's ECDSA P-256 key, in the SEC 1 form that TesseraCT reads."""
        return self.directory / "ct-log.key.pem"

    @property
    def ct_log_public_key(self) -> Path:
        """The public part of `ct_log_key`, for Fulcio."""
        return self.directory / "ct-log.pub.pem"

    @property
    def tsa_key(self) -> Path:
        """The timestamp authority's ECDSA P-256 key."""
        return self.directory / "tsa.key.pem"

    @property
    def tsa_chain(self) -> Path:
        """The timestamp authority's certificates, leaf first. Its root's key was thrown away."""
        return self.directory / "tsa.chain.pem"

    @property
    def rekor_key(self) -> Path:
        """Rekor's Ed25519 key."""
        return self.directory / "rekor.key.pem"

    @property
    def issuer_key(self) -> Path:
        """The ECDSA P-256 key that signs identity tokens: who reads it can be anybody."""
        return self.directory / "issuer.key.pem"

    @cached_property
    def valid_from(self) -> datetime.datetime:
        """When the validity of everything in this directory begins (UTC)."""
        return x509.load_pem_x509_certificate(self.ca_certificate.read_bytes()).not_valid_before_utc


def load_or_create(directory: Path) -> Keys:
    """The keys in `directory`, made now if it does not exist.

    Raises `PlacetError` when others can read the directory, or when a key file is missing.
    """
    if not directory.exists():
        _create(directory)
    return load(directory)


def load(directory: Path) -> Keys:
    """The keys in `directory`. Raises `PlacetError` when others can read it, or when a file is missing."""
    if not directory.is_dir():
        raise PlacetError(f"there are no keys in {directory}; run: placet sigstore up")
    if directory.stat().st_mode & 0o077:
        raise PlacetError(f"others can read the keys in {directory}; run: chmod -R go= {directory}")
    keys = Keys(directory)
    for path in (keys.ca_key, keys.ca_password, keys.ca_certificate, keys.ct_log_key, keys.ct_log_public_key,
                 keys.tsa_key, keys.tsa_chain, keys.rekor_key, keys.issuer_key):  # fmt: skip
        if not path.is_file():
            raise PlacetError(f"{path} is missing; restore it, or remove {directory} to begin anew")
    return keys


def public_key(path: Path) -> PublicKey:
    """The public part of an unencrypted private key file."""
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise PlacetError(f"{path} holds a key of another kind than the local stack makes")
    return key.public_key()


def _create(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))  # mode 0700
    try:
        _write_all(Keys(partial))
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_directory(directory.parent)


def _write_all(keys: Keys) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    password = secrets.token_hex(32)
    encrypted = ca_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    write_atomically(keys.ca_key, encrypted)
    write_atomically(keys.ca_password, password.encode())
    write_atomically(keys.ca_certificate, _pem(_authority("fulcio", ca_key)))

    ct_log_key = ec.generate_private_key(ec.SECP256R1())
    write_atomically(keys.ct_log_key, _private(ct_log_key, serialization.PrivateFormat.TraditionalOpenSSL))
    public = ct_log_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_atomically(keys.ct_log_public_key, public)

    tsa_root_key, tsa_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    tsa_root = _authority("timestamp authority", tsa_root_key)
    tsa_leaf = _timestamping(tsa_key, tsa_root, tsa_root_key)
    write_atomically(keys.tsa_key, _private(tsa_key))
    write_atomically(keys.tsa_chain, _pem(tsa_leaf) + _pem(tsa_root))

    write_atomically(keys.rekor_key, _private(ed25519.Ed25519PrivateKey.generate()))
    write_atomically(keys.issuer_key, _private(ec.generate_private_key(ec.SECP256R1())))


def _authority(role: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A self-signed certificate that may sign others, as RFC 5280 and Fulcio's file CA want it."""
    name = _name(role)
    return (
        _certificate(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _timestamping(
    key: ec.EllipticCurvePrivateKey, root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """A leaf for timestamps: RFC 3161 section 2.3 wants the one extended key usage, critical."""
    return (
        _certificate(_name("timestamp signer"), root.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Placet local Sigstore"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{role} (development only)"),
        ]
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: PrivateKey, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

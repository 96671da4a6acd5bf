"""The sidecar's own certificate authority: OPA and its clients, and OPA and the agent, know each other by it.

The CA's key stays with the sidecar (mode 0600). Leaves are made for each start of OPA and never reused.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.core.errors import PlacetError
from app.core.files import warn_if_open, write_atomically

_CA_DAYS = 3650
_LEAF_DAYS = 365
#: Certificates start a little in the past, for a reader whose clock is behind.
_BACKDATE = timedelta(minutes=5)


class SidecarCA:
    """A certificate authority of one sidecar."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def open(cls, key_file: Path, certificate_file: Path) -> SidecarCA:
        """The CA in these files; made on the first start."""
        if key_file.exists() and certificate_file.exists():
            warn_if_open(key_file, "the key of the sidecar's CA")
            try:
                key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
                certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            except ValueError as error:
                raise PlacetError(
                    f"{key_file} or {certificate_file} is damaged; delete both, and give services the new certificate"
                ) from error
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            return cls(key, certificate)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Placet sidecar")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            _builder(name, name, key.public_key(), _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        write_atomically(key_file, _key_pem(key), mode=0o600)
        write_atomically(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
        return cls(key, certificate)

    def server_leaf(self, certificate_file: Path, key_file: Path) -> None:
        """Write a certificate for a server on loopback, and its key."""
        loopback = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        self._leaf("Placet OPA", loopback, ExtendedKeyUsageOID.SERVER_AUTH, certificate_file, key_file)

    def client_leaf(self, certificate_file: Path, key_file: Path) -> None:
        """Write a certificate for OPA as the client of the agent, and its key."""
        self._leaf("opa", [x509.DNSName("opa")], ExtendedKeyUsageOID.CLIENT_AUTH, certificate_file, key_file)

    def _leaf(
        self,
        name: str,
        names: list[x509.GeneralName],
        use: x509.ObjectIdentifier,
        certificate_file: Path,
        key_file: Path,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        certificate = (
            _builder(subject, self._certificate.subject, key.public_key(), _LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_atomically(key_file, _key_pem(key), mode=0o600)
        write_atomically(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o600)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

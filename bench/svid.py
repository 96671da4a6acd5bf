"""X.509-SVIDs for tests: a certificate authority of a trust domain, and leaves with SPIFFE IDs."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Authority:
    """A self-signed P-256 authority. Times are in seconds since 1970, around `now`."""

    now: int
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def certificate(self) -> x509.Certificate:
        """Its own certificate."""
        return self._signed("authority", self.key.public_key(), [], ca=True, begins=-3600, ends=86_400)

    @property
    def pem(self) -> str:
        """Its own certificate, as trust state holds roots."""
        return _pem(self.certificate)

    def leaf(self, *uris: str, ca: bool = False, begins: int = -60, ends: int = 3600) -> str:
        """A certificate for the URIs, from `begins` to `ends` seconds after now, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        return _pem(self._signed("workload", key.public_key(), list(uris), ca=ca, begins=begins, ends=ends))

    def _signed(
        self, name: str, key: ec.EllipticCurvePublicKey, uris: list[str], *, ca: bool, begins: int, ends: int
    ) -> x509.Certificate:
        at = datetime.datetime.fromtimestamp(self.now, datetime.UTC)
        usage = {
            "digital_signature": not ca, "key_cert_sign": ca, "crl_sign": ca, "content_commitment": False,
            "key_encipherment": False, "data_encipherment": False, "key_agreement": False, "encipher_only": False,
            "decipher_only": False,
        }  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(at + datetime.timedelta(seconds=begins))
            .not_valid_after(at + datetime.timedelta(seconds=ends))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
        )
        if not ca:
            client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            builder = builder.add_extension(client, critical=False)
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()

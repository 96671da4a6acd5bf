"""Keys in files. Those of TUF are Ed25519, one a role; the root key signs once and is then kept offline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from app.control.objects import is_private
from app.core.errors import PlacetError

ONLINE_ROLES = (Targets.type, Snapshot.type, Timestamp.type)


@dataclass(frozen=True)
class OnlineKeys:
    """The signers of the three roles that the control plane signs by itself."""

    targets: CryptoSigner
    snapshot: CryptoSigner
    timestamp: CryptoSigner

    @classmethod
    def load(cls, directory: Path) -> OnlineKeys:
        """Read the keys; refuse one that others could read."""
        return cls(**{role: load(directory / f"{role}.pem") for role in ONLINE_ROLES})

    def require_delegation(self, root: Metadata[Root]) -> None:
        """Fail unless `root` delegates each role to the key that we hold for it."""
        for role in ONLINE_ROLES:
            if getattr(self, role).public_key.keyid not in root.signed.roles[role].keyids:
                raise PlacetError(f"the TUF root in the database does not delegate {role} to this directory's key")


def generate() -> tuple[CryptoSigner, bytes]:
    """A new Ed25519 key, and its PEM."""
    return _with_pem(Ed25519PrivateKey.generate())


def generate_p256() -> tuple[CryptoSigner, bytes]:
    """A new key on P-256, and its PEM."""
    return _with_pem(generate_private_key(SECP256R1()))


def load(file: Path, *, p256: bool = False) -> CryptoSigner:
    """A key from its file: Ed25519, or P-256 too where that is wanted.

    Raises `PlacetError` when others could read it, or it is no such key.
    """
    wanted = "an Ed25519 or P-256" if p256 else "an Ed25519"
    try:
        if not is_private(file):
            raise PlacetError(f"others can read {file}; replace this key, or run: chmod 600 {file}")
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise PlacetError(f"cannot read the key {file}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PlacetError(f"{file} is not {wanted} private key in PEM") from error
    on_p256 = isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)
    if not (isinstance(key, Ed25519PrivateKey) or (p256 and on_p256)):
        raise PlacetError(f"{file} is not {wanted} private key in PEM")
    return CryptoSigner(key)


def _with_pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> tuple[CryptoSigner, bytes]:
    return CryptoSigner(key), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

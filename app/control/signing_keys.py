"""Ed25519 keys in files: those of TUF, one a role. The root key signs once and is then kept offline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
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
    """A new key, and its PEM."""
    key = Ed25519PrivateKey.generate()
    return CryptoSigner(key), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load(file: Path) -> CryptoSigner:
    """A key from its file. Raises `PlacetError` when others could read it, or it is no Ed25519 key."""
    try:
        if not is_private(file):
            raise PlacetError(f"others can read {file}; replace this key, or run: chmod 600 {file}")
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise PlacetError(f"cannot read the key {file}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PlacetError(f"{file} is not an Ed25519 private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise PlacetError(f"{file} is not an Ed25519 private key in PEM")
    return CryptoSigner(key)

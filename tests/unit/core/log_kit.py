"""Transparency logs made by hand: tiles in a directory and checkpoints by a real log key, so that a test can lie."""

import base64
import datetime
import struct
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from app.core import merkle, strict_json
from app.core.checkpoint import Checkpoint
from app.core.log_expected import ExpectedEntry, ExpectedPage
from app.core.log_source import DirectorySource
from app.core.log_tiles import LogTiles
from app.core.trust import TrustConfig
from app.local.sigstore import keys as sigstore_keys
from app.local.sigstore.trust_config import REKOR_ORIGIN, trust_config

URLS = {
    "issuer": "http://127.0.0.1:1",
    "fulcio": "http://127.0.0.1:2",
    "ct_log": "http://127.0.0.1:3/placet",
    "tsa": "http://127.0.0.1:4",
    "rekor": "http://127.0.0.1:5",
}


class Authority:
    """A Sigstore's keys, with or without its servers: what it trusts, and the log's own key."""

    def __init__(self, directory: Path):
        self.keys = sigstore_keys.load_or_create(directory / "keys")
        self.file = directory / "trust-config.json"
        if not self.file.exists():
            self.file.write_bytes(trust_config(self.keys, **URLS))
        self.trust = TrustConfig.from_file(self.file)
        self._key = serialization.load_pem_private_key(self.keys.rekor_key.read_bytes(), password=None)

    def key_id(self, origin=REKOR_ORIGIN):
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return sha256(origin.encode() + b"\n\x01" + raw).digest()

    def note(self, size, root, origin=REKOR_ORIGIN, more=""):
        """A signed checkpoint, of whatever it is told."""
        return self.sign(f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n{more}", origin)

    def sign(self, text, name=REKOR_ORIGIN):
        signature = base64.b64encode(self.key_id()[:4] + self._key.sign(text.encode())).decode()
        return f"{text}\n\u2014 {name} {signature}\n"


class Signer:
    """A sidecar with a certificate of the authority's CA, or, `own_ca`, of its own making."""

    def __init__(
        self, authority, identity="spiffe://example.org/sidecar/payments/a", *, own_ca=False, digest="SHA2_256"
    ):
        self.identity, self._algorithm = identity, digest
        self._key = ec.generate_private_key(ec.SECP256R1())
        ca = x509.load_pem_x509_certificate(authority.keys.ca_certificate.read_bytes())
        ca_key = serialization.load_pem_private_key(
            authority.keys.ca_key.read_bytes(), authority.keys.ca_password.read_bytes()
        )
        now = datetime.datetime.now(datetime.UTC)
        name = x509.UniformResourceIdentifier(identity) if "://" in identity else x509.RFC822Name(identity)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(ca.subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(minutes=10))
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        )
        certificate = builder.sign(self._key if own_ca else ca_key, hashes.SHA256())
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)

    def entry(self, text, kind="hashedrekord", signed=None):
        """The body of a log entry over `text`; `signed`: whose signature stands in it instead."""
        digest = sha256(text.encode()).digest()
        signature = self._key.sign(sha256((signed or text).encode()).digest(), ec.ECDSA(Prehashed(hashes.SHA256())))
        document = {
            "apiVersion": "0.0.2",
            "kind": kind,
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": self._algorithm, "digest": base64.b64encode(digest).decode()},
                    "signature": {
                        "content": base64.b64encode(signature).decode(),
                        "verifier": {
                            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                            "x509Certificate": {"rawBytes": base64.b64encode(self.certificate).decode()},
                        },
                    },
                }
            },
        }
        return strict_json.canonical(document)


@dataclass
class Plane:
    """What a control plane says that it holds, in pages of `size`."""

    entries: list[ExpectedEntry] = field(default_factory=list)
    identities: str = "spiffe://example.org/sidecar/"
    size: int = 3
    asked: list[str | None] = field(default_factory=list)

    def hold(self, log, *indexes, note=None):
        """Hold the entries of `log` at `indexes`, with the checkpoint that it shows now."""
        for index in indexes:
            self.entries.append(
                ExpectedEntry(
                    name=f"batch payments/a/i1/{index}",
                    index=str(index),
                    leaf=log.leaves[index].hex(),
                    checkpoint=note or log.checkpoint().note,
                )
            )

    def page(self, after):
        self.asked.append(after)
        first = int(after or 0)
        some = self.entries[first : first + self.size]
        last = first + len(some)
        return ExpectedPage(
            identities=self.identities, entries=some, next=str(last), more=last < len(self.entries)
        )  # fmt: skip


@dataclass
class MadeLog:
    """A log below `directory` that holds `entries`. `publish` writes what is missing, as a real one does."""

    directory: Path
    authority: Authority
    entries: list[bytes] = field(default_factory=list)

    def __post_init__(self):
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def leaves(self):
        return [merkle.entry_hash(entry) for entry in self.entries]

    def publish(self, *entries, partial=True):
        """Add entries and write tiles, then the checkpoint. Without `partial`, full tiles replace theirs."""
        self.entries += entries
        hashes = self.leaves
        self._write("entries", self.entries, lambda some: b"".join(struct.pack(">H", len(one)) + one for one in some))
        level = 0
        while hashes:
            self._write(str(level), hashes, b"".join)
            hashes = [merkle.root(hashes[at : at + 256]) for at in range(0, len(hashes) // 256 * 256, 256)]
            level += 1
        if not partial:
            for full in self.directory.glob("tile/*/[0-9]*"):
                if full.is_file() and (old := full.with_name(f"{full.name}.p")).is_dir():
                    for one in old.iterdir():
                        one.unlink()
                    old.rmdir()
        return self.show(self.authority.note(len(self.entries), merkle.root(self.leaves)))

    def show(self, note):
        (self.directory / "checkpoint").write_text(note)
        return note

    def file(self, level, number=0):
        """The file of a tile as it is now; of a partial one, the widest."""
        full = self.directory / "tile" / str(level) / f"{number:03d}"
        if full.is_file():
            return full
        return max(Path(f"{full}.p").iterdir(), key=lambda path: int(path.name))

    def _write(self, level, items, join):
        for number in range((len(items) + 255) // 256):
            some = items[number * 256 : number * 256 + 256]
            name = f"{number:03d}" if len(some) == 256 else f"{number:03d}.p/{len(some)}"
            path = self.directory / "tile" / level / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(join(some))

    def checkpoint(self):
        return Checkpoint.read((self.directory / "checkpoint").read_bytes(), self.authority.trust)

    def tiles(self, size=None):
        return LogTiles(DirectorySource(self.directory), len(self.entries) if size is None else size)


def some(count, text="entry"):
    return [f"{text} {number}".encode() for number in range(count)]


def flip(path, at=-1):
    """Change one bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)

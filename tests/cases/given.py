"""What the cases start from: a good bundle's parts, a tar writer, and a release that a real Sigstore signed."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.release_kit import Release

MANIFEST = b'{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/allow"}}}'
POLICY = b"package app\n\ndefault allow := false\n"
#: The entries of a good bundle.
GOOD = ((".manifest", MANIFEST), ("app.rego", POLICY))


def tar(*entries: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT, **pax: str) -> bytes:
    """An uncompressed tar of files, and of headers as they are. `pax`: extended attributes of the last entry."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, content = entry
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.pax_headers = pax if entry == entries[-1] else {}
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def summed(header: bytearray) -> bytes:
    """A header's block with the checksum of what stands in it."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A header of a link (to `target`) or of a device."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def bundle(*more: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    """A good bundle with more in it."""
    return gzip.compress(tar(*GOOD, *more), mtime=0)


def bundle_with(manifest: bytes) -> bytes:
    """A good bundle with another manifest."""
    return gzip.compress(tar((".manifest", manifest), ("app.rego", POLICY)), mtime=0)


class Signed:
    """The evidence of a real release, decoded, to be changed."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.signature: dict[str, Any] = json.loads(release.signature)
        self.attestation: dict[str, Any] = json.loads(release.attestation)
        #: Of another bundle, by the same signer.
        self.other: dict[str, Any] = json.loads(release.other_signature)

    @property
    def entry(self) -> dict[str, Any]:
        """The signature's log entry."""
        return self.signature["verificationMaterial"]["tlogEntries"][0]

    def as_signature(self, document: Any = None) -> dict[str, bytes]:
        """The part of a release that is changed: its signature."""
        return {"signature": json.dumps(self.signature if document is None else document).encode()}

    def statement(self) -> dict[str, Any]:
        """The in-toto statement of the signature."""
        return json.loads(base64.b64decode(self.signature["dsseEnvelope"]["payload"]))

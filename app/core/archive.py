"""Reading and writing the `.tar.gz` of a bundle, strictly.

Reading is bounded on the bytes that come out, not on what the header claims, and refuses whatever two readers
could understand differently: links, special files, extension headers, repeated paths, paths that are not already
normal, and anything after the archive's end. Writing is reproducible: the same files give the same bytes.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Self

from app.core import stray
from app.core.errors import Denied
from app.core.reason_codes import Reason

#: Bytes of the compressed archive.
MAX_COMPRESSED = 64 * 1024 * 1024
#: Bytes after decompression.
MAX_DECOMPRESSED = 256 * 1024 * 1024
MAX_MEMBERS = 10_000
#: Characters of a file's name, and of its directory. A plain tar header (POSIX ustar) holds 100 and 155; what is
#: left goes to the directory under which a policy lies in the composed bundle.
MAX_NAME = 100
MAX_DIRECTORY = 140

_SEGMENT = re.compile(r"[A-Za-z0-9._@+=, -]+")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._@+=, -]")
#: Bytes of an extension header in somebody else's archive.
MAX_EXTENSION = 64 * 1024
_DIGITS = re.compile(rb"[0-9]{64}")
_END = bytes(2 * tarfile.BLOCKSIZE)
#: Parts of a header's block: what format it says that it has, and what is the beginning of the path in POSIX's.
_MAGIC, _PREFIX, _PREFIX_END = slice(257, 265), slice(345, 500), 500
_POSIX = b"ustar\x0000"
_PLAIN_TAR = "pack it as a plain tar: `placet bundle build`, `tar --format=ustar`"
#: Headers that change the next one: its path, its size, its type. Readers disagree about them.
_EXTENSIONS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.GNUTYPE_SPARSE,
}


def read_archive(raw: bytes) -> dict[str, bytes]:
    """The regular files of a gzipped tar by path, in the archive's order. Raises `Denied`."""
    unpacked = decompressed(raw)
    files: dict[str, bytes] = {}
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:", errorlevel=2, tarinfo=_PlainMember) as tar:
            for member in tar:
                path = _checked_path(member)
                if path in seen:
                    raise Denied(Reason.ARCHIVE_DUPLICATE, f"{path!r} stands twice", field=path)
                seen.add(path)
                if len(seen) > MAX_MEMBERS:
                    raise Denied(Reason.ARCHIVE_TOO_LARGE, f"more than {MAX_MEMBERS} entries")
                if member.isdir():
                    continue
                content = tar.extractfile(member)
                assert content is not None  # regular files always have content
                files[path] = content.read()
                if len(files[path]) != member.size:
                    raise Denied(Reason.ARCHIVE_MALFORMED, f"{path!r} is cut short", field=path)
            rest = unpacked[tar.offset :]
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise Denied(Reason.ARCHIVE_MALFORMED, f"not a tar archive: {error}") from error
    # At a damaged header tarfile stops as at the end, while others read on: only zeros may follow the last file.
    if not rest.startswith(_END) or rest.strip(b"\0"):
        raise Denied(Reason.ARCHIVE_MALFORMED, "the tar archive does not end after its last file")
    for path in files:
        directories = accumulate(path.split("/")[:-1], "{}/{}".format)
        if taken := next((one for one in directories if one in files), None):
            raise Denied(Reason.ARCHIVE_DUPLICATE, f"{taken!r} is a file and a directory", field=taken)
    return files


def write_archive(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar of `files`: sorted by path, no times, no owners, fixed modes."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size = len(files[path])
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(files[path]))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(unpacked.getvalue())
    return packed.getvalue()


def check_path(path: str) -> None:
    """Refuse a path that is absolute, leaves the bundle, or has more than one spelling."""
    if stray.is_leftover(path):
        raise stray.fault(path[:MAX_DIRECTORY], b"", leftover=True).denied()
    segments = path.split("/")
    plain = all(_SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in segments)
    if not plain or any(segment.strip() != segment for segment in segments):
        raise Denied(
            Reason.ARCHIVE_PATH,
            f"{path[:MAX_DIRECTORY]!r} is not a plain relative path; build the bundle with `placet bundle build`",
            field=path[:MAX_DIRECTORY],
        )
    if len(segments[-1]) > MAX_NAME or len(path) - len(segments[-1]) > MAX_DIRECTORY:
        raise Denied(
            Reason.ARCHIVE_PATH,
            f"{path[:MAX_DIRECTORY]!r}… is too long: a name may have {MAX_NAME} characters, its directory "
            f"{MAX_DIRECTORY}",
            field=path[:MAX_DIRECTORY],
        )


def plain_segment(segment: str) -> str:
    """The segment of a path with `_` for what `check_path` would not let pass."""
    return _NOT_PLAIN.sub("_", segment).strip() or "_"


class _OneReading(tarfile.TarInfo):
    """A member of which every reader takes the same path and the same type.

    tarfile reads the last quarter of any header as the beginning of the path. Others do so where the header says that
    it is POSIX's (`ustar`), and all but its last bytes, and read times and maps of holes there otherwise. And what is
    "contiguous" is a file for tarfile, and nothing for OPA.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if any(buf[_PREFIX_END:]) or (buf[_MAGIC] != _POSIX and any(buf[_PREFIX])):
            raise Denied(
                Reason.ARCHIVE_SPECIAL,
                f"{member.name[:MAX_NAME]!r} has a tar header that readers take for different paths; {_PLAIN_TAR}",
                field=member.name[:MAX_NAME],
            )
        if member.type == tarfile.CONTTYPE:
            raise Denied(
                Reason.ARCHIVE_SPECIAL,
                f"{member.name[:MAX_NAME]!r} is a contiguous file, which not all readers take for one; {_PLAIN_TAR}",
                field=member.name[:MAX_NAME],
            )
        return member


class _PlainMember(_OneReading):
    """A member whose header stands for itself."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # The entry point that tarfile leaves to subclasses. Refused here, before tarfile reads the extension: it
        # recurses from one to the next, and a long one takes it minutes.
        if self.type in _EXTENSIONS:
            raise Denied(
                Reason.ARCHIVE_SPECIAL,
                "the tar uses extension headers (PAX or GNU); build the bundle with `placet bundle build`",
            )
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


class ForeignMember(_OneReading):
    """A member of an archive that somebody else's tool made: extension headers may say what they are for, and no more.

    A sparse file is a few bytes that are read as terabytes of zeros.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse()
        if self.type in _EXTENSIONS:
            if self.size > MAX_EXTENSION:
                raise Denied(Reason.ARCHIVE_TOO_LARGE, f"an extension header of the tar has over {MAX_EXTENSION} bytes")
            assert tar.fileobj is not None
            said = _peeked(tar.fileobj, self.size)
            if b"GNU.sparse" in said:
                raise _sparse()
            if _DIGITS.search(said):  # tarfile takes the square of their number in time
                raise Denied(Reason.ARCHIVE_MALFORMED, "an extension header of the tar holds an endless number")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        if len(member.name) > MAX_EXTENSION // 16:
            raise Denied(Reason.ARCHIVE_PATH, f"{member.name[:MAX_NAME]!r}… is too long", field=member.name[:MAX_NAME])
        return member


def _sparse() -> Denied:
    return Denied(Reason.ARCHIVE_SPECIAL, "the tar holds a sparse file; pack it without --sparse")


def _peeked(file: Any, size: int) -> bytes:
    at = file.tell()
    content: bytes = file.read(size)
    file.seek(at)
    return content


def _checked_path(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        raise Denied(Reason.ARCHIVE_LINK, f"{member.name!r} is a link", field=member.name)
    if not (member.isreg() or member.isdir()):
        raise Denied(Reason.ARCHIVE_SPECIAL, f"{member.name!r} is not a regular file", field=member.name)
    path = member.name.removesuffix("/") if member.isdir() else member.name
    check_path(path)
    return path


def decompressed(raw: bytes) -> bytes:
    """The bytes inside of gzip, bounded, of one whole stream. Raises `Denied`."""
    if len(raw) > MAX_COMPRESSED:
        raise Denied(Reason.ARCHIVE_TOO_LARGE, f"larger than {MAX_COMPRESSED} bytes")
    stream = zlib.decompressobj(wbits=31)
    try:
        unpacked = stream.decompress(raw, MAX_DECOMPRESSED + 1)
    except zlib.error as error:
        raise Denied(Reason.ARCHIVE_MALFORMED, f"not gzip: {error}") from error
    if len(unpacked) > MAX_DECOMPRESSED:
        raise Denied(Reason.ARCHIVE_TOO_LARGE, f"decompresses to more than {MAX_DECOMPRESSED} bytes")
    if not stream.eof:
        raise Denied(Reason.ARCHIVE_MALFORMED, "the gzip stream is cut short")
    if stream.unused_data:
        raise Denied(Reason.ARCHIVE_MALFORMED, "bytes follow the gzip stream")
    return unpacked

"""Tar archives made header by header, so that they can be wrong in one place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping

from app.core import archive

BLOCK = 512
END = bytes(2 * BLOCK)

POLICY = b"package app\n\ndefault allow := false\n"


def header(
    name: bytes, size: int = 0, *, kind: bytes = b"0", raw_size: bytes | None = None, link: bytes = b""
) -> bytes:
    """One POSIX ustar header with a correct checksum."""
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = raw_size if raw_size is not None else b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def member(name: bytes, content: bytes = b"", **options: bytes) -> bytes:
    return header(name, len(content), **options) + padded(content)


def packed(*members: bytes, end: bytes = END) -> bytes:
    return gzip.compress(b"".join(members) + end, compresslevel=1, mtime=0)


def manifest(**members: object) -> bytes:
    document = {"roots": ["app"], "revision": "r1", "metadata": {"placet": {"entrypoint": "app/allow"}}}
    return json.dumps({**document, **members}).encode()


def bundle(files: Mapping[str, bytes] | None = None, **members: object) -> bytes:
    """A bundle with a good manifest and module, with `files` beside or in place of them."""
    return archive.write_archive({".manifest": manifest(**members), "app.rego": POLICY, **(files or {})})

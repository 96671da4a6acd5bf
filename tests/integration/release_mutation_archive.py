"""Changes of a bundle, by chance: bytes below and above gzip, headers of the tar, its files, manifest and data."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import tarfile

from app.core import archive

from .release_mutation_json import member, raw_json, scrambled, twice, wrapped


def of_gzip(bundle: bytes, chance: random.Random) -> bytes:
    return scrambled(bundle, chance)


def of_tar(bundle: bytes, chance: random.Random) -> bytes:
    return gzip.compress(scrambled(gzip.decompress(bundle), chance), mtime=0)


def of_header(bundle: bytes, chance: random.Random) -> bytes:
    """A field of a header changed, with a sum that fits."""
    raw = bytearray(gzip.decompress(bundle))
    start = chance.choice([at for at in range(0, len(raw), 512) if raw[at + 257 : at + 262] == b"ustar"])
    field, size = chance.choice([(0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155)])
    where = start + field + chance.randrange(size)
    raw[where] = chance.choice(
        [0, 0x20, 0x2E, 0x2F, 0x30, 0x31, 0x37, 0x4C, 0x67, 0x78, 0x80, 0xFF, chance.randrange(256)]
    )
    raw[start + 148 : start + 156] = b" " * 8
    raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])
    return gzip.compress(bytes(raw), mtime=0)


NAMES = [
    *(
        "/etc/x",
        "../x",
        "a/../x",
        "./x",
        "a//x",
        "._x",
        ".manifest",
        "data.json",
        "x.rego",
        "app/data.json",
        "app",
        "a\nb",
    ),
    *(".signatures.json", "patch.json", "policy.wasm", "x" * 300, "\u202ex.rego", "app/", ""),
]


def of_entries(bundle: bytes, chance: random.Random) -> bytes:
    """Files added, dropped, doubled, renamed, turned into links, or moved."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as source:
        files = [(copy.copy(one), source.extractfile(one).read()) for one in source if one.isreg()]  # type: ignore[union-attr]
    where = chance.randrange(len(files))
    how = chance.randrange(7)
    if how == 0:
        del files[where]
    elif how == 1:
        files.append((copy.copy(files[where][0]), b"{}"))
    elif how == 2:
        files[where][0].name = chance.choice(NAMES)
    elif how == 3:
        info = tarfile.TarInfo(chance.choice(NAMES))
        files.insert(where, (info, chance.choice([b"", b"{}", b"package app\n", b'{"app": 1}'])))
    elif how == 4:
        files[where][0].type = chance.choice(
            [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"9"]
        )
        files[where][0].linkname = chance.choice(["/etc/passwd", "app.rego", ""])
    elif how == 5:
        chance.shuffle(files)
    else:
        files[where] = (files[where][0], scrambled(files[where][1] or b" ", chance))
    form = chance.choice([tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    try:
        with tarfile.open(fileobj=packed, mode="w", format=form) as target:
            for info, content in files:
                info.size = len(content) if info.isreg() else 0
                target.addfile(info, io.BytesIO(content))
    except (ValueError, tarfile.TarError):  # a name that this form cannot hold
        return of_tar(bundle, chance)
    return gzip.compress(packed.getvalue(), mtime=0)


def of_metadata(bundle: bytes, chance: random.Random) -> bytes:
    """The manifest or the data changed as JSON."""
    files = archive.read_archive(bundle)
    name = chance.choice([one for one in files if one.endswith("data.json") or one == ".manifest"])
    change = chance.choice([member, twice, wrapped, raw_json])
    found = change(json.loads(files[name]), None, chance)
    files[name] = found if isinstance(found, bytes) else json.dumps(found).encode()
    return archive.write_archive(files)

"""The Merkle tree of a transparency log, as its tiles show it, and proofs that are built from them.

Tiles are those of C2SP's tlog-tiles (https://github.com/C2SP/C2SP, `tlog-tiles.md`), which Rekor v2 writes: 256 hashes
of one level each, and bundles of 256 entries. What they say counts only where it leads to the root of a signed
checkpoint; whoever asks compares.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from app.core import merkle
from app.core.checkpoint import MAX_CHECKPOINT, Checkpoint, invalid
from app.core.errors import Denied
from app.core.log_source import LogSource, LogUnavailable, Unfit
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig

#: Hashes in a full tile, and entries in a full bundle; and the levels of the tree that one level of tiles spans.
WIDTH = 256
HEIGHT = 8

#: Bytes of an entry, which is preceded by its length in two bytes, and of a full bundle.
MAX_ENTRY = 0xFFFF
_MAX_BUNDLE = WIDTH * (2 + MAX_ENTRY)

#: In the place of a level, where bundles lie.
ENTRIES = "entries"

_STEP = "log"


class LogTiles:
    """The tree over the first `size` entries of a log. `size` is a checkpoint's, or there may be no such tiles."""

    def __init__(self, source: LogSource, size: int) -> None:
        self.size = size
        self._source = source
        # An audit reads the same few tiles again and again. Entries are large, and read in their order.
        self.tile = lru_cache(maxsize=512)(self._tile)
        self.bundle = lru_cache(maxsize=2)(self._bundle)
        self._subtree = lru_cache(maxsize=4096)(self._hash_of)

    def entry(self, index: int) -> bytes:
        """The entry at `index`. Raises `Denied`, `LogUnavailable`."""
        self._require(index, self.size)
        return self.bundle(index // WIDTH)[index % WIDTH]

    def leaf(self, index: int) -> bytes:
        """The leaf hash at `index`, as the tiles have it. Raises `Denied`, `LogUnavailable`."""
        self._require(index, self.size)
        return self.tile(0, index // WIDTH)[index % WIDTH]

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` entries."""
        wanted = self._checked(size)
        return self._range(0, wanted) if wanted else merkle.root([])

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The audit path of the leaf at `index` in the tree of `size` entries (RFC 6962, 2.1.1)."""
        wanted = self._checked(size)
        self._require(index, wanted)
        low, high, found = 0, wanted, []
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                found.append(self._range(middle, high))
                high = middle
            else:
                found.append(self._range(low, middle))
                low = middle
        return found[::-1]

    def consistency(self, first: int, second: int | None = None) -> list[bytes]:
        """The proof that the tree of `second` entries begins with that of `first` (RFC 6962, 2.1.2)."""
        wanted = self._checked(second)
        if not 0 <= first <= wanted:
            raise ValueError(f"a tree of {wanted} entries does not begin with {first}")
        if first in (0, wanted):
            return []
        low, high, found = 0, wanted, []
        while first != high:
            middle = low + _split(high - low)
            if first <= middle:
                found.append(self._range(middle, high))
                high = middle
            else:
                found.append(self._range(low, middle))
                low = middle
        # A whole tree is known to whoever checks, by its root.
        return [*([self._range(low, high)] if low else []), *found[::-1]]

    def require_entry(self, index: int, body: bytes, checkpoint: Checkpoint) -> None:
        """Deny with `log.missing` unless the entry `body` stands at `index` of the checkpoint's tree.

        `body` is the `canonicalizedBody` of a log entry in a Sigstore bundle.
        """
        self.require_leaf(index, merkle.entry_hash(body), checkpoint)

    def require_leaf(self, index: int, leaf: bytes, checkpoint: Checkpoint) -> None:
        """As `require_entry`, for an entry of which the leaf hash is known."""
        if index >= min(checkpoint.size, self.size):
            raise missing(f"the log has {checkpoint.size} entries, and none at {index}", index)
        if self.leaf(index) != leaf:
            raise missing(f"at {index} the log holds another entry", index)
        path = self.inclusion(index, checkpoint.size)
        if merkle.root_from_path(leaf, index, checkpoint.size, path) != checkpoint.root:
            raise invalid(f"the log's tiles do not lead from entry {index} to its checkpoint's root")

    def width(self, level: int, number: int) -> int:
        """How many hashes tile `number` of a level has in this tree; 0 where there is no such tile."""
        return max(0, min(WIDTH, (self.size >> (HEIGHT * level)) - number * WIDTH))

    def _range(self, low: int, high: int) -> bytes:
        """The hash over entries [low, high), which is a node of this tree or of one that it begins with."""
        count = high - low
        if count & (count - 1) == 0:
            return self._subtree(low, count.bit_length() - 1)
        middle = low + _split(count)
        return merkle.node(self._range(low, middle), self._range(middle, high))

    def _hash_of(self, low: int, height: int) -> bytes:
        """The hash over the 2^height entries from `low`."""
        level, above = divmod(height, HEIGHT)
        number, first = divmod(low >> (HEIGHT * level), WIDTH)
        return merkle.root(self.tile(level, number)[first : first + (1 << above)])

    def _tile(self, level: int, number: int) -> list[bytes]:
        """The hashes of one tile, as many as it has in this tree. Raises `Denied`, `LogUnavailable`."""
        width = self.width(level, number)
        raw, path = self._read(str(level), number, width)
        found = merkle.hashes(raw)
        if len(raw) % merkle.HASH or len(found) not in (width, WIDTH):
            raise invalid(f"{path} has {len(raw)} bytes, not {width} hashes", path)
        return found[:width]

    def _bundle(self, number: int) -> list[bytes]:
        """The entries of one bundle, as many as it has in this tree. Raises `Denied`, `LogUnavailable`."""
        width = self.width(0, number)
        raw, path = self._read(ENTRIES, number, width)
        entries, at = [], 0
        while at < len(raw):
            length = struct.unpack_from(">H", raw, at)[0] if at + 2 <= len(raw) else len(raw)
            if at + 2 + length > len(raw):
                raise invalid(f"{path} is cut short", path)
            entries.append(raw[at + 2 : at + 2 + length])
            at += 2 + length
        if len(entries) not in (width, WIDTH):
            raise invalid(f"{path} has {len(entries)} entries, not {width}", path)
        return entries[:width]

    def _read(self, level: str, number: int, width: int) -> tuple[bytes, str]:
        """A tile's bytes, and its name. Of a partial one, the full one may have taken the place."""
        if width == 0:
            raise ValueError(f"a tree of {self.size} entries has no tile {number} at {level}")
        full = tile_path(level, number)
        limit = _MAX_BUNDLE if level == ENTRIES else WIDTH * merkle.HASH
        names = [full] if width == WIDTH else [f"{full}.p/{width}", full]
        for name in names:
            raw = _file(self._source, name, limit)
            if raw is not None:
                return raw, name
        raise missing(f"{names[0]} is not there, although the log says that it has {self.size} entries")

    def _checked(self, size: int | None) -> int:
        wanted = self.size if size is None else size
        if not 0 <= wanted <= self.size:
            raise ValueError(f"the tiles are of {self.size} entries, not of {wanted}")
        return wanted

    def _require(self, index: int, size: int) -> None:
        if not 0 <= index < size:
            raise ValueError(f"there is no entry {index} among {size}")


def newest(source: LogSource, trust: TrustConfig, *, at: datetime) -> Checkpoint:
    """The checkpoint that the log shows now. Raises `Denied` with `log.invalid`, `LogUnavailable`."""
    raw = _file(source, "checkpoint", MAX_CHECKPOINT)
    if raw is None:
        raise LogUnavailable(f"{source.name} has no checkpoint; is it the prefix of a log's tiles?")
    return Checkpoint.read(raw, trust, at=at)


def packed(level: str, items: Sequence[bytes]) -> bytes:
    """The bytes of a tile of these hashes or entries."""
    return b"".join(struct.pack(">H", len(one)) + one for one in items) if level == ENTRIES else b"".join(items)


def tile_path(level: str, number: int) -> str:
    """The name of a full tile; `level` is a number, or `entries`. 1234067 is x001/x234/067."""
    name = f"{number % 1000:03d}"
    while number := number // 1000:
        name = f"x{number % 1000:03d}/{name}"
    return f"tile/{level}/{name}"


def missing(detail: str, index: int | None = None) -> Denied:
    """The log does not have what it must have."""
    return Denied(Reason.LOG_MISSING, detail, step=_STEP, field=None if index is None else f"entry {index}")


def _file(source: LogSource, name: str, limit: int) -> bytes | None:
    """A file of the log. What is too large, or none, is there, and is not what a log has: not an answer to wait for."""
    try:
        return source.read(name, limit)
    except Unfit as unfit:
        raise invalid(unfit.detail, name) from unfit


def _split(count: int) -> int:
    """The largest power of two that is smaller than `count` (RFC 6962, section 2.1)."""
    return 1 << ((count - 1).bit_length() - 1)

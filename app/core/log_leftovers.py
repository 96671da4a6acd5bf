"""The tiles of a log's directory that a look at its newest checkpoint does not read: partial ones that wider ones
took the place of.

Proofs to older checkpoints may still be made of them. Nothing signed names them any more, but each is the beginning of
the tile that took its place, and that one leads to the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.core.checkpoint import invalid
from app.core.errors import Denied
from app.core.log_source import LogSource, Unfit
from app.core.log_tiles import ENTRIES, WIDTH, LogTiles, packed, tile_path

_NAME = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, order=True)
class _Tile:
    level: str
    number: int
    width: int
    name: str


class Leftovers:
    """The files that lay in the log's directory before its checkpoint was read."""

    def __init__(self, names: Sequence[str]) -> None:
        read = [(name, _parsed(name)) for name in names]
        self._tiles = sorted(tile for _, tile in read if tile is not None)
        self._others = sorted(name for name, tile in read if tile is None)

    def beyond(self, tiles: LogTiles) -> list[str]:
        """Those that a tree has not: the log writes its tiles before the checkpoint."""
        return [one.name for one in self._tiles if one.width > _width(tiles, one)]

    def check(self, source: LogSource, tiles: LogTiles) -> Iterator[Denied]:
        """What is no tile of this tree, and each partial tile that is not the beginning of the tree's own."""
        odd = [*self._others, *self.beyond(tiles)]
        still = set(source.tiles()) if odd else ()
        for name in odd:
            if name in still:
                yield invalid(f"{name} is no tile of a log of {tiles.size} entries", name)
        for one in self._tiles:
            if one.width >= _width(tiles, one):
                continue  # it was read, or is beyond
            try:
                whole = _hashes_or_entries(tiles, one)
            except Denied:
                continue  # who reads the tree has told that
            if not _is(source, one, packed(one.level, whole[: one.width])):
                yield invalid(f"{one.name} is not what {tile_path(one.level, one.number)} begins with", one.name)


def _parsed(name: str) -> _Tile | None:
    """A tile by its name; None where it names none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    number = int(match["number"].replace("x", "").replace("/", ""))
    width = int(match["width"] or WIDTH)
    full = tile_path(match["level"], number)
    if name != (f"{full}.p/{width}" if match["width"] else full) or (match["width"] and width >= WIDTH):
        return None
    return _Tile(match["level"], number, width, name)


def _is(source: LogSource, one: _Tile, due: bytes) -> bool:
    """Whether a tile has these bytes, or is there no more."""
    try:
        return source.read(one.name, len(due)) in (None, due)
    except Unfit:
        return False


def _width(tiles: LogTiles, one: _Tile) -> int:
    return tiles.width(0 if one.level == ENTRIES else int(one.level), one.number)


def _hashes_or_entries(tiles: LogTiles, one: _Tile) -> list[bytes]:
    return tiles.bundle(one.number) if one.level == ENTRIES else tiles.tile(int(one.level), one.number)

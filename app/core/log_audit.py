"""Whether a log holds what its checkpoints say: consistency of two of them, and every entry and tile of a range."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.core import merkle
from app.core.checkpoint import Checkpoint, invalid
from app.core.errors import Denied
from app.core.log_tiles import HEIGHT, WIDTH, LogTiles, tile_path
from app.core.reason_codes import Reason


class Inconsistent(Denied):
    """Two checkpoints that one log signed, and that no log can hold both of: the proof that it showed two histories."""

    def __init__(self, detail: str, *checkpoints: Checkpoint) -> None:
        super().__init__(Reason.LOG_INCONSISTENT, detail, step="log")
        self.checkpoints = checkpoints


def require_root(tiles: LogTiles, checkpoint: Checkpoint) -> None:
    """Deny with `log.invalid` unless the tiles lead to the checkpoint's root."""
    if tiles.root(checkpoint.size) != checkpoint.root:
        raise invalid(f"the log's tiles do not lead to the root of its checkpoint of {checkpoint.size} entries")


def require_begins(tiles: LogTiles, earlier: Checkpoint, later: Checkpoint, shown: str = "it showed before") -> None:
    """Deny unless the log of `later`, whose tiles these are, begins with the log of `earlier`.

    Raises `Inconsistent` where the two contradict each other, `Denied` with `log.invalid` where the tiles prove
    neither. `shown` says to whom the earlier one was shown.
    """
    if earlier.origin != later.origin:
        raise invalid(f"what {shown} is of the log {earlier.origin!r}, not of {later.origin!r}")
    if earlier.size > later.size:
        detail = f"the log has {later.size} entries now, and had {earlier.size} in what {shown}"
        raise Inconsistent(detail, earlier, later)
    if earlier.size == later.size:
        if earlier.root != later.root:
            detail = f"of {later.size} entries there are two roots: this one, and another in what {shown}"
            raise Inconsistent(detail, earlier, later)
        return
    root = tiles.root(earlier.size)
    proof = tiles.consistency(earlier.size, later.size)
    if not merkle.consistent(earlier.size, root, later.size, later.root, proof):
        raise invalid(f"the log's tiles do not prove how it grew from {earlier.size} to {later.size} entries")
    if root != earlier.root:
        detail = f"the first {earlier.size} entries of the log are others than in what {shown}"
        raise Inconsistent(detail, earlier, later)


def entries_of(
    tiles: LogTiles, first: int, last: int, on_denied: Callable[[Denied, int], None]
) -> Iterator[tuple[int, bytes, bytes]]:
    """The entries [first, last), each with its index and its leaf hash, as they were read.

    What is missing, damaged, or not what the tiles commit to is told to `on_denied`, with the index.
    """
    for number in range(first // WIDTH, (last + WIDTH - 1) // WIDTH):
        try:
            entries, leaves = tiles.bundle(number), tiles.tile(0, number)
        except Denied as denied:
            on_denied(denied, max(first, number * WIDTH))
            continue
        for at, (entry, committed) in enumerate(zip(entries, leaves, strict=True)):
            index = number * WIDTH + at
            leaf = merkle.entry_hash(entry)
            if leaf != committed:
                names = f"{tile_path('entries', number)} and {tile_path('0', number)}"
                on_denied(invalid(f"{names} differ in entry {index}", names), index)
            if first <= index < last:
                yield index, entry, leaf


def contradictions(tiles: LogTiles, first: int) -> Iterator[Denied]:
    """Each pair of tiles of which the one above does not hold the root of the one below.

    Only tiles that became full with the entries from `first`. With `entries_of` over the same range and
    `require_root`, every hash of every tile is then compared.
    """
    level = 1
    while whole := tiles.size >> (HEIGHT * level):
        for index in range(first >> (HEIGHT * level), whole):
            try:
                below, above = tiles.tile(level - 1, index), tiles.tile(level, index // WIDTH)
            except Denied as denied:
                yield denied
                continue
            if merkle.root(below) != above[index % WIDTH]:
                names = f"{tile_path(str(level - 1), index)} and {tile_path(str(level), index // WIDTH)}"
                yield invalid(f"{names} contradict each other", names)
        level += 1

"""Keep what a log signed: each checkpoint, and the tiles at its right edge, which it replaces as it grows."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from app.core.checkpoint import Checkpoint
from app.core.errors import UsageError
from app.core.files import write_together
from app.core.log_tiles import HEIGHT, WIDTH, LogTiles, tile_path


def keep(directory: Path, checkpoint: Checkpoint, tiles: LogTiles) -> None:
    """Write a checkpoint below `directory`, and the partial tiles that lead to its root, under their own names.

    With the full tiles, which a log never changes, they are what a consistency proof to this checkpoint is made of.
    """
    files = {_name(directory, checkpoint): checkpoint.note.encode()}
    level = 0
    while hashes := checkpoint.size >> (HEIGHT * level):
        number, width = divmod(hashes, WIDTH)
        if width:
            path = directory / f"{tile_path(str(level), number)}.p" / str(width)
            files[path] = b"".join(tiles.tile(level, number)[:width])
        level += 1
    _write(files)


def keep_evidence(directory: Path, checkpoints: tuple[Checkpoint, ...], report: bytes) -> list[Path]:
    """Write checkpoints that contradict each other, and the report about them, below `directory`. Gives the files."""
    files = {_name(directory, one): one.note.encode() for one in checkpoints}
    files[directory / f"report-{sha256(report).hexdigest()[:16]}.json"] = report
    _write(files)
    return list(files)


def _name(directory: Path, checkpoint: Checkpoint) -> Path:
    """By size, root and signatures: two that contradict each other, and one by more witnesses, stand side by side."""
    digest = sha256(checkpoint.note.encode()).hexdigest()
    return directory / "checkpoints" / f"{checkpoint.size}-{checkpoint.root.hex()[:16]}-{digest[:16]}"


def _write(files: dict[Path, bytes]) -> None:
    try:
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"cannot make {error.filename}: {error.strerror}") from error
    write_together({path: content for path, content in files.items() if not path.exists()})

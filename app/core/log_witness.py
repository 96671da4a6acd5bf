"""Others who saw a checkpoint of a log: the more of them there are, the harder it is to show each another log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.core.checkpoint import MAX_CHECKPOINT
from app.core.files import read_bounded
from app.core.log_source import HttpSource, LogUnavailable


class Witness(Protocol):
    """Gives the newest checkpoint that somebody else saw."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def read(self) -> bytes | None:
        """The checkpoint; None where it saw none yet. Raises `LogUnavailable`, `UsageError`."""


@dataclass(frozen=True)
class FileWitness:
    """A file that holds a checkpoint, as somebody sent it."""

    file: Path

    @property
    def name(self) -> str:
        """The file."""
        return str(self.file)

    def read(self) -> bytes:
        """As `Witness.read`."""
        return read_bounded(self.file, MAX_CHECKPOINT, "the checkpoint")


@dataclass(frozen=True)
class UrlWitness:
    """An address that answers with a checkpoint, such as that of the log seen from elsewhere."""

    url: str

    @property
    def name(self) -> str:
        """The address."""
        return self.url

    def read(self) -> bytes:
        """As `Witness.read`."""
        with HttpSource(self.url) as source:
            found = source.get(self.url, MAX_CHECKPOINT)
        if found is None:
            raise LogUnavailable(f"there is no checkpoint at {self.url}")
        return found


def witness(where: str) -> Witness:
    """The witness that an option names by a file or an address."""
    return UrlWitness(where) if "://" in where else FileWitness(Path(where))

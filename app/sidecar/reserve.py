"""Space for records, allocated before it is needed.

On a full disk OPA goes on answering and its record is lost. So blocks are allocated ahead of the end of the record
file; the lease is renewed only while all of them are there, and OPA is ended before the last of them is used.
"""

from __future__ import annotations

import os
from pathlib import Path

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import allocation

#: Blocks are given back in steps of this many bytes.
_FREE_STEP = 1024 * 1024


class Reserve:
    """The blocks ahead of one record file, and the limit on all record files together."""

    def __init__(self, path: Path, size: int, limit: int) -> None:
        """`size`: bytes to keep allocated ahead. `limit`: bytes that all record files may take, reserve included."""
        self._path = path
        self._size = size
        self._limit = limit
        self._allocated_to = 0

    def keep(self) -> None:
        """Allocate up to the full reserve again. Raises `Denied` when it is not whole afterwards."""
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            end = os.fstat(descriptor).st_size
            wanted = end + self._size
            used = sum(path.stat().st_blocks * 512 for path in self._path.parent.glob("*.log"))
            missing = wanted - max(self._allocated_to, end)
            if used + max(missing, 0) > self._limit:
                raise Denied(Reason.RECORD_RESERVE, f"records and reserve would take more than {self._limit} bytes")
            allocation.reserve(descriptor, max(self._allocated_to, end), missing)
            self._allocated_to = max(self._allocated_to, wanted)
        except allocation.NoSpace as error:
            raise Denied(Reason.RECORD_RESERVE, str(error)) from error
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the reserve back, because nobody writes this file any more."""
        if self._allocated_to:
            release(self._path)
            self._allocated_to = 0

    def nearly_spent(self) -> bool:
        """Whether less than half of the reserve is left ahead of the records."""
        return self._allocated_to - self._path.stat().st_size < self._size / 2


def free(path: Path, acknowledged: int) -> None:
    """Give back the blocks of records that the control plane holds durably."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        allocation.free(descriptor, 0, acknowledged - acknowledged % _FREE_STEP)
    finally:
        os.close(descriptor)


def release(path: Path) -> None:
    """Give back the blocks that are allocated beyond the end of a file: truncating it to its own size does that."""
    try:
        os.truncate(path, path.stat().st_size)
    except FileNotFoundError:
        return  # shipped whole and deleted meanwhile

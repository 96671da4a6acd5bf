"""Disk blocks of a growing file: reserved ahead of its end, and given back at its front (Linux, fallocate(2))."""

from __future__ import annotations

import ctypes
import errno
import os

from app.core.errors import PlacetError

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02

_libc = ctypes.CDLL(None, use_errno=True)


class NoSpace(PlacetError):
    """The file system cannot give the blocks."""


def reserve(descriptor: int, offset: int, length: int) -> None:
    """Allocate blocks for `[offset, offset + length)` without changing the file's size. Raises `NoSpace`."""
    _fallocate(descriptor, _KEEP_SIZE, offset, length)


def free(descriptor: int, offset: int, length: int) -> None:
    """Give the blocks of `[offset, offset + length)` back; the bytes read as zero from then on."""
    _fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, length)


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    if length <= 0:
        return
    try:
        call = _libc.fallocate64
    except AttributeError as error:
        raise PlacetError("this platform cannot reserve space for records: a sidecar needs Linux") from error
    while call(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        if code in {errno.EOPNOTSUPP, errno.ENOSYS}:
            raise PlacetError("the file system of the records cannot reserve space; use ext4, xfs, btrfs or tmpfs")
        raise NoSpace(f"cannot reserve space for records: {os.strerror(code)}")

"""Which bundles passed the checks of their Rego, so that a release that is verified again is not compiled again.

Whether they pass depends on the bundle's bytes, the OPA binary and the builtins that are allowed, and on nothing else.
Nothing about trust is remembered: signatures, signers, times and conditions are verified anew each time. Nor are
denials, which may be for want of memory or time.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from app.core.errors import PlacetError

#: Bundles that are remembered for each OPA: more than a control plane has in use.
_MOST = 1024

Key = tuple[object, ...]


class PassedChecks:
    """The bundles that passed under one OPA binary, for as long as the process runs."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._passed: OrderedDict[Key, None] = OrderedDict()
        self._lock = Lock()

    def key(self, digest: str, allowed: frozenset[str]) -> Key:
        """What the checks of the bundle with this digest depend on, `allowed` being builtins that it may call too.

        To be asked for before the checks: the file may become another binary meanwhile.
        """
        return digest, allowed, *self.binary()

    def binary(self) -> Key:
        """What tells the binary from another that is put in its place."""
        try:
            file = self._binary.stat()
        except OSError as error:
            raise PlacetError(f"cannot run {self._binary}: {error.strerror}") from error
        return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns

    def holds(self, key: Key) -> bool:
        """Whether that passed."""
        with self._lock:
            if key not in self._passed:
                return False
            self._passed.move_to_end(key)
            return True

    def note(self, key: Key) -> None:
        """Remember that it passed."""
        with self._lock:
            self._passed[key] = None
            while len(self._passed) > _MOST:
                self._passed.popitem(last=False)

"""Runs the demo: sets the stack up, goes through the rows, and shows the table."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from app.local import tools
from app.local.demo.meddler import Meddler
from app.local.demo.rows import ROWS, World
from app.local.demo.stack import Stack


@dataclass(frozen=True)
class Result:
    """What one row came to."""

    row: str
    passed: bool
    seen: str
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """The row as JSON."""
        return asdict(self)


class Demo:
    """The stack of the demo with everything in place. A context manager."""

    def __init__(self, say: Callable[[str], None], directory: Path | None = None) -> None:
        self._say = say
        self._world: World | None = None
        self._scratch = None if directory else tempfile.TemporaryDirectory(prefix="placet-demo-")
        self.directory = directory or Path(self._scratch.name)  # type: ignore[union-attr]

    def __enter__(self) -> World:
        tools.install()
        self._stack = Stack(self.directory, tools.installed("opa"), self._say)
        self._stack.__enter__()
        self._meddler = Meddler(self._stack.server)
        try:
            self._meddler.start()
            self._say("policy: built, signed, published")
            bundle = self._stack.sign(self._stack.build("v1"))
            published = self._stack.publish(bundle)
            self._say("two sidecars")
            first = self._stack.start_sidecar("sidecar-a")
            second = self._stack.start_sidecar("sidecar-b", server=self._meddler.url)
        except BaseException:
            self.__exit__()
            raise
        self._world = World(self._stack, first, second, self._meddler, published["release"], bundle)
        return self._world

    def __exit__(self, *exc: object) -> None:
        if self._world is not None:
            self._world.close()
        self._stack.__exit__()
        self._meddler.stop()
        if self._scratch is not None:
            self._scratch.cleanup()


def run_rows(
    world: World, trying: Callable[[str], AbstractContextManager[None]], done: Callable[[Result], None]
) -> list[Result]:
    """Go through all rows, each within `trying`. A row that fails is reported, and the next one is tried."""
    results = []
    for row in ROWS:
        began = time.monotonic()
        with trying(row.title):
            try:
                seen, passed = row.show(world), True
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the promise was not shown
                seen, passed = f"{type(error).__name__}: {error}".splitlines()[0], False
        result = Result(row.title, passed, seen, round(time.monotonic() - began, 1))
        results.append(result)
        done(result)
    return results

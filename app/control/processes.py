"""Processes that work for this one: they leave Ctrl-C to it, and end when it does, however that happens."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any


def pool(number: int, begin: Callable[..., object], *given: Any) -> ProcessPoolExecutor:
    """`number` processes, each of which first calls `begin`.

    They are not forked: a process of threads and database connections is nothing to be copied.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(number, mp_context=context, initializer=_begin, initargs=(begin, *given))


def _begin(begin: Callable[..., object], *given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(*given)
    settle()


def settle() -> None:
    """Have the collector pass over what is in memory now, which stays, and look less often for what does not.

    To go through classes and metadata again for every few batches takes a tenth of the time of reading them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def _end_with_parent() -> None:
    """A parent that was killed closes nothing that its processes wait for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

"""That something ends, where it could go on for ever: a quadratic expression, a bomb, a loop.

It is no measurement. A machine that is busy, that counts covered lines and collects garbage among a test's millions of
objects was seen to take a hundred times what is usual.
"""

import contextlib
import time

#: Seconds of CPU: of what grows without end, and never of what is as it should be.
FOREVER = 20


@contextlib.contextmanager
def soon():
    """What is done within takes this thread less than `FOREVER`."""
    began = time.thread_time()
    yield
    spent = time.thread_time() - began
    assert spent < FOREVER, f"{spent:.1f} s of CPU"

"""File descriptors, for the commands that listen."""

from __future__ import annotations

import resource


def allow_all() -> None:
    """Take as many descriptors as the system allows: idle connections must not use up what files need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

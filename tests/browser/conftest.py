"""A control plane over real HTTP with things to look at, and the system's Chromium to look at them."""

import json
import os
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn

from app.control.app import create_app
from app.control.installation import initialise
from app.control.plane import Plane
from app.control.settings import Settings
from tests.patience import patient as patient

HOSTILE = '"><script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'


def _refuse(*_):
    raise AssertionError("nothing is published in these tests")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Its address and its administrator's token."""
    made = initialise(tmp_path_factory.mktemp("control") / "dir", tmp_path_factory.mktemp("key") / "root.pem")
    app = create_app(Plane.open(Settings.load(made.directory), _refuse))
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not running.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    port = running.servers[0].sockets[0].getsockname()[1]
    token = made.admin_token.read_text().strip()
    _fill(f"http://127.0.0.1:{port}", token)
    yield f"http://127.0.0.1:{port}", token
    running.should_exit = True
    thread.join(timeout=20)


def _fill(url, token):
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as api:
        signer = {"identity": "dev@example.org", "issuer": "https://accounts.example.org"}
        for system in ("payments", "ledger"):
            api.post("/api/v1/systems", json={"name": system, "identities": [signer]}).raise_for_status()
        lines = [_record(number, number % 3 != 0) for number in range(120)]
        lines.append(_record(999, False, subject=HOSTILE, resource=HOSTILE, code=HOSTILE))
        body = b"".join(lines)
        place = {"instance": "i", "file": "f", "first": 0, "last": len(body)}
        api.post("/api/v1/systems/payments/sidecars/one/records", params=place, content=body).raise_for_status()


def _record(number, allow, subject=None, resource=None, code="policy.denied"):
    document = {
        "type": "openpolicyagent.org/decision_logs",
        "decision_id": f"decision-{number:03}",
        "path": "placet/decision",
        "timestamp": f"2026-01-31T12:{number % 1000 // 60:02}:{number % 60:02}.000000001Z",
        "input": {"action": {"name": "refund"}, "resource": {"type": "invoice", "id": resource or f"in-{number:03}"}},
        "result": {
            "allow": allow,
            "reasons": [] if allow else [{"code": code, "message": "The policy denies the request."}],
            "subject": {"issuer": "https://tokens.example.org", "id": subject or f"job-{number % 7}"},
            "bundles": {"policy": "sha256:" + "1" * 64, "library": "sha256:" + "2" * 64},
        },
    }
    return json.dumps(document).encode() + b"\n"


@pytest.fixture
def context(chromium, server):
    """A fresh browser profile that notes what goes wrong in its pages."""
    opened = chromium.new_context(base_url=server[0], viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(30_000)
    opened.troubles = []
    opened.on("console", lambda message: opened.troubles.append(message.text) if message.type == "error" else None)
    opened.on("weberror", lambda error: opened.troubles.append(str(error.error)))
    opened.on("requestfailed", lambda request: _note_failure(opened, request))
    opened.on("request", lambda request: _note_foreign(opened, request, server[0]))
    yield opened
    opened.close()


def _note_failure(context, request):
    if request.failure != "net::ERR_ABORTED":  # the browser's own: the page was left before its icon had come
        context.troubles.append(f"failed: {request.url}")


def _note_foreign(context, request, own):
    if not request.url.startswith(own):
        context.troubles.append(f"loaded from elsewhere: {request.url}")


@pytest.fixture
def page(context, server):
    """A page of somebody who signed in."""
    opened = context.new_page()
    opened.goto("/")
    opened.get_by_label("API token").fill(server[1])
    opened.get_by_role("button", name="Sign in").click()
    opened.wait_for_url("**/decisions")
    yield opened
    assert context.troubles == []


@pytest.fixture
def screenshot(request):
    """Keeps a picture of a page in the directory PLACET_SCREENSHOTS, when it is set."""
    directory = os.environ.get("PLACET_SCREENSHOTS")

    def keep(page, name):
        if directory:
            page.screenshot(path=str(Path(directory) / f"{name}.png"), full_page=True)

    return keep

"""Records from a control plane that runs as a process of its own: one request a record, and in bulk."""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.client import ControlPlane
from cli.decision_sources import FromControlPlane

#: Records that are sent at once, and seconds until the control plane answers.
_TOGETHER, _PATIENCE = 1000, 60.0


@dataclass(frozen=True)
class Stored:
    """A control plane that holds some records."""

    plane: ControlPlane

    def source(self) -> FromControlPlane:
        """Where a replay finds them."""
        return FromControlPlane(self.plane)

    def one_by_one(self, count: int) -> int:
        """Read the newest `count` records, each by its id, as it was done before there was a feed."""
        source = self.source()
        ids = (one["decision_id"] for one in source.pages({"system": "bench"}, count))
        return sum(1 for _ in source.records(ids))

    def in_bulk(self) -> int:
        """Read all of them."""
        return sum(1 for _ in self.source().feed({"system": "bench"}))


@contextmanager
def stored(records: list[bytes], states: list[bytes]) -> Iterator[Stored]:
    """A control plane, on SQLite, with these records and archived trust states."""
    from app.control.installation import initialise
    from app.core.bundle import digest_of

    with tempfile.TemporaryDirectory(prefix="placet-bench-") as scratch, socket.create_server(("127.0.0.1", 0)) as free:
        made = initialise(Path(scratch) / "control", Path(scratch) / "root-key.pem")
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(made.directory, free.dup()), daemon=True
        )
        process.start()
        try:
            headers = {"Authorization": f"Bearer {made.admin_token.read_text().strip()}"}
            client = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
            _await(client)
            signer = {"identity": "dev@example.org", "issuer": "https://tokens.example.org"}
            _sent(client.post("/api/v1/systems", json={"name": "bench", "identities": [signer]}))
            for state in states:
                _sent(client.put(f"/api/v1/systems/bench/states/{digest_of(state)}", content=state))
            first = 0
            for start in range(0, len(records), _TOGETHER):
                body = b"".join(raw + b"\n" for raw in records[start : start + _TOGETHER])
                place: dict[str, Any] = {"instance": "i", "file": "f", "first": first, "last": first + len(body)}
                _sent(client.post("/api/v1/systems/bench/sidecars/one/records", params=place, content=body))
                first += len(body)
            with ControlPlane(client, url) as plane:
                yield Stored(plane)
        finally:
            process.terminate()
            process.join(20)


def _serve(directory: Path, listener: socket.socket) -> None:
    import uvicorn

    from app.control.app import create_app
    from app.control.plane import Plane, verify_nothing
    from app.control.settings import Settings

    plane = Plane.open(Settings.load(directory), verify_nothing)  # type: ignore[arg-type]  # nothing is published
    uvicorn.Server(uvicorn.Config(create_app(plane), log_level="warning")).run(sockets=[listener])


def _await(client: httpx.Client) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the control plane did not become ready")


def _sent(answer: httpx.Response) -> None:
    answer.raise_for_status()

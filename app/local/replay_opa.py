"""OPA as replay asks it: one process for a composed bundle, over a unix socket that only this user can reach."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import msgspec

from app.core.errors import PlacetError
from app.core.opa import Opa
from app.core.replay import Engine, EvaluationError, Unheld
from app.local.children import Children

#: Seconds until OPA must answer for the first time (it compiles the bundle before), and for one query.
_START, _TIMEOUT = 60.0, 120.0
#: Bytes of a query that OPA takes.
_MAX_QUERY = 256 * 1024 * 1024

_CONFIG = {
    "server": {"decoding": {"max_length": _MAX_QUERY}},
    # As at a sidecar. Replay checks no signature; what it is measured against does.
    "caching": {"inter_query_builtin_value_cache": {"named": {"io_jwt": {"max_num_entries": 10000}}}},
}
#: The rule of the replay module that has two values.
_UNHELD = "data.placet_replay.unheld"


class ReplayOpa:
    """One running OPA. Threads may share it."""

    def __init__(self, opa: Opa, bundle: bytes) -> None:
        """Start OPA on a bundle. Raises `PlacetError`."""
        self._scratch = tempfile.TemporaryDirectory(prefix="placet-replay-")
        self._children = Children()
        directory = Path(self._scratch.name)
        transport = httpx.HTTPTransport(uds=str(directory / "opa.sock"))
        #: Its whole API, for measurements.
        self.client = httpx.Client(transport=transport, base_url="http://opa", timeout=_TIMEOUT, trust_env=False)
        try:
            (directory / "bundle.tar.gz").write_bytes(bundle)
            (directory / "opa.json").write_text(json.dumps(_CONFIG))
            self._start(opa, directory)
        except OSError as error:
            self.close()
            raise PlacetError(f"cannot run {opa.binary}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End OPA. Harmless when it has ended."""
        self.client.close()
        self._children.stop(grace=2.0)
        self._scratch.cleanup()

    def evaluate(self, query: str, records: Sequence[bytes], beside: bytes) -> list[str | Exception | None]:
        """As `Engine` says. A query that fails is halved until the record is found that makes it fail."""
        body = b'{"input":{"batch":[%s],%s}}' % (b",".join(records), beside)
        try:
            answer = self.client.post(f"/v1/data/placet_replay/{query}", content=body)
        except httpx.HTTPError as error:
            raise PlacetError(f"OPA did not answer: {error or type(error).__name__}") from error
        if answer.status_code == httpx.codes.OK:
            found = _results(answer.content)
            return [found.get(position) for position in range(len(records))]
        if len(records) == 1:
            return [_failure(answer)]
        half = len(records) // 2
        return [*self.evaluate(query, records[:half], beside), *self.evaluate(query, records[half:], beside)]

    def _start(self, opa: Opa, directory: Path) -> None:
        arguments: list[str | Path] = [
            opa.binary, "run", "--server", "--addr=unix://opa.sock", "--unix-socket-perm=700", "--config-file=opa.json",
            "--log-level=error", "--skip-version-check", "--optimize-store-for-read-speed", "--bundle", "bundle.tar.gz",
        ]  # fmt: skip
        with (directory / "opa.out").open("wb") as output:
            process = self._children.start(
                arguments, output=output, environment={"TZ": "UTC", "GOGC": "400"}, directory=directory
            )
        deadline = time.monotonic() + _START
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/health").status_code == httpx.codes.OK:
                    return
            time.sleep(0.02)
        raise PlacetError(f"OPA does not start on this bundle: {_last_line(directory / 'opa.out')}")


class Opas:
    """The OPA of the bundle that is replayed now: records of one bundle come together, so one at a time is enough."""

    def __init__(self, opa: Opa) -> None:
        self._opa = opa
        self._running: tuple[str, ReplayOpa] | None = None

    def __enter__(self) -> Opas:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def engine(self, revision: str, bundle: bytes) -> Engine:
        """The OPA for the composed bundle of a revision. Raises `PlacetError`."""
        if self._running is None or self._running[0] != revision:
            self.close()
            self._running = (revision, ReplayOpa(self._opa, bundle))
        return self._running[1]

    def close(self) -> None:
        """End it. Harmless when none runs."""
        if self._running is not None:
            self._running[1].close()
            self._running = None


class _Answer(msgspec.Struct):
    result: list[tuple[int, str]]


_answer = msgspec.json.Decoder(_Answer).decode


def _results(raw: bytes) -> dict[int, str]:
    """The JSON text of each result, by the position of its record."""
    try:
        return dict(_answer(raw).result)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PlacetError(f"OPA's answer cannot be read: {error}") from error


def _failure(answer: httpx.Response) -> Exception:
    try:
        errors: list[Any] = answer.json().get("errors") or [answer.json()]
        text = str(errors[0].get("message"))
    except (ValueError, AttributeError):
        text = f"status {answer.status_code}"
    return Unheld() if _UNHELD in text else EvaluationError(text.splitlines()[0][:300])


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"

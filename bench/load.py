"""Load by `wrk`: one closed-loop run, with what it measured."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
{authorization}
local bodies = {{{bodies}}}
local asked = 0
wrk.body = bodies[1]
if #bodies > 1 then
  request = function()
    asked = asked + 1
    return wrk.format(nil, nil, nil, bodies[asked % #bodies + 1])
  end
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class WrkError(Exception):
    """`wrk` is missing, or a run of it did not measure what it should."""


@dataclass(frozen=True)
class Run:
    """One run: requests, requests per second, and latencies in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float


def run(
    url: str, bodies: Sequence[Any], *, seconds: float, token: str | None, directory: Path, connections: int = 8
) -> Run:
    """Post `bodies` in turns for `seconds` over `connections` connections. Any failed request fails the run."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise WrkError("wrk is not installed: apt-get install wrk (or brew install wrk)")
    authorization = f'wrk.headers["Authorization"] = "Bearer {token}"' if token else ""
    script = directory / "load.lua"
    script.write_text(
        _SCRIPT.format(authorization=authorization, bodies=", ".join(_lua(json.dumps(one)) for one in bodies))
    )
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    lines = [line for line in finished.stdout.splitlines() if line.startswith("{")]
    if finished.returncode or not lines:
        raise WrkError(f"wrk failed: {finished.stderr.strip() or finished.stdout.strip()}")
    measured = json.loads(lines[-1])
    if measured["failed"] or not measured["requests"]:
        raise WrkError(f"{measured['failed']} of {measured['requests']} requests to {url} failed")
    return Run(
        requests=measured["requests"],
        rate=measured["requests"] * 1e6 / measured["microseconds"],
        p50=measured["p50"] / 1000,
        p99=measured["p99"] / 1000,
    )


def _lua(text: str) -> str:
    level = "=" * 5
    return f"[{level}[{text}]{level}]"

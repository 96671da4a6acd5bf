"""Decisions as they arrive, printed one a line."""

from __future__ import annotations

import json
import sys
import time
from collections import OrderedDict
from typing import Any

from app.core.complaint import printable
from app.core.errors import PlacetError
from cli.client import ControlPlane
from cli.filter_options import Filters
from cli.output import Output, json_text, say

#: Seconds before the control plane is asked again after a stream ended, and for how long while it is away.
_PAUSE, _AWAY = 1.0, 300.0
#: Decisions that are remembered, so that none is printed twice.
_SEEN = 200_000


def follow_decisions(plane: ControlPlane, filters: Filters, limit: int | None, output: Output) -> None:
    """Print what arrives, at most `limit`. A stream that ends is taken up where it was: nothing is left out."""
    last: str | None = None
    reached = time.monotonic()
    left = limit
    seen: OrderedDict[tuple[str, ...], None] = OrderedDict()
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        try:
            for line in plane.lines("/api/v1/decisions/tail", headers, **filters):
                reached = time.monotonic()
                name, _, value = line.partition(": ")
                if name == "id":
                    last = value
                elif name == "data":
                    one = json.loads(value)
                    if not _is_new(one, seen):
                        continue
                    _print(one, output)
                    left = None if left is None else left - 1
                    if left == 0:
                        return
        except PlacetError as error:
            # At first, or for long, it is not there; in between it was started anew.
            if last is None or time.monotonic() - reached > _AWAY:
                raise
            say(f"{error}; asking again")
        time.sleep(_PAUSE)


def _is_new(one: dict[str, Any], seen: OrderedDict[tuple[str, ...], None]) -> bool:
    """Whether it was not among the last that were printed: a stream that is taken up again repeats some."""
    name = (one["decision_id"], one["time"], one["system"], one["sidecar"])
    if name in seen:
        return False
    seen[name] = None
    if len(seen) > _SEEN:
        seen.popitem(last=False)
    return True


def _print(one: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        line = json_text(one)
    else:
        resource = " ".join(filter(None, one["resource"].values()))
        subject = (one["subject"] or {}).get("id") or "-"
        words = (one["time"], one["outcome"], one["system"], subject, one["action"] or "-", resource or "-")
        line = printable("  ".join([*words, ",".join(one["reasons"]), one["decision_id"]]))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

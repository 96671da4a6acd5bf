"""The lineage log: everything that was stored is in it, and a log that was changed is found out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.local.demo.parts import NotSo, eventually
from app.local.demo.rows.table import World, require, row
from app.local.demo.stack import SYSTEM


@row("the lineage log holds what was stored; an outside monitor finds one changed bit in a copy of it")
def monitored(world: World) -> str:
    """Compares the log with the control plane, then, without a token, a copy of it before and after a change."""
    stack = world.stack
    decision = str(world.ask(world.first).decision_id)
    eventually("the record was signed and shipped", lambda: bool(_entries(world, decision)))
    held = _look(world, stack.sigstore.urls["tiles"], "held.json", "--server", stack.server)
    require(int(held["expected"]) > 0 and held["findings"] == [], f"found {held['findings']}")

    copy = stack.directory / "copied-log"
    shutil.copytree(stack.sigstore.directory / "rekor", copy, dirs_exist_ok=True)
    alone = _look(world, str(copy), "alone.json", token="")
    _flip(copy, int(alone["now"]["size"]))
    changed = _look(world, str(copy), "alone.json", "--full", token="", expect=Denied.exit_code)
    reasons = {one["reason"] for one in changed["findings"]}
    require(reasons == {str(Reason.LOG_INVALID)}, f"found {changed['findings']}")
    return f"{held['expected']} entries of {held['now']['size']} are held; {changed['findings'][0]['detail']}"


def _entries(world: World, decision: str) -> list[Any]:
    """What the log must hold, once the decision is stored."""
    stack = world.stack
    if not any(one["decision_id"] == decision for one in stack.api("/decisions", system=SYSTEM)["items"]):
        return []
    return list(stack.api("/lineage/entries")["entries"])


def _look(world: World, log: str, state: str, *more: str, token: str | None = None, expect: int = 0) -> dict[str, Any]:
    stack = world.stack
    return stack.placet(
        "lineage", "monitor", "--log", log, "--lineage-trust-config", str(stack.sigstore.trust_config),
        "--state", str(stack.directory / state), *more, expect=expect,
        environment=None if token is None else {"PLACET_TOKEN": token},
    )  # fmt: skip


def _flip(log: Path, size: int) -> None:
    """Change one bit of the newest entry."""
    tiles = sorted((log / "tile" / "entries").rglob(f"*.p/{size % 256}"))
    if not tiles:
        raise NotSo("the copied log has no newest tile")
    raw = bytearray(tiles[-1].read_bytes())
    raw[-1] ^= 1
    tiles[-1].write_bytes(bytes(raw))

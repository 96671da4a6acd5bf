"""Files that do not belong in a bundle: what each of them is, and what to do about it."""

from __future__ import annotations

import fnmatch
import json

from app.core.fault import Fault
from app.core.reason_codes import Reason

#: What editors, merges and file managers leave behind.
_LEFTOVERS = ("*~", "#*#", ".#*", "*.sw[op]", "*.bak", "*.orig", "*.rej", "*.tmp", "Thumbs.db", "desktop.ini")


def is_leftover(path: str) -> bool:
    """Whether macOS, an editor or a merge left the file behind."""
    segments = path.split("/")
    if any(segment.startswith("._") or segment in {".DS_Store", "__MACOSX"} for segment in segments):
        return True
    return any(fnmatch.fnmatchcase(segments[-1], pattern) for pattern in _LEFTOVERS)


def fault(path: str, content: bytes, *, leftover: bool = False) -> Fault:
    """Why a file that is neither Rego, data nor the manifest is refused."""
    name = path.rsplit("/", 1)[-1]
    message, remedy = f"{path!r} is neither Rego nor data.json", "a bundle holds nothing else: remove it"
    if leftover or is_leftover(path):
        message, remedy = f"{path!r} was left behind by an editor, a merge or macOS", "remove it"
    elif name == "patch.json":
        what = "an empty delta, once taken for a snapshot that wiped all data" if _empty(content) else "a delta"
        message = f"{path!r} makes OPA take the bundle for {what}"
        remedy = "release whole bundles; data of that name goes into data.json"
    elif name == ".signatures.json":
        message = f"{path!r} is a signature of OPA's own, which no OPA here checks"
        remedy = "build without it; `placet bundle sign` signs"
    elif name in ("policy.wasm", "plan.json"):
        message, remedy = f"{path!r} is compiled policy, which nobody can review", "build with `opa build -t rego`"
    elif name.endswith((".yaml", ".yml", ".json")):
        remedy = "OPA would not load it from a bundle: name it data.json, or leave it out with --ignore"
    return Fault(Reason.ARCHIVE_STRAY, message, remedy, path)


def _empty(content: bytes) -> bool:
    """Whether a delta changes nothing."""
    try:
        delta = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(delta, dict) and not delta.get("data")

"""Checkpoints of a transparency log: what it says that it holds, signed by the log's key.

Their form is that of C2SP's tlog-checkpoint in a signed note (https://github.com/C2SP/C2SP, `tlog-checkpoint.md` and
`signed-note.md`): origin, size and root, then signatures, of which others may be of witnesses.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

from app.core import merkle
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.trust import Log, TrustConfig

#: Bytes of a checkpoint, with the signatures of witnesses.
MAX_CHECKPOINT = 16 * 1024

_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
_SIGNATURE = re.compile(r"\u2014 (?P<name>[^\s+]+) (?P<base64>\S+)")
#: A signed note holds no control character but the newline.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")

_STEP = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of which the log's signature holds: `read` makes no other."""

    #: The log's name.
    origin: str
    #: How many entries the log has, and the Merkle root over them.
    size: int
    root: bytes
    #: The whole note, as it was read: the evidence.
    note: str
    #: Of the key that signed it.
    key_id: bytes

    @classmethod
    def read(cls, raw: bytes | str, trust: TrustConfig, *, at: datetime | None = None) -> Checkpoint:
        """Read a checkpoint that a log of `trust` signed. Raises `Denied` with `log.invalid`.

        `at`: the time at which the log's key must be trusted. A checkpoint has no time of its own, so None, for one
        that was kept or comes from elsewhere, asks for none.
        """
        text, signatures = _parts(raw)
        origin, size, root = _body(text)
        logs = [log for log in trust.logs if origin == log.host]
        if not logs:
            raise invalid(f"the checkpoint is of another log: {origin!r}", "origin")
        signed = [log for log in logs if at is None or log.valid.covers(at) if _signed(text, origin, signatures, log)]
        if not signed:
            raise invalid("the checkpoint is not signed by the log's key", "signature")
        note = raw if isinstance(raw, str) else raw.decode()
        return cls(origin, size, root, note, signed[0].key_id)

    def as_dict(self) -> dict[str, str]:
        """The checkpoint as commands print it; the size is a decimal string."""
        return {"origin": self.origin, "size": str(self.size), "root": self.root.hex(), "note": self.note}


def invalid(detail: str, field: str | None = None) -> Denied:
    """What a log shows is not what a trusted log signed."""
    return Denied(Reason.LOG_INVALID, detail, step=_STEP, field=field)


def _parts(raw: bytes | str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text that is signed, and the signatures: (name, key id and signature)."""
    if len(raw) > MAX_CHECKPOINT:
        raise invalid(f"the checkpoint is larger than {MAX_CHECKPOINT} bytes")
    try:
        note = raw if isinstance(raw, str) else raw.decode()
        note.encode()
    except UnicodeError as error:
        raise invalid("the checkpoint is not UTF-8") from error
    if _CONTROL.search(note) or note.count("\n\n") != 1 or not note.endswith("\n"):
        raise invalid("this is no checkpoint: not a text, an empty line and signatures")
    text, _, signatures = note.partition("\n\n")
    found = []
    for line in signatures.removesuffix("\n").split("\n"):
        match = _SIGNATURE.fullmatch(line)
        if match is None:
            raise invalid("after its empty line the checkpoint holds more than signatures", "signature")
        found.append((match["name"], _base64(match["base64"], "signature")))
    return f"{text}\n", found


def _body(text: str) -> tuple[str, int, bytes]:
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3:
        raise invalid("the checkpoint is cut short")
    origin, size, root = lines[0], lines[1], _base64(lines[2], "root")
    if not origin or not _SIZE.fullmatch(size) or len(root) != merkle.HASH:
        raise invalid("the checkpoint has no origin, size and root")
    if int(size) == 0 and root != merkle.root([]):
        raise invalid("a log without entries has another root", "root")
    return origin, int(size), root


def _signed(text: str, origin: str, signatures: list[tuple[str, bytes]], log: Log) -> bool:
    """Whether `log` signed: at least one signature is its own, and none that says so is another's."""
    own = [signed for name, signed in signatures if name == origin and signed[:4] == log.key_id[:4]]
    return bool(own) and all(log.signed(signature[4:], text.encode()) for signature in own)


def _base64(text: str, field: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise invalid(f"the {field} is not base64", field) from error
    if base64.b64encode(decoded).decode() != text:
        raise invalid(f"the {field} is not canonical base64", field)
    return decoded

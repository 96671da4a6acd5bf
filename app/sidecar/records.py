"""OPA's records: read as they are written, told from everything else on the same stream, and counted.

OPA writes one JSON line a decision to its standard error, before it answers. Other lines appear there too. Some
can be caused by any client and mean nothing; some are OPA's own and are reported; whatever else appears could
mean that a decision was answered and not recorded, and ends the lease for as long as this OPA runs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_TYPE = "openpolicyagent.org/decision_logs"
_LAST_MEMBER = b',"type":"' + _TYPE.encode() + b'"}'
_READ = 4 * 1024 * 1024
#: Bytes of the longest line. Requests are limited to 64 KiB, so no record comes near it.
MAX_LINE = 8 * 1024 * 1024

_DATE = rb"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d "
#: What Go's HTTP server says of connections and requests; any client can cause it without a credential. Records and
#: what goes wrong with them are written by OPA's own logger, as JSON.
_NOISE = re.compile(_DATE + rb"(http2?: .*|Unsolicited response received on idle HTTP channel starting with .*)$")
#: A request that panics OPA's handler gets no answer, so no answer went unrecorded. A stack trace follows.
_PANIC = re.compile(_DATE + rb"http: panic serving \S*: .*$")
_PANIC_BYTES = 64 * 1024
#: OPA's own messages that say nothing about records: (plugin, level, start of the message).
_OWN = (("bundle", "error", "Bundle load failed"), ("bundle", "error", "Bundle activation failed"))
_ROOT_WARNING = "OPA running with uid or gid 0"


class _Labels(msgspec.Struct):
    id: str = ""


class _Line(msgspec.Struct):
    type: str = ""
    msg: str = ""
    level: str = ""
    plugin: str = ""
    path: str = ""
    labels: _Labels = msgspec.field(default_factory=_Labels)


_decode = msgspec.json.Decoder(_Line).decode


@dataclass
class Tally:
    """What was seen in one record file so far."""

    #: Decision records.
    decisions: int = 0
    #: Lines that any client can cause and that mean nothing, panics among them.
    noise: int = 0
    #: Of the noise: requests that panicked OPA's handler.
    panics: int = 0
    #: The first line that is none of what is expected, if there was one.
    unexpected: str | None = None
    #: Bytes of whole lines read.
    end: int = 0
    _trace_left: int = field(default=0, repr=False)

    def counts(self) -> dict[str, int]:
        """The counts, for a report."""
        return {"decisions": self.decisions, "noise": self.noise, "panics": self.panics}


class RecordFile:
    """Follows one record file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tally = Tally()
        self._opa_id = ""

    def expect(self, opa_id: str) -> None:
        """Records must carry this id, which no client knows: a forged line is not taken for a record."""
        self._opa_id = opa_id

    def read(self) -> Tally:
        """Read what was appended since the last call."""
        tally = self.tally
        with self.path.open("rb") as file:
            file.seek(tally.end)
            rest = b""
            while chunk := file.read(_READ):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    tally.end += len(line) + 1
                    self._take(line)
                if len(rest) > MAX_LINE:
                    self._refuse(rest)
                    break
        return tally

    def _take(self, line: bytes) -> None:
        tally = self.tally
        if line.startswith(b"{"):
            tally._trace_left = 0
            self._take_json(line)
        elif _PANIC.match(line):
            tally.noise += 1
            tally.panics += 1
            tally._trace_left = _PANIC_BYTES
        elif _NOISE.match(line):
            tally.noise += 1
            tally._trace_left = 0
        elif tally._trace_left > 0 and not re.match(_DATE, line):
            tally._trace_left -= len(line) + 1
        else:
            self._refuse(line)

    def _take_json(self, line: bytes) -> None:
        try:
            entry = _parse(line)
        except RecursionError:
            self._take_unparsed(line)
            return
        if entry is None:
            self._refuse(line)
        elif entry.type == _TYPE:
            if entry.msg == "Decision Log" and self._opa_id in {"", entry.labels.id}:
                self.tally.decisions += 1
            else:
                self._refuse(line)
        elif not _is_own(entry):
            self._refuse(line)

    def _take_unparsed(self, line: bytes) -> None:
        """A request nested thousands deep is a record of OPA's, though no parser of ours follows it.

        OPA writes members in order, so a record ends with its type; and it names OPA's id, which no client knows.
        """
        if line.endswith(_LAST_MEMBER) and self._opa_id and f'"id":"{self._opa_id}"'.encode() in line:
            self.tally.decisions += 1
        else:
            self._refuse(line)

    def _refuse(self, line: bytes) -> None:
        if self.tally.unexpected is None:
            self.tally.unexpected = line[:200].decode(errors="replace")


def _parse(line: bytes) -> _Line | None:
    """The members that matter; None when the line is no such object. Raises `RecursionError` where it is too deep.

    What msgspec does not take, such as a number beyond a double, json may.
    """
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return msgspec.convert(json.loads(line), _Line)
    except (msgspec.MsgspecError, ValueError):
        return None


def _is_own(entry: _Line) -> bool:
    if entry.level == "warning" and entry.msg.startswith(_ROOT_WARNING):
        return True
    return any(
        entry.plugin == plugin and entry.level == level and entry.msg.startswith(message)
        for plugin, level, message in _OWN
    )

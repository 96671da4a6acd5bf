"""What a monitor of a log remembers between two looks: one file, written whole and only after a look is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from app.core import strict_json
from app.core.checkpoint import Checkpoint
from app.core.complaint import complaint
from app.core.errors import Denied, PlacetError
from app.core.files import read_bounded, write_atomically
from app.core.trust import TrustConfig

FORMAT = "https://placet.dev/log-monitor/v1"

#: Entries that nobody claimed yet and claims that are remembered. With more, the oldest claims are forgotten.
MAX_UNCLAIMED = 100_000
MAX_CLAIMED = 4096

_MAX_FILE = 64 * 1024 * 1024

_Number = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Unclaimed(_Form):
    index: _Number
    digest: _Digest
    identity: str
    seen_at: _Number


class _File(_Form):
    format: Literal["https://placet.dev/log-monitor/v1"]
    checkpoint: str
    cursor: str | None
    unclaimed: list[_Unclaimed]
    claimed: list[_Digest]


@dataclass(frozen=True)
class Unclaimed:
    """An entry of a domain's own that the control plane did not show yet."""

    digest: str
    identity: str
    #: Seconds since 1970, by the monitor's clock.
    seen_at: int


@dataclass
class MonitorState:
    """What was seen so far. A new one has seen nothing, and takes the log's first checkpoint as it is."""

    checkpoint: Checkpoint | None = None
    #: Where the list of expected entries goes on.
    cursor: str | None = None
    #: By their index.
    unclaimed: dict[int, Unclaimed] = field(default_factory=dict)
    #: What was signed by the entries that were claimed last: a sidecar may sign one statement again after a crash.
    claimed: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path, trust: TrustConfig) -> MonitorState:
        """The state in `file`, or a new one where there is none.

        Raises `PlacetError` for a damaged file, and `Denied` where its checkpoint is not by a log of `trust`.
        """
        if not file.exists():
            return cls()
        try:
            document: Any = strict_json.load_object(read_bounded(file, _MAX_FILE, "the monitor's state"))
            kept = _File.model_validate(document)
        except (strict_json.StrictJSONError, ValidationError) as error:
            said = complaint(error) if isinstance(error, ValidationError) else str(error)
            raise PlacetError(
                f"{file} is damaged ({said}); restore it: without it nothing tells whether the log changed what it said"
            ) from error
        unclaimed = {
            int(one.index): Unclaimed(one.digest, one.identity, int(one.seen_at)) for one in kept.unclaimed
        }  # fmt: skip
        try:
            checkpoint = Checkpoint.read(kept.checkpoint, trust)
        except Denied as denied:
            raise Denied(denied.reason, f"what {file} keeps: {denied.detail}", step=denied.step) from denied
        return cls(checkpoint, kept.cursor, unclaimed, list(kept.claimed))

    def save(self, file: Path) -> None:
        """Write the state to `file`, whole or not at all."""
        assert self.checkpoint is not None
        document = {
            "format": FORMAT,
            "checkpoint": self.checkpoint.note,
            "cursor": self.cursor,
            "unclaimed": [
                {"index": str(index), "digest": one.digest, "identity": one.identity, "seen_at": str(one.seen_at)}
                for index, one in sorted(self.unclaimed.items())
            ],
            "claimed": self.claimed[-MAX_CLAIMED:],
        }
        write_atomically(file, strict_json.canonical(document) + b"\n")

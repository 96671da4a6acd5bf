"""The journal of one sidecar with all that writes and ships it, put together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.core.compose import Library
from app.core.errors import Denied
from app.core.governance import Workflow
from app.core.opa import Opa
from app.core.trust import TrustConfig
from app.sidecar import decision_leaves
from app.sidecar.batch_notes import Batch
from app.sidecar.config import SidecarConfig
from app.sidecar.control_plane import ControlPlane
from app.sidecar.doubts import Doubts
from app.sidecar.ended_executions import EndedExecutions
from app.sidecar.execution_journal import ExecutionJournal
from app.sidecar.failures import Failures
from app.sidecar.journal import Journal
from app.sidecar.journal_draft import Position
from app.sidecar.journal_file import JournalFile
from app.sidecar.journal_shipping import JournalShipping
from app.sidecar.own_links import OwnLinks
from app.sidecar.statement_signer import StatementSigner
from app.sidecar.workflows import Workflows


class Lineage:
    """The parts: `journal`, what the agent writes (`own`), what executions do (`executions`), and the shipping."""

    def __init__(
        self,
        config: SidecarConfig,
        trust: TrustConfig,
        library: Library,
        opa: Opa,
        sidecar: Callable[[], str | None],
        plane: ControlPlane,
        doubts: Doubts,
        failures: Failures,
        *,
        ended: EndedExecutions,
        deny: Callable[[], None],
        state: Callable[[], str | None],
        wake: Callable[[], None],
        declared: Callable[[], Mapping[str, Workflow] | None],
    ) -> None:
        """`trust`: of the lineage log. `sidecar`: the SPIFFE ID. `ended`, `deny`, `state`: of `ExecutionJournal`.

        `wake`: the shipping can do something now. `declared`: the workflows of the system; None: not known yet.
        """
        files = config.files
        instance = files.instance()
        file = JournalFile(files.private / f"journal-{instance}.db", files.instance_file)
        self.journal = Journal(file, instance)
        signer = StatementSigner(trust, plane.identity, wake)
        broken = files.private / f"journal-{instance}.break"
        self.shipping = JournalShipping(self.journal, signer, plane, doubts, failures, files.states, broken)
        self.own = OwnLinks(self.journal, self.shipping, sidecar, files.states, library.digest, opa.digest)
        self.executions = ExecutionJournal(
            self.journal, lambda: records_end(files.records), ended, deny, Workflows(declared), state
        )

    def open(self) -> None:
        """Read what an earlier agent left. Raises `PlacetError` when it is damaged."""
        self.journal.open()
        self.own.open()
        self.executions.open()
        self.shipping.vouch()

    def step(self) -> float:
        """Write what could not be written, and ship what can be. Returns the seconds until the next time."""
        with contextlib.suppress(Denied):
            self.own.write_left()
            self.executions.write_left()
        return self.shipping.step()

    def finish(self, seconds: float) -> None:
        """Ship what is left when the agent ends. Raises `PlacetError` for what is not shipped."""
        self.shipping.finish(seconds)

    def cut(self, batch: Batch, entries: Sequence[bytes]) -> None:
        """A batch was cut, or had been when an earlier agent ended."""
        decision_leaves.tell(self.journal, batch, entries)


def records_end(records: Path) -> Position | None:
    """Where the records end that OPA has written so far; None when there are none that were not shipped."""
    for path in sorted(records.glob("*.log"), reverse=True):
        with contextlib.suppress(FileNotFoundError):  # shipped whole and deleted meanwhile
            if size := path.stat().st_size:
                return path.name, size
    return None

"""The file of the executions that run, on disk before a token is given.

Tokens are good across restarts of the agent, so what they rest on is known across them, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from app.core.errors import PlacetError
from app.core.reason_codes import Reason
from app.core.strict_json import canonical
from app.sidecar.database_file import DatabaseFile
from app.sidecar.footing import Footing

_SCHEMA = """
CREATE TABLE held (
    execution TEXT NOT NULL,
    name TEXT NOT NULL,
    footing BLOB NOT NULL,
    expires INTEGER NOT NULL,
    reason TEXT,
    state TEXT,
    PRIMARY KEY (execution, name)
) STRICT, WITHOUT ROWID;
"""
#: By which state they were stopped was not kept, and the next one would be a wrong answer.
_STATES = "ALTER TABLE held ADD COLUMN state TEXT; UPDATE held SET state = '' WHERE reason IS NOT NULL;"


@dataclass(frozen=True)
class Held:
    """One footing of an execution, until when a token for it is about, and why the execution was stopped, if it was."""

    execution: str
    name: str
    footing: Footing
    expires: int
    reason: Reason | None = None
    #: The digest of the first trust state that says so, empty where that is not known; None before there was one.
    state: str | None = None


class RunningFile(DatabaseFile):
    """The database of the executions that run here."""

    version = 2
    missing: ClassVar[Mapping[int, str]] = {0: _SCHEMA, 1: _STATES}
    reason = Reason.AGENT_FAILED
    what = "the file of running executions"

    def damaged(self, why: str) -> PlacetError:
        """What to say of a file that cannot be gone on with."""
        return PlacetError(f"{self.path} is damaged ({why}); delete it, and executions have to be started anew")

    def load(self) -> list[Held]:
        """All that was kept. Raises `PlacetError` when it cannot be read."""
        with self.transaction() as database:
            rows = database.execute("SELECT execution, name, footing, expires, reason, state FROM held").fetchall()
        try:
            return [
                Held(execution, name, json.loads(footing), expires, Reason(reason) if reason else None, state)
                for execution, name, footing, expires, reason, state in rows
            ]
        except ValueError as error:
            raise self.damaged(str(error)) from error

    def keep(self, held: Held) -> None:
        """Keep this, in place of what is kept of it. Raises `Denied` when that cannot be written."""
        row = (held.execution, held.name, canonical(held.footing), held.expires, *_why(held))
        with self.transaction() as database:
            database.execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?)", row)

    def stop(self, held: Iterable[Held]) -> None:
        """Keep why these, which are kept, were stopped. Raises `Denied` when that cannot be written."""
        rows = [(*_why(one), one.execution, one.name) for one in held]
        with self.transaction() as database:
            database.executemany("UPDATE held SET reason = ?, state = ? WHERE execution = ? AND name = ?", rows)

    def forget(self, held: Iterable[Held]) -> None:
        """Keep these no longer. Raises `Denied` when that cannot be written."""
        with self.transaction() as database:
            names = [(one.execution, one.name) for one in held]
            database.executemany("DELETE FROM held WHERE execution = ? AND name = ?", names)


def _why(held: Held) -> tuple[str | None, str | None]:
    return held.reason and str(held.reason), held.state

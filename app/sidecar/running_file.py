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
    PRIMARY KEY (execution, name)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Held:
    """One footing of an execution, until when a token for it is about, and why the execution was stopped, if it was."""

    execution: str
    name: str
    footing: Footing
    expires: int
    reason: Reason | None = None


class RunningFile(DatabaseFile):
    """The database of the executions that run here."""

    version = 1
    missing: ClassVar[Mapping[int, str]] = {0: _SCHEMA}
    reason = Reason.AGENT_FAILED
    what = "the file of running executions"

    def damaged(self, why: str) -> PlacetError:
        """What to say of a file that cannot be gone on with."""
        return PlacetError(f"{self.path} is damaged ({why}); delete it, and executions have to be started anew")

    def load(self) -> list[Held]:
        """All that was kept. Raises `PlacetError` when it cannot be read."""
        with self.transaction() as database:
            rows = database.execute("SELECT execution, name, footing, expires, reason FROM held").fetchall()
        try:
            return [
                Held(execution, name, json.loads(footing), expires, Reason(reason) if reason else None)
                for execution, name, footing, expires, reason in rows
            ]
        except ValueError as error:
            raise self.damaged(str(error)) from error

    def keep(self, held: Iterable[Held]) -> None:
        """Keep these, in place of what is kept of them. Raises `Denied` when that cannot be written."""
        rows = [
            (one.execution, one.name, canonical(one.footing), one.expires, one.reason and str(one.reason))
            for one in held
        ]
        with self.transaction() as database:
            database.executemany("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?)", rows)

    def forget(self, held: Iterable[Held]) -> None:
        """Keep these no longer. Raises `Denied` when that cannot be written."""
        with self.transaction() as database:
            names = [(one.execution, one.name) for one in held]
            database.executemany("DELETE FROM held WHERE execution = ? AND name = ?", names)

"""Executions as the journal's file has them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar.ended_executions import Owner


@dataclass(frozen=True)
class Row:
    """One execution. `outcome`: how it ended; None while it has not."""

    issuer: str
    subject: str
    workflow: str | None
    steps: int
    outcome: str | None

    @property
    def owner(self) -> Owner:
        """The subject, with its issuer."""
        return self.issuer, self.subject


def row_of(database: sqlite3.Connection, execution: str) -> Row | None:
    """The row of an execution."""
    query = "SELECT issuer, subject, workflow, steps, outcome FROM execution WHERE id = ?"
    row = database.execute(query, (execution,)).fetchone()
    return Row(*row) if row else None


def require_running(outcome: str | None) -> None:
    """Raise `Denied` with `execution.ended` for one that is over."""
    if outcome is not None:
        raise Denied(Reason.EXECUTION_ENDED, f"it was {outcome}")


def require_same(row: Row | None, claims: Mapping[str, Any], workflow: str | None) -> None:
    """Raise `Denied` unless an execution may start, or start again, for this subject in this workflow."""
    require_running(row.outcome if row else None)
    if row and (row.issuer, row.subject, row.workflow) != (claims["sub_iss"], claims["sub"], workflow):
        raise Denied(Reason.EXECUTION_CONFLICT, "another subject or workflow has this id")

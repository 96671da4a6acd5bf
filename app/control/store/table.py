"""The class that every table derives from."""

from __future__ import annotations

from sqlmodel import SQLModel

from app.control.store.columns import name_constraints

name_constraints(SQLModel.metadata)


class Table(SQLModel):
    """A table of the control plane."""

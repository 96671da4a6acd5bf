"""Alembic runs the migrations on the connection that `app.control.store.migrations` hands over."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import app.control.store  # noqa: F401 - declares the tables

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()

"""A database of an earlier schema is brought to this one with what it holds."""

import sqlalchemy
from alembic import command
from sqlmodel import select

from app.control.settings import Settings
from app.control.store import Decision, Issuer, Quarantine, Sidecar, Store, System, migrations
from app.control.store.migrations import _config

ROWS = """
INSERT INTO system VALUES ('old', '[]', '[]', 60, '2026-01-31 12:00:00');
INSERT INTO issuer VALUES (1, 'https://i', '["a"]', '{}', '2026-01-31 12:00:00');
INSERT INTO quarantine VALUES (1, 'https://i', 's', 'r', '2026-01-31 12:00:00', 'x', NULL, NULL);
INSERT INTO sidecar VALUES ('old', 'one', 'i', 'prod', '2026-01-31 12:00:00', '2026-01-31 12:00:00', TRUE, '[]',
  NULL, NULL, NULL, NULL, 10, 0, 0);
INSERT INTO batch VALUES (1, 'old', 'one', 'i', 'f', 0, 1, 'x', 'o', 0, '2026-01-31 12:00:00');
INSERT INTO decision VALUES (1, 1, 'old', 'one', 'd', 1, 'deny', '[]',
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', 0, 1)
"""


def test_what_the_first_schema_held_is_read_by_this_one(tmp_path, database):
    store = Store(Settings(directory=tmp_path, database=database).database_url)
    with store.engine.execution_options(placet_writes=True).begin() as connection:
        command.upgrade(_config(connection), "0001")
    with store.write() as session:
        for row in ROWS.split(";"):
            session.execute(sqlalchemy.text(row))
    migrations.upgrade(store)
    with store.read() as session:
        (issuer,), (entry,) = session.exec(select(Issuer)).all(), session.exec(select(Quarantine)).all()
        (system,), (sidecar,) = session.exec(select(System)).all(), session.exec(select(Sidecar)).all()
        (decision,) = session.exec(select(Decision)).all()
    assert (issuer.kind, issuer.domain, issuer.names, issuer.x509_roots) == ("oidc", "", "", [])
    assert entry.kind == "subject"
    assert (system.shadow, system.break_glass, sidecar.modes) == ([], [], [])
    assert (decision.mode, decision.execution) == (None, None)
    migrations.undo(store)
    assert set(sqlalchemy.inspect(store.engine).get_table_names()) <= {"alembic_version"}
    store.close()

"""`placet server init` makes all of it or nothing, and its schema is what the migrations make."""

import stat

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from app.control import installation
from app.control.installation import initialise
from app.control.plane import Plane
from app.control.settings import Settings, parse_database_url
from app.control.store import Store, migrations
from app.core.errors import PlacetError, UsageError

from .conftest import verify_plain


def test_it_makes_private_files_and_leaves_nothing_else(installed, tmp_path):
    assert stat.S_IMODE(installed.directory.stat().st_mode) == 0o700
    secret = [installed.root_key, installed.admin_token, installed.directory / "session.key"]
    secret += [installed.directory / "keys" / f"{role}.pem" for role in ("targets", "snapshot", "timestamp")]
    secret += [installed.directory / "settings.json"]
    for file in secret:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["control", "root-key.pem"]
    assert not list(installed.directory.rglob("root*.pem")), "the root key is kept apart"


def test_it_never_replaces_an_initialised_directory(installed, tmp_path):
    before = installed.root_metadata.read_bytes()
    with pytest.raises(UsageError, match="initialised already"):
        initialise(installed.directory, tmp_path / "another.pem")
    assert installed.root_metadata.read_bytes() == before
    assert not (tmp_path / "another.pem").exists()


@pytest.mark.parametrize("spoil", ["directory not empty", "root key exists", "root key inside", "no place for the key"])
def test_it_refuses_bad_places_and_leaves_them_alone(tmp_path, spoil):
    directory, key = tmp_path / "control", tmp_path / "key.pem"
    if spoil == "directory not empty":
        directory.mkdir()
        (directory / "mine").write_text("x")
    elif spoil == "root key exists":
        key.write_text("mine")
    elif spoil == "root key inside":
        key = directory / "key.pem"
    else:
        key = tmp_path / "nowhere" / "key.pem"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        initialise(directory, key)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failure_in_the_middle_leaves_nothing(tmp_path, database, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installation, "_write_root_key", full)
    with pytest.raises(PlacetError, match="No space left"):
        initialise(tmp_path / "control", tmp_path / "root-key.pem", database)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    # The same place, and the same database, can be used afterwards.
    assert initialise(tmp_path / "control", tmp_path / "root-key.pem", database).admin_token.exists()


def test_a_database_of_another_control_plane_is_refused(tmp_path, postgresql, request):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    initialise(tmp_path / "one", tmp_path / "one.pem", url)
    with pytest.raises(UsageError, match="belongs to a control plane already"):
        initialise(tmp_path / "two", tmp_path / "two.pem", url)
    assert not (tmp_path / "two").exists()
    assert not (tmp_path / "two.pem").exists()
    # Keys and database must be of one making.
    initialise(tmp_path / "three", tmp_path / "three.pem")
    (tmp_path / "three" / "settings.json").write_text((tmp_path / "one" / "settings.json").read_text())
    with pytest.raises(PlacetError, match="another control plane"):
        Plane.open(Settings.load(tmp_path / "three"), verify_plain)


def test_a_database_that_is_down_is_one_clear_line(tmp_path):
    with pytest.raises(PlacetError, match=r"^the database does not answer: .*") as caught:
        initialise(tmp_path / "control", tmp_path / "key.pem", "postgresql://127.0.0.1:1/none")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def is_table(name, kind, _):
    """Not a part of one (`app.control.store.partitions`)."""
    return kind != "table" or not name.startswith("decision_")


def test_the_migrations_are_the_schema(installed):
    store = Store(Settings.load(installed.directory).database_url)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_table})
        assert compare_metadata(context, SQLModel.metadata) == []
    migrations.undo(store)
    tables = set(sqlalchemy.inspect(store.engine).get_table_names())
    assert tables <= {"alembic_version"}
    store.close()


def test_a_missing_or_foreign_schema_says_what_to_run(installed):
    settings = Settings.load(installed.directory)
    store = Store(settings.database_url)
    head = migrations.current(store)
    with store.write() as session:
        session.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '0013'"))
    with pytest.raises(PlacetError, match="placet server migrate"):
        Plane.open(settings, verify_plain)
    with store.write() as session:
        session.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(PlacetError, match="newer version"):
        Plane.open(settings, verify_plain)
    with pytest.raises(PlacetError, match="newer version"):
        migrations.upgrade(store)
    with store.write() as session:
        session.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = :head"), {"head": head})
    migrations.undo(store)
    with pytest.raises(PlacetError, match="placet server init"):
        Plane.open(settings, verify_plain)
    store.close()


def test_an_uninitialised_directory_says_what_to_run(tmp_path):
    with pytest.raises(PlacetError, match="placet server init"):
        Settings.load(tmp_path)


def test_a_key_that_others_can_read_is_refused(installed):
    key = installed.directory / "keys" / "targets.pem"
    key.chmod(0o644)
    with pytest.raises(PlacetError, match="others can read"):
        Plane.open(Settings.load(installed.directory), verify_plain)


@pytest.mark.parametrize("text", ["mysql://h/d", "nonsense", "sqlite://", "sqlite:///:memory:", ""])
def test_other_databases_are_refused(text):
    with pytest.raises(UsageError, match="database"):
        parse_database_url(text)


def test_plain_postgresql_means_the_installed_driver():
    assert parse_database_url("postgresql://h/d").drivername == "postgresql+psycopg"

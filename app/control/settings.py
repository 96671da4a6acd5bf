"""The control plane's own directory: where its database, objects and keys lie.

DIR/settings.json      database and object-store URLs, when they are not the defaults;
                       lineage_trust_config, which `placet server run` can name, too      0600
DIR/placet.db          SQLite, by default
DIR/objects/           object store, by default
DIR/keys/ROLE.pem      the online TUF keys: targets, snapshot, timestamp                 0600
DIR/session.key        signs the web UI's session cookies                                0600
DIR/seal.key           seals the rows that nobody signs                                  0600
DIR/admin.token        the first API token                                               0600
DIR/tuf-root.json      what sidecars pin
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.core.errors import PlacetError, UsageError

SETTINGS = "settings.json"

#: The trust domain of a control plane that was not given one.
DEFAULT_DOMAIN = "placet.internal"


class Settings(BaseModel):
    """What `placet server init` decided. `None` stands for the default inside the directory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str | None = None
    #: The control plane's own trust domain.
    domain: str = DEFAULT_DOMAIN
    objects: str | None = None
    #: The trust config of the lineage log, so that no start can forget it: without one, records are taken unsigned.
    lineage_trust_config: Path | None = None
    directory: Annotated[Path, Field(exclude=True)]

    @classmethod
    def load(cls, directory: Path) -> Settings:
        """Read the settings of an initialised directory."""
        file = directory / SETTINGS
        try:
            return cls(directory=directory.absolute(), **json.loads(file.read_bytes()))
        except FileNotFoundError as error:
            raise PlacetError(f"{directory} is not initialised; run: placet server init --dir {directory}") from error
        except OSError as error:
            raise PlacetError(f"cannot read {file}: {error.strerror}") from error
        except (ValueError, TypeError, ValidationError) as error:
            raise PlacetError(f"{file} is damaged; restore it from a backup") from error

    def encode(self) -> bytes:
        """The settings as they stand in the file."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @property
    def database_url(self) -> URL:
        """The database, as SQLAlchemy names it."""
        if self.database is None:
            return URL.create("sqlite", database=str(self.directory / "placet.db"))
        return parse_database_url(self.database)

    @property
    def objects_url(self) -> str:
        """The object store, as obstore names it."""
        return self.objects or (self.directory / "objects").as_uri()

    @property
    def lineage_trust(self) -> Path | None:
        """The trust config of the lineage log; a relative path begins at the directory."""
        return None if self.lineage_trust_config is None else self.directory / self.lineage_trust_config

    @property
    def keys(self) -> Path:
        """The directory of the online TUF keys."""
        return self.directory / "keys"

    @property
    def root_metadata(self) -> Path:
        """The TUF root that sidecars pin."""
        return self.directory / "tuf-root.json"

    @property
    def session_key(self) -> Path:
        """The secret that signs session cookies."""
        return self.directory / "session.key"

    @property
    def seal_key(self) -> Path:
        """The secret that seals the rows that nobody signs."""
        return self.directory / "seal.key"

    @property
    def admin_token(self) -> Path:
        """Where the first token is written."""
        return self.directory / "admin.token"


def parse_database_url(text: str) -> URL:
    """A SQLite or PostgreSQL URL. Plain `postgresql://` means psycopg, the driver that is installed."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UsageError("the database URL is malformed; expected postgresql://HOST/NAME or sqlite:///FILE") from error
    if url.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return url
    raise UsageError(f"the database must be PostgreSQL or a SQLite file, not {url.drivername!r}")

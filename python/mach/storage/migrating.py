"""Bringing a service's tables to this version of Mach."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection

Service = Literal["aggregator", "operator", "verifier"]

# Alembic's environment is global to the process, and databases may be opened in several threads.
_ONE_AT_A_TIME: Final = threading.Lock()

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migration_config(service: Service) -> Config:
    """Alembic's configuration for one service's line of migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(MIGRATIONS / service))
    config.set_main_option("path_separator", "os")
    return config


def head_revision(service: Service) -> str | None:
    """The newest revision that this version of Mach knows for a service."""
    return ScriptDirectory.from_config(migration_config(service)).get_current_head()


def upgrade(connection: Connection, service: Service) -> None:
    """Runs what is missing, in the connection's transaction. Raises alembic's `CommandError` for a newer database."""
    config = migration_config(service)
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")

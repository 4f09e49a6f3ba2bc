"""What can go wrong with a database, each with what to do; drivers' errors are turned into these at one place."""

from __future__ import annotations

import sqlite3
from typing import ClassVar, Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mach.errors import MachError

DRIVER_ERRORS: Final = (
    DBAPIError,
    PoolTimeoutError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)
"""What drivers and SQLAlchemy raise; `TimeoutError` is an `OSError`."""


class DatabaseError(MachError):
    """The database cannot be opened, is of another version, or refuses a statement."""


class DatabaseUnavailableError(DatabaseError):
    """The server cannot be reached or the connection was lost. If it was lost while a transaction was being committed,
    the transaction may stand: every write of the stores may be repeated."""

    exit_code: ClassVar[int] = 3


class DatabaseBusyError(DatabaseError):
    """Another process held a lock for longer than a transaction waits."""

    exit_code: ClassVar[int] = 3


class DatabaseFullError(DatabaseError):
    """No space is left on the database's disk or in its quota."""


class DatabaseReadOnlyError(DatabaseError):
    """The database's file, folder or server takes no writes."""


class FencedOutError(MachError):
    """A submission-side write by a replica that is no longer the submitter; nothing was written."""


class IndicesExhaustedError(MachError):
    """Task indices are 32 bits wide and all of them are reserved."""


class RetryRefusedError(MachError):
    """The task is not one that can be tried again."""

    exit_code: ClassVar[int] = 1


_POSTGRES: Final[dict[str, tuple[type[DatabaseError], str]]] = {
    "53100": (DatabaseFullError, "free space on the server's disk"),
    "53400": (DatabaseFullError, "raise the server's limit"),
    "25006": (DatabaseReadOnlyError, "name the primary server, or make it writable"),
    "42501": (DatabaseError, "grant the user the rights to use and create tables in its schema"),
    "55P03": (DatabaseBusyError, "look in pg_locks for who holds the lock"),
    "57014": (DatabaseBusyError, "look in pg_stat_activity for what the server is busy with"),
    "40P01": (DatabaseBusyError, "try again"),
    "40001": (DatabaseBusyError, "try again"),
    "28P01": (DatabaseError, "correct user and password"),
    "28000": (DatabaseError, "correct user and password, or the server's pg_hba.conf"),
    "3D000": (DatabaseError, "create the database, or correct its name"),
}
_POSTGRES_CLASSES: Final[dict[str, tuple[type[DatabaseError], str]]] = {
    "08": (DatabaseUnavailableError, "check that the server runs and can be reached"),
    "25": (DatabaseUnavailableError, "try again: the server ended an idle transaction"),
    "53": (DatabaseUnavailableError, "raise the server's limits (max_connections, memory)"),
    "57": (DatabaseUnavailableError, "check that the server runs and can be reached"),
    "58": (DatabaseUnavailableError, "look into the server's log"),
}
_SQLITE: Final[dict[str, tuple[type[DatabaseError], str]]] = {
    "SQLITE_FULL": (DatabaseFullError, "free space on its disk"),
    "SQLITE_READONLY": (DatabaseReadOnlyError, "make the file and its folder writable"),
    "SQLITE_BUSY": (DatabaseBusyError, "end the process that holds the file"),
    "SQLITE_LOCKED": (DatabaseBusyError, "try again"),
    "SQLITE_CANTOPEN": (DatabaseError, "check the path and its rights"),
    "SQLITE_IOERR": (DatabaseUnavailableError, "check the disk"),
    "SQLITE_NOTADB": (DatabaseError, "it is not an SQLite database: name another file"),
    "SQLITE_CORRUPT": (DatabaseError, "it is damaged: restore it from a backup"),
}


def sqlstate(error: BaseException) -> str | None:
    """The five characters with which a PostgreSQL server names an error; None for errors of other kinds."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None


def translated(error: BaseException, database: str, *, opening: bool = False) -> DatabaseError:
    """A driver's error as one of ours. `database` names it without its password; `opening`: nothing worked yet."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    kind, remedy = _classify(error, cause)
    told = str(cause).strip().splitlines()
    problem = told[0] if told else type(cause).__name__
    return kind(f"database {database}{' cannot be opened' if opening else ''}: {problem}; {remedy}")


def _classify(error: BaseException, cause: BaseException) -> tuple[type[DatabaseError], str]:
    state = sqlstate(error)
    if state is not None:
        found = _POSTGRES.get(state) or _POSTGRES_CLASSES.get(state[:2])
        return found or (DatabaseError, "this is a defect of Mach or a database of another version: please report it")
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "")
        for prefix, found in _SQLITE.items():
            if name.startswith(prefix):
                return found
        return DatabaseError, "this is a defect of Mach or a database of another version: please report it"
    return DatabaseUnavailableError, "check that the server runs and can be reached"

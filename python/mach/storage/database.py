"""A service's database: SQLite or PostgreSQL behind one face, opened by URL and brought to this version."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from alembic.util import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from mach.storage.change_hub import ChangeHub
from mach.storage.errors import DRIVER_ERRORS, DatabaseError, translated
from mach.storage.postgres_engine import PostgresEngine
from mach.storage.sqlite_engine import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Literal

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from mach.storage.migrating import Service

T = TypeVar("T")

URL_FORMS = "sqlite+aiosqlite:///FILE or postgresql+asyncpg://USER:PASSWORD@HOST/NAME"


class Database:
    """One service's database. What a `transaction` or `write` has written is durable when it has ended; `snapshot` and
    `read` see what is committed. Drivers' errors come out as `DatabaseError`s."""

    def __init__(self, engine: SqliteEngine | PostgresEngine) -> None:
        self.engine = engine
        self.replica = secrets.randbits(63)
        """Tells this process's rows and notices from those of others; another one after each start."""
        self.hub = ChangeHub()
        """What this process changed, for whoever waits in it."""

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """Which SQL is spoken."""
        return self.engine.dialect

    @property
    def name(self) -> str:
        """The file, or database and server, without the password."""
        return self.engine.name

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction. It may run more than once (after a deadlock) and, on SQLite, in another
        thread: it must touch nothing but its connection."""
        try:
            return await self.engine.transaction(work)
        except DRIVER_ERRORS as error:
            raise translated(error, self.name) from None

    async def snapshot(self, work: Callable[[Connection], T]) -> T:
        """Runs `work`, which only reads; otherwise as `transaction`."""
        try:
            return await self.engine.snapshot(work)
        except DRIVER_ERRORS as error:
            raise translated(error, self.name) from None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that ends with the block."""
        try:
            async with self.engine.write() as connection:
                yield connection
        except DRIVER_ERRORS as error:
            raise translated(error, self.name) from None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries."""
        try:
            async with self.engine.read() as connection:
                yield connection
        except DRIVER_ERRORS as error:
            raise translated(error, self.name) from None

    async def close(self) -> None:
        """Ends all connections; what was being written is finished first."""
        await self.engine.close()


async def open_database(url: str, service: Service) -> Database:
    """Connects, brings the schema to this version and returns the database; raises `DatabaseError` with the remedy.

    Only the aggregator has replicas that share a server; the other services' state belongs to one process.
    """
    engine = _engine(url, service)
    try:
        await engine.migrate(service)
    except DRIVER_ERRORS as error:
        await engine.close()
        raise translated(error, engine.name, opening=True) from None
    except DatabaseError:
        await engine.close()
        raise
    except CommandError as error:
        await engine.close()
        raise DatabaseError(
            f"database {engine.name} is not of this version of Mach ({error}); upgrade Mach or name another one"
        ) from None
    return Database(engine)


def _engine(url: str, service: Service) -> SqliteEngine | PostgresEngine:
    try:
        parsed = make_url(url)
        kind = parsed.drivername
        readable = "@" not in (parsed.host or "")
    except (ArgumentError, ValueError):
        readable = False
    if not readable:  # the text may hold a password: it is not repeated
        raise DatabaseError(f"database_url is not a database URL; use {URL_FORMS}, with %40 for an @ in the password")
    if kind in ("sqlite", "sqlite+aiosqlite"):
        return SqliteEngine(parsed)
    if kind in ("postgres", "postgresql", "postgresql+asyncpg"):
        if service != "aggregator":
            raise DatabaseError(f"the {service} keeps its state in a file of its own; use sqlite+aiosqlite:///FILE")
        return PostgresEngine(parsed, service)
    raise DatabaseError(f"database driver {kind} is not supported; use {URL_FORMS}")

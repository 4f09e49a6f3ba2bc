"""PostgreSQL: what several replicas of a service share."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from mach.storage.errors import DatabaseError, sqlstate
from mach.storage.migrating import upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import Connection
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from mach.storage.migrating import Service

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 30.0
MIGRATION_TIMEOUT_S: Final = 600.0
POOL_SIZE: Final = 8
ATTEMPTS: Final = 4
"""Of a transaction that the server broke off to end a deadlock, or whose pooled connection turned out to be dead."""

_SESSION: Final = {
    # A replica that freezes or loses its network in mid-transaction must not hold its locks for long.
    "idle_in_transaction_session_timeout": "10000",
    "lock_timeout": "10000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "jit": "off",
}
_REPEATED: Final = ("40P01", "40001")
_MIGRATION_LOCK: Final = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended('mach.migration.' || current_schema(), 0))"
)


class PostgresEngine:
    """Connections to one database of a server."""

    dialect: Final[Literal["postgresql"]] = "postgresql"

    def __init__(self, url: URL, service: Service) -> None:
        host = url.host or url.query.get("host", "localhost")
        self.name = f"{url.database} at {host if isinstance(host, str) else ','.join(host)}:{url.port or 5432}"
        # asyncpg reads the URL itself, and so knows what libpq knows: sslmode, several hosts, settings of the session.
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._session = {"application_name": f"mach-{service}", **_SESSION}
        self._engine = self._new_engine(
            COMMAND_TIMEOUT_S, pool_size=POOL_SIZE, max_overflow=0, pool_timeout=CONNECT_TIMEOUT_S
        )

    def _new_engine(self, command_timeout_s: float, **pool: Any) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=lambda: self._connect(command_timeout_s), **pool
        )

    async def _connect(self, command_timeout_s: float | None) -> asyncpg.Connection[Any]:
        try:
            return await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=command_timeout_s,
                server_settings=self._session,
            )
        except ValueError as error:  # its text may quote a part of a password that holds an unescaped @ or /
            problem = str(error) if isinstance(error, asyncpg.ClientConfigurationError) else "it cannot be read"
            if "sslmode" not in problem:
                problem = "it cannot be read; write @ : / in a password as %40 %3A %2F"
            raise DatabaseError(f"database_url of {self.name}: {problem}") from None

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction that is on disk when this returns. `work` may run more than once."""
        attempt = 1
        while True:
            committing = False
            try:
                async with self._engine.begin() as connection:
                    result = await connection.run_sync(work)
                    committing = True
            except DBAPIError as error:
                # What was not being committed the server has rolled back. A pooled connection that died while the
                # server restarted is noticed here, and SQLAlchemy has replaced the pool.
                harmless = error.connection_invalidated or sqlstate(error) in _REPEATED
                if committing or not harmless or attempt == ATTEMPTS:
                    raise
                attempt += 1
            else:
                return result

    async def snapshot(self, work: Callable[[Connection], T]) -> T:
        """Runs `work`, which only reads, on what is committed."""
        return await self.transaction(work)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that is on disk when the block has ended."""
        async with self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees what is committed."""
        async with self._engine.connect() as connection:
            yield connection

    async def migrate(self, service: Service) -> None:
        """Brings the tables to this version; replicas that open at the same time wait for each other."""

        def locked_upgrade(connection: Connection) -> None:
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(_MIGRATION_LOCK)
            upgrade(connection, service)

        engine = self._new_engine(MIGRATION_TIMEOUT_S, poolclass=sa.NullPool)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(locked_upgrade)
        finally:
            await engine.dispose()

    async def dedicated_connection(self) -> asyncpg.Connection[Any]:
        """A connection of its own for session locks and LISTEN; the caller closes it."""
        return await self._connect(None)

    async def close(self) -> None:
        """Closes the pool's connections."""
        await self._engine.dispose()

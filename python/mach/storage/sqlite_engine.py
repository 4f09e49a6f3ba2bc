"""SQLite: one file, one writer, no server. The default of every service."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from mach.storage.migrating import upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import Connection
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection

    from mach.storage.migrating import Service

T = TypeVar("T")

BUSY_TIMEOUT_MS: Final = 5_000
WAL_KEPT_BYTES: Final = 64 << 20
"""To this size the write-ahead log shrinks after a burst."""
WAL_PAGES: Final = 8_192
"""After this many pages (32 MiB) the log is copied into the file; a page that many commits changed is copied once."""
CACHE_KIB: Final = 32_768
READERS: Final = 2


class SqliteEngine:
    """Connections to one file, in WAL mode with a sync at each commit.

    A `transaction` runs as a whole in one thread: through aiosqlite each of its statements would cost several thread
    switches, 0.15 ms of CPU together, which is more than a statement itself. `write` and `read` are for stores whose
    rate does not matter.
    """

    dialect: Final[Literal["sqlite"]] = "sqlite"

    def __init__(self, url: URL) -> None:
        self.name = str(url.database)
        self._engine = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"), pool_size=READERS + 1, pool_reset_on_return=None
        )
        self._writing = self._engine.execution_options(mach_writes=True)
        self._async_engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"))
        for engine in (self._engine, self._async_engine.sync_engine):
            event.listen(engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin_at_driver)
        event.listen(self._async_engine.sync_engine, "begin", _begin)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._kept: Connection | None = None
        # SQLite has one writer: queueing here keeps order and avoids its busy errors.
        self._lock = asyncio.Lock()

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction that is on disk when this returns."""
        async with self._lock:
            return await asyncio.get_running_loop().run_in_executor(self._writer, self._write, work)

    async def snapshot(self, work: Callable[[Connection], T]) -> T:
        """Runs `work`, which only reads, on what is committed."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def _write(self, work: Callable[[Connection], T]) -> T:
        """In the writer's thread, on a connection that is kept: taking one from the pool would cost 0.08 ms."""
        if self._kept is None:
            self._kept = self._writing.connect()
        try:
            with self._kept.begin():
                return work(self._kept)
        except BaseException:
            self._drop_kept()
            raise

    def _drop_kept(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that is on disk when the block has ended."""
        async with self._lock, self._async_engine.connect() as connection:
            writing = await connection.execution_options(mach_writes=True)
            async with writing.begin():
                yield writing

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees what is committed."""
        async with self._async_engine.connect() as connection:
            yield connection

    async def migrate(self, service: Service) -> None:
        """Makes folder and file and brings the tables to this version; several processes may do so at once."""
        await asyncio.to_thread(self._make_folder)
        await self.transaction(lambda connection: upgrade(connection, service))

    def _make_folder(self) -> None:
        if self.name not in ("", ":memory:"):
            with contextlib.suppress(OSError):  # opening the file then says what is wrong
                Path(self.name).parent.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        """Waits for what is under way and closes the file."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._drop_kept)
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._engine.dispose)
        await self._async_engine.dispose()


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",  # a reply promises that a power cut loses nothing
        "foreign_keys=ON",
        f"journal_size_limit={WAL_KEPT_BYTES}",
        f"wal_autocheckpoint={WAL_PAGES}",
        f"cache_size=-{CACHE_KIB}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(_begin_statement(connection))


def _begin_at_driver(connection: Connection) -> None:
    connection.connection.cursor().execute(_begin_statement(connection))  # a tenth of the time of `_begin`


def _begin_statement(connection: Connection) -> str:
    # A writer that begins as a reader fails when another process wrote in between; one that begins as a writer waits.
    return "BEGIN IMMEDIATE" if connection.get_execution_options().get("mach_writes", False) else "BEGIN"

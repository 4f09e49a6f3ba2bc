"""Only one replica submits: a lock that dies with its holder, and a number that outlives both.

The lock (a session's advisory lock on PostgreSQL, a locked file beside an SQLite database) decides who may begin, and
is free the moment its holder is killed. It cannot stop a holder that was frozen and thaws; the epoch can: each new
holder increases it, and every write of a submitter checks it in its own transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg
import sqlalchemy as sa

from mach.storage.errors import DRIVER_ERRORS, DatabaseError, FencedOutError, translated
from mach.storage.postgres_engine import PostgresEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from mach.storage.database import Database

POLL_S: Final = 0.2
"""How long after a holder's end another replica takes over, at most."""
FROZEN_AFTER_S: Final = 8.0
"""Without a heartbeat for so long, a holder whose machine still answers is taken for frozen."""
ANSWER_TIMEOUT_S: Final = 5.0

_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('mach.submitter.' || current_schema(), 0))"


class SubmitterLease:
    """The right to submit, until `lost` is set. Made by `acquire_lease`."""

    def __init__(self, database: Database, lock: _Lock, epoch: int, holder: str) -> None:
        self._database = database
        self._lock = lock
        self.epoch = epoch
        self.holder = holder
        self.lost = asyncio.Event()
        """Set when the lock is gone: at once when the server ends the connection, after a missed heartbeat when the
        network swallows it. Writes are refused from the moment in which another replica has taken over."""
        lock.on_loss(self.lost.set)

    def check(self, connection: Connection) -> None:
        """In a writer's transaction: raises `FencedOutError` if another replica has taken over; none can do so before
        the transaction has ended."""
        if connection.execute(_check(connection.dialect.name), {"epoch": self.epoch}).first() is None:
            self.lost.set()
            row = connection.execute(sa.text("SELECT epoch, holder FROM submitter")).one()
            raise FencedOutError(
                f"{self.holder} held submitter epoch {self.epoch}, but {row[1]} has taken over with epoch {row[0]}; "
                f"nothing was written: stop submitting and ask for a new lease"
            )

    async def release(self) -> None:
        """Gives the lease back; another replica may take it at once."""
        self.lost.set()
        await self._lock.release()


async def acquire_lease(
    database: Database, holder: str, timeout_s: float, *, frozen_after_s: float = FROZEN_AFTER_S
) -> SubmitterLease | None:
    """Waits for the lease; None when another replica still has it after `timeout_s` (0: asks once).

    `holder` names this replica for people. A holder that stops without ending (its process is stopped, its event loop
    hangs) loses the lease after `frozen_after_s`; on SQLite, where there are no replicas to take over, it keeps it.
    Raises `DatabaseError`s: ask again after a while.
    """
    deadline = time.monotonic() + timeout_s
    lock: _Lock = (
        _SessionLock(database.engine, frozen_after_s)
        if isinstance(database.engine, PostgresEngine)
        else _FileLock(database)
    )
    try:
        while not await lock.try_take():
            if time.monotonic() >= deadline:
                await lock.release()
                return None
            await asyncio.sleep(POLL_S)
        epoch = await database.transaction(lambda connection: _take_over(connection, holder))
    except DRIVER_ERRORS as error:
        await lock.release()
        raise translated(error, database.name) from None
    except BaseException:
        await lock.release()
        raise
    return SubmitterLease(database, lock, epoch, holder)


async def current_holder(database: Database) -> tuple[str, int, float] | None:
    """Who took the lease last, with which epoch and when; None if nobody ever did. It may have ended since."""
    query = sa.text("SELECT holder, epoch, taken_at FROM submitter WHERE epoch > 0")

    def read(connection: Connection) -> tuple[str, int, float] | None:
        row = connection.execute(query).first()
        return None if row is None else (row[0], row[1], row[2])

    return await database.snapshot(read)


def _take_over(connection: Connection, holder: str) -> int:
    statement = sa.text("UPDATE submitter SET epoch = epoch + 1, holder = :holder, taken_at = :now RETURNING epoch")
    return int(connection.execute(statement, {"holder": holder, "now": time.time()}).scalar_one())


def _check(dialect: str) -> sa.TextClause:
    return _CHECK_SHARED if dialect == "postgresql" else _CHECK


_CHECK: Final = sa.text("SELECT 1 FROM submitter WHERE epoch = :epoch")
_CHECK_SHARED: Final = sa.text("SELECT 1 FROM submitter WHERE epoch = :epoch FOR SHARE")


class _Lock(Protocol):
    async def try_take(self) -> bool: ...
    def on_loss(self, told: Callable[[], None]) -> None: ...
    async def release(self) -> None: ...


class _SessionLock:
    """PostgreSQL's advisory lock, held by a connection that does nothing else.

    It is tried again and again instead of waited for: a waiting statement keeps the server from cleaning up rows.
    """

    def __init__(self, engine: PostgresEngine, frozen_after_s: float) -> None:
        self._engine = engine
        self._frozen_after_s = frozen_after_s
        self._connection: asyncpg.Connection[Any] | None = None
        self._told: Callable[[], None] = lambda: None
        self._heartbeat: asyncio.Task[None] | None = None

    async def try_take(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._engine.dedicated_connection()
            with contextlib.suppress(asyncpg.UndefinedObjectError):  # PostgreSQL 13 and older cannot do this
                await self._connection.execute(
                    f"SET idle_session_timeout = {round(self._frozen_after_s * 1_000)}", timeout=ANSWER_TIMEOUT_S
                )
        taken = await self._connection.fetchval(_TRY_LOCK, timeout=ANSWER_TIMEOUT_S)
        return bool(taken)

    def on_loss(self, told: Callable[[], None]) -> None:
        self._told = told
        connection = self._connection
        if connection is None or connection.is_closed():
            told()
            return
        connection.add_termination_listener(lambda _: told())
        self._heartbeat = asyncio.create_task(self._beat(connection), name="mach-submitter-heartbeat")

    async def _beat(self, connection: asyncpg.Connection[Any]) -> None:
        with contextlib.suppress(*DRIVER_ERRORS):
            while True:
                await asyncio.sleep(self._frozen_after_s / 4)
                await connection.fetchval("SELECT 1", timeout=ANSWER_TIMEOUT_S)
        self._told()
        connection.terminate()

    async def release(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heartbeat
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.close(timeout=ANSWER_TIMEOUT_S)
            except DRIVER_ERRORS:
                self._connection.terminate()


class _FileLock:
    """A locked file beside the database: the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, database: Database) -> None:
        self._path = f"{database.name}.submitter.lock"
        self._file: int | None = None

    async def try_take(self) -> bool:
        return await asyncio.to_thread(self._try_take)

    def _try_take(self) -> bool:
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise DatabaseError(
                    f"lock file {self._path} cannot be opened: {error.strerror}; make its folder writable"
                ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def on_loss(self, told: Callable[[], None]) -> None:
        """A file's lock is not lost while its process lives."""

    async def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

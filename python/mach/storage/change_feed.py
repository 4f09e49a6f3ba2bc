"""Waking those who wait for tasks: in this process at once, and across replicas through PostgreSQL's LISTEN.

Notices only wake: they carry indices, and who is woken reads the tasks. Where notices may have been lost (the listening
connection broke) the feed says `missed`, at each poll until it listens again. SQLite has no notices: there the feed
polls for tasks that another process moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Final, Self

import sqlalchemy as sa

from mach.storage.aggregator_schema import tasks
from mach.storage.change_hub import MAX_PENDING, ChangeSet, Inbox
from mach.storage.errors import DRIVER_ERRORS, DatabaseError
from mach.storage.postgres_engine import PostgresEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from sqlalchemy import Connection

    from mach.storage.database import Database

POLL_S: Final = 1.0
MAX_RECONNECT_S: Final = 10.0
PROBE_S: Final = 5.0
CLOCK_STEP_S: Final = 5.0
"""How far a process's clock may be set back without a poll missing what another process moved."""
INDICES_PER_NOTICE: Final = 600
"""A notice holds less than 8,000 bytes; an index takes at most 12."""

_NOTIFY: Final = sa.text(
    "SELECT pg_notify('mach_tasks_' || current_schema(), payload) FROM unnest(CAST(:payloads AS text[])) payload"
)


def notify(connection: Connection, replica: int, *, signed: Sequence[int] = (), moved: Sequence[int] = ()) -> None:
    """Has the server tell all replicas of tasks when the transaction commits. Nothing on SQLite."""
    if connection.dialect.name != "postgresql":
        return
    payloads = [
        json.dumps({"by": replica, key: list(indices[start : start + INDICES_PER_NOTICE])}, separators=(",", ":"))
        for key, indices in (("signed", signed), ("moved", moved))
        for start in range(0, len(indices), INDICES_PER_NOTICE)
    ]
    if payloads:
        connection.execute(_NOTIFY, {"payloads": payloads})


class ChangeFeed:
    """One waiter's stream of changes: `async with ChangeFeed(database) as feed: async for changes in feed: …`.

    A slow reader costs no more than `max_pending` indices: beyond that it is told `missed`.
    """

    def __init__(self, database: Database, *, poll_s: float = POLL_S, max_pending: int = MAX_PENDING) -> None:
        self._database = database
        self._poll_s = poll_s
        self._inbox = Inbox(max_pending)
        self._task: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()
        """Set while changes of other processes are heard of."""

    async def __aenter__(self) -> Self:
        self._database.hub.join(self._inbox)
        engine = self._database.engine
        work = self._listen(engine) if isinstance(engine, PostgresEngine) else self._poll()
        self._task = asyncio.create_task(work, name="mach-change-feed")
        self._task.add_done_callback(lambda _: self._inbox.put(missed=True))  # wakes `next`, which raises
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.hub.leave(self._inbox)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def next(self, timeout_s: float | None = None) -> ChangeSet:
        """What changed since the last call, or the next change; empty (false) after `timeout_s` without any."""
        found = await self._inbox.take(timeout_s)
        if self._task is not None and self._task.done():
            self._task.result()  # it never ends by itself: this raises what ended it
        return found

    async def __aiter__(self) -> AsyncIterator[ChangeSet]:
        while True:
            yield await self.next()

    async def _listen(self, engine: PostgresEngine) -> None:
        retry_s = self._poll_s
        while True:
            try:
                await self._listen_once(engine)
                retry_s = self._poll_s
            except (*DRIVER_ERRORS, DatabaseError):
                retry_s = min(2 * retry_s, MAX_RECONNECT_S)
            self.listening.clear()
            waited_s = 0.0
            while waited_s < retry_s:
                self._inbox.put(missed=True)
                await asyncio.sleep(self._poll_s)
                waited_s += self._poll_s

    async def _listen_once(self, engine: PostgresEngine) -> None:
        """Listens until the connection ends."""
        connection = await engine.dedicated_connection()
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            schema = await connection.fetchval("SELECT current_schema()", timeout=PROBE_S)
            await connection.add_listener(f"mach_tasks_{schema}", self._hear)
            # What changed before LISTEN took hold was told to nobody.
            self._inbox.put(missed=True)
            self.listening.set()
            while not ended.is_set():
                try:
                    async with asyncio.timeout(PROBE_S):
                        await ended.wait()
                except TimeoutError:
                    await connection.fetchval("SELECT 1", timeout=PROBE_S)
        finally:
            connection.terminate()

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            notice = json.loads(str(payload))
            if notice["by"] != self._database.replica:  # the hub told of this process's own
                self._inbox.put(signed=notice.get("signed", ()), moved=notice.get("moved", ()))
        except (ValueError, KeyError, TypeError):
            self._inbox.put(missed=True)  # a later version's notice

    async def _poll(self) -> None:
        since = time.time()
        told: set[tuple[int, float]] = set()
        while True:
            query = sa.select(tasks.c.task_index, tasks.c.moved_at).where(
                tasks.c.moved_at >= since - CLOCK_STEP_S, tasks.c.moved_by != self._database.replica
            )

            def read(connection: Connection, query: sa.Select[int, float] = query) -> set[tuple[int, float]]:
                return {(row[0], row[1]) for row in connection.execute(query)}

            since = time.time()
            try:
                found = await self._database.snapshot(read)
            except DatabaseError:
                self.listening.clear()
                self._inbox.put(missed=True)
            else:
                self._inbox.put(moved=[index for index, _ in found - told])
                told = found
                self.listening.set()
            await asyncio.sleep(self._poll_s)

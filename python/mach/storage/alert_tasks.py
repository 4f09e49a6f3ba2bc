"""The tasks of an aggregator: what its intake writes, in whole batches, and what any replica may change.

What only the submitter may change is in `mach.storage.submission_journal`; questions of people are answered by
`mach.storage.task_queries`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.storage import task_sql
from mach.storage.aggregator_schema import IS_LIVE, tasks
from mach.storage.batch_recorder import BatchRecorder
from mach.storage.change_feed import notify
from mach.storage.column_sql import as_bytes, integers
from mach.storage.errors import IndicesExhaustedError
from mach.storage.rounds import begin_round
from mach.storage.task_records import (
    TASK_COLUMNS,
    BatchOutcome,
    IndexRange,
    LiveTask,
    SignatureBatch,
    TaskRecord,
    task_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from mach.storage.column_sql import Dialect
    from mach.storage.database import Database
    from mach.storage.task_records import TaskState

INDEX_BOUND: Final = 1 << 32
"""The contract's and the wire's task indices are uint32."""


class AlertTaskStore:
    """Tasks and signatures of an aggregator. `shared`: other replicas write to the same database."""

    def __init__(self, database: Database, *, shared: bool = False) -> None:
        self._database = database
        self._dialect: Dialect = database.dialect
        self._shared = shared
        self._last_batch_at = 0.0

    async def reserve_indices(self, count: int) -> IndexRange:
        """`count` fresh indices; ranges of replicas and of earlier runs never overlap.

        Raises `IndicesExhaustedError`.
        """
        if count < 1:
            raise ValueError(f"a range holds at least one index, not {count}")

        def reserve(connection: Connection) -> int | None:
            statement = "UPDATE index_ranges SET next_index = next_index + :count WHERE next_index + :count <= :bound"
            parameters = {"count": count, "bound": INDEX_BOUND}
            found = connection.execute(sa.text(f"{statement} RETURNING next_index"), parameters).scalar()
            return None if found is None else int(found)

        after = await self._database.transaction(reserve)
        if after is None:
            raise IndicesExhaustedError(
                f"fewer than {count} of the {INDEX_BOUND} task indices are left; start with a new database"
            )
        return IndexRange(after - count, count, after)

    async def record_batch(self, batch: SignatureBatch) -> BatchOutcome:
        """Makes a batch durable in one transaction; a batch whose fate is unknown may simply be recorded again.

        New tasks are inserted unless another task owns their alert; signatures are inserted unless their operator is
        counted already; tasks whose quorum is reached move from open to quorum.
        """
        # Together with the replica this names the batch: `_repeated` finds by it what was there before.
        now = self._last_batch_at = max(time.time(), self._last_batch_at + 1e-5)

        def record(connection: Connection) -> BatchOutcome:
            return BatchRecorder(connection, self._dialect, self._database.replica, now, batch).run(self._shared)

        outcome = await self._database.transaction(record)
        if outcome.quorum:
            self._database.hub.moved(outcome.quorum)
        return outcome

    async def reach_quorum(self, task_index: int, reference_block_number: int) -> bool:
        """open → quorum for signatures that came through several replicas; False when the task is past it, or in
        another round than that of the reference block."""
        now = time.time()
        statement = (
            sa.update(tasks)
            .where(
                tasks.c.task_index == task_index,
                tasks.c.reference_block_number == reference_block_number,
                tasks.c.state == "open",
            )
            .values(state="quorum", quorum_at=now, moved_at=now, moved_by=self._database.replica)
        )
        return bool(await self._move(statement))

    async def expire(self, open_since_before: float, reference_block_before: int) -> list[TaskRecord]:
        """open → expired for tasks that are open since before a time, or whose reference block is below a number."""
        due = (
            sa.select(tasks.c.task_index)
            .where(
                tasks.c.state == "open",
                sa.or_(tasks.c.moved_at < open_since_before, tasks.c.reference_block_number < reference_block_before),
            )
            .order_by(tasks.c.task_index)
        )
        if self._dialect == "postgresql":
            due = due.with_for_update(skip_locked=True)  # a task whose batch is being written is not too late
        now = time.time()
        statement = (
            sa.update(tasks)
            .where(tasks.c.task_index.in_(due), tasks.c.state == "open")
            .values(
                state="expired",
                finished_at=now,
                moved_at=now,
                moved_by=self._database.replica,
                reason="not enough signatures in time",
            )
        )
        return await self._move(statement)

    async def _move(self, statement: sa.Update) -> list[TaskRecord]:
        def move(connection: Connection) -> list[TaskRecord]:
            moved = [task_of(row) for row in connection.execute(statement.returning(*TASK_COLUMNS))]
            notify(connection, self._database.replica, moved=[task.task_index for task in moved])
            return moved

        moved = await self._database.transaction(move)
        self._database.hub.moved(task.task_index for task in moved)
        return moved

    async def task(self, task_index: int) -> TaskRecord | None:
        """A task by its index."""
        return next(iter(await self.tasks([task_index])), None)

    async def tasks(self, task_indices: Collection[int]) -> list[TaskRecord]:
        """Those of the given tasks that are durable, by index."""
        query = task_sql.tasks_by_index(self._dialect)
        return await self._records(query.bindparams(indices=integers(sorted(task_indices), self._dialect)))

    async def live_task(self, message_hash: bytes) -> TaskRecord | None:
        """The one task of an alert that is on its way or confirmed."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.message_hash == message_hash, sa.text(IS_LIVE))
        return next(iter(await self._records(query)), None)

    async def tasks_in(self, *states: TaskState) -> list[TaskRecord]:
        """Tasks in any of the given states, those that are so for longest first."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.state.in_(states))
        return await self._records(query.order_by(tasks.c.moved_at, tasks.c.task_index))

    async def confirmed_since(self, finished_since: float, limit: int) -> list[TaskRecord]:
        """The newest confirmed tasks, at most `limit`: what an intake should answer with "already finished"."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.state == "confirmed", tasks.c.moved_at >= finished_since)
        return await self._records(query.order_by(tasks.c.moved_at.desc(), tasks.c.task_index.desc()).limit(limit))

    async def count_by_state(self) -> dict[str, int]:
        """How many tasks there are in each state that has any."""
        query = sa.select(tasks.c.state, sa.func.count()).group_by(tasks.c.state)

        def count(connection: Connection) -> dict[str, int]:
            return {row[0]: row[1] for row in connection.execute(query)}

        return await self._database.snapshot(count)

    async def signatures(self, task_index: int) -> dict[bytes, bytes]:
        """Signatures (64 bytes) of a task's present round by operator id (32 bytes), in the order they came in."""
        query = sa.text(
            "SELECT s.operator_id, s.signature FROM signatures s "
            "JOIN tasks t ON t.task_index = s.task_index AND t.round = s.round "
            "WHERE s.task_index = :index ORDER BY s.received_at, s.operator_id"
        )

        def read(connection: Connection) -> dict[bytes, bytes]:
            return {row[0]: row[1] for row in connection.execute(query, {"index": task_index})}

        return await self._database.snapshot(read)

    async def live_tasks_with_signers(self) -> list[LiveTask]:
        """Every task that may still get signatures, with its signers: what a starting intake is restored from."""
        query = task_sql.live_tasks_with_signers(self._dialect)

        def read(connection: Connection) -> list[LiveTask]:
            return [LiveTask(TaskRecord(*row[:-1]), as_bytes(row[-1])) for row in connection.execute(query)]

        return await self._database.snapshot(read)

    async def signers(self, task_indices: Collection[int]) -> list[LiveTask]:
        """The given tasks, whatever their state, with the signers of their present round."""
        query = task_sql.tasks_with_signers(self._dialect)
        parameters = {"indices": integers(sorted(task_indices), self._dialect)}

        def read(connection: Connection) -> list[LiveTask]:
            found = connection.execute(query, parameters)
            return [LiveTask(TaskRecord(*row[:-1]), as_bytes(row[-1])) for row in found]

        return await self._database.snapshot(read)

    async def begin_round(self, task: TaskRecord, reference_block_number: int, reason: str) -> TaskRecord | None:
        """Collects an open task's signatures anew over a fresh reference block; what was collected is kept as evidence.
        None when the task was moved, or begun anew, by somebody else. (The submitter's way is its journal's.)"""

        def begin(connection: Connection) -> TaskRecord | None:
            return begin_round(connection, self._database.replica, task, reference_block_number, reason, ("open",))

        begun = await self._database.transaction(begin)
        if begun is not None:
            self._database.hub.moved([task.task_index])
        return begun

    async def _records(self, query: sa.Executable) -> list[TaskRecord]:
        return await self._database.snapshot(lambda connection: [task_of(row) for row in connection.execute(query)])

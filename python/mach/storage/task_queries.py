"""What people ask about tasks: lists with filters and pages, one task with all that belongs to it, and a retry."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.storage.aggregator_schema import (
    ENDED_WITHOUT_ALERT,
    IS_ENDED,
    IS_LIVE,
    past_rounds,
    signatures,
    submissions,
    tasks,
)
from mach.storage.change_feed import notify
from mach.storage.errors import RetryRefusedError
from mach.storage.rounds import begin_round
from mach.storage.task_records import (
    SUBMISSION_COLUMNS,
    TASK_COLUMNS,
    PastRound,
    SubmissionRecord,
    TaskRecord,
    task_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from mach.storage.database import Database
    from mach.storage.task_records import TaskState

MAX_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks; what is None does not matter. Times are Unix seconds."""

    states: Sequence[TaskState] | None = None
    message_hash: bytes | None = None
    created_since: float | None = None
    moved_since: float | None = None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task, and how many operators signed its present round."""

    record: TaskRecord
    signatures: int


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, newest first. `next_before` asks for the page that follows; None on the last one."""

    tasks: tuple[TaskSummary, ...]
    next_before: tuple[float, int] | None


@dataclass(frozen=True, slots=True)
class SignatureRecord:
    """One operator's signature (64 bytes) and when it came (Unix seconds)."""

    operator_id: bytes
    signature: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """A task with the signatures of its present round, its transactions and its earlier rounds, each oldest first."""

    record: TaskRecord
    signatures: tuple[SignatureRecord, ...]
    submissions: tuple[SubmissionRecord, ...]
    past_rounds: tuple[PastRound, ...]


class TaskQueries:
    """Answers about the tasks of all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: TaskFilter, *, limit: int = 100, before: tuple[float, int] | None = None) -> TaskPage:
        """Up to `limit` (at most 1,000) tasks, newest first; `before` is the `next_before` of the page before."""
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"a page holds 1 to {MAX_PAGE} tasks, not {limit}")
        counted = (
            sa.select(sa.func.count())
            .where(signatures.c.task_index == tasks.c.task_index, signatures.c.round == tasks.c.round)
            .correlate(tasks)
            .scalar_subquery()
        )
        query = sa.select(*TASK_COLUMNS, counted)
        if wanted.states is not None:
            query = query.where(tasks.c.state.in_(wanted.states))
        if wanted.message_hash is not None:
            same = tasks.c.message_hash == wanted.message_hash
            query = query.where(sa.or_(sa.and_(same, sa.text(IS_LIVE)), sa.and_(same, sa.text(IS_ENDED))))
        if wanted.created_since is not None:
            query = query.where(tasks.c.created_at >= wanted.created_since)
        if wanted.moved_since is not None:
            query = query.where(tasks.c.moved_at >= wanted.moved_since)
        if before is not None:
            query = query.where(sa.tuple_(tasks.c.created_at, tasks.c.task_index) < sa.tuple_(*before))
        query = query.order_by(tasks.c.created_at.desc(), tasks.c.task_index.desc()).limit(limit + 1)

        def read(connection: Connection) -> list[TaskSummary]:
            return [TaskSummary(task_of(row[:-1]), row[-1]) for row in connection.execute(query)]

        found = await self._database.snapshot(read)
        shown = tuple(found[:limit])
        last = shown[-1].record if len(found) > limit else None
        return TaskPage(shown, None if last is None else (last.created_at, last.task_index))

    async def detail(self, task_index: int) -> TaskDetail | None:
        """Everything that is kept about one task; None if there is no such task."""

        def read(connection: Connection) -> TaskDetail | None:
            row = connection.execute(sa.select(*TASK_COLUMNS).where(tasks.c.task_index == task_index)).first()
            if row is None:
                return None
            record = task_of(row)
            by_round: dict[int, list[SignatureRecord]] = {}
            signed = sa.select(
                signatures.c.round, signatures.c.operator_id, signatures.c.signature, signatures.c.received_at
            )
            signed = signed.where(signatures.c.task_index == task_index)
            for found in connection.execute(signed.order_by(signatures.c.received_at, signatures.c.operator_id)):
                by_round.setdefault(found[0], []).append(SignatureRecord(*found[1:]))
            sent = sa.select(*SUBMISSION_COLUMNS).where(submissions.c.task_index == task_index)
            ended = sa.select(
                past_rounds.c.round,
                past_rounds.c.reference_block_number,
                past_rounds.c.ended_at,
                past_rounds.c.reason,
            ).where(past_rounds.c.task_index == task_index)
            return TaskDetail(
                record=record,
                signatures=tuple(by_round.get(record.round, ())),
                submissions=tuple(
                    SubmissionRecord(*found)
                    for found in connection.execute(sent.order_by(submissions.c.sent_at, submissions.c.nonce))
                ),
                past_rounds=tuple(
                    PastRound(*found, {entry.operator_id: entry.signature for entry in by_round.get(found[0], ())})
                    for found in connection.execute(ended.order_by(past_rounds.c.round))
                ),
            )

        return await self._database.snapshot(read)

    async def request_retry(self, task_index: int, reference_block_number: int | None = None) -> TaskRecord:
        """failed | expired → quorum if it had its quorum, else open, with its attempts counted from 0.

        With a fresh reference block the task always goes to open, in a new round. Without one an expired task goes on
        from the signatures it has, over its old block, and expires again if that is too old. Raises `RetryRefusedError`
        for a task in another state, and where another task has the alert.
        """
        replica = self._database.replica

        def request(connection: Connection) -> TaskRecord:
            query = sa.select(*TASK_COLUMNS).where(tasks.c.task_index == task_index)
            row = connection.execute(query.with_for_update()).first()
            if row is None:
                raise RetryRefusedError(f"there is no task {task_index}; `mach tasks list` shows all")
            task = task_of(row)
            if task.state not in ENDED_WITHOUT_ALERT:
                raise RetryRefusedError(
                    f"task {task_index} is {task.state}; only failed and expired tasks can be tried again"
                )
            other = sa.select(tasks.c.task_index, tasks.c.state).where(
                tasks.c.message_hash == task.message_hash, sa.text(IS_LIVE)
            )
            found = connection.execute(other).first()
            if found is not None:
                raise RetryRefusedError(
                    f"task {found[0]} has the alert of task {task_index} and is {found[1]}; there is nothing to retry"
                )
            if reference_block_number is not None:
                begun = begin_round(
                    connection, replica, task, reference_block_number, "retry requested", ENDED_WITHOUT_ALERT
                )
                if begun is not None:
                    connection.execute(sa.update(tasks).where(tasks.c.task_index == task_index).values(attempts=0))
                return task_of(connection.execute(query).one())
            statement = (
                sa.update(tasks)
                .where(tasks.c.task_index == task_index)
                .values(
                    state="open" if task.quorum_at is None else "quorum",
                    attempts=0,
                    finished_at=None,
                    mined_at=None,
                    mined_block=None,
                    mined_hash=None,
                    gas_used=None,
                    reason="retry requested",
                    moved_at=time.time(),
                    moved_by=replica,
                )
                .returning(*TASK_COLUMNS)
            )
            moved = task_of(connection.execute(statement).one())
            notify(connection, replica, moved=[task_index])
            return moved

        task = await self._database.transaction(request)
        self._database.hub.moved([task_index])
        return task

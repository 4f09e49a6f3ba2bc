"""What the one submitting replica writes: every step of a task from its quorum to L1.

Each write first checks, in its own transaction, that the lease under which it is made is still the newest: a replica
that was thought dead and comes back writes nothing (`FencedOutError`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.storage.aggregator_schema import submissions, tasks
from mach.storage.change_feed import notify
from mach.storage.rounds import begin_round
from mach.storage.task_records import (
    COLLECTING,
    SUBMISSION_COLUMNS,
    TASK_COLUMNS,
    MinedIn,
    SubmissionRecord,
    TaskRecord,
    task_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import ColumnElement, Connection

    from mach.storage.database import Database
    from mach.storage.submitter_lease import SubmitterLease
    from mach.storage.task_records import TaskState

_IN_FLIGHT: Final[tuple[TaskState, ...]] = ("quorum", "submitted")


_INSERT_SUBMISSION: Final = sa.text(
    'INSERT INTO submissions (tx_hash, task_index, round, nonce, "transaction", sent_at, epoch) '
    "VALUES (:tx_hash, :task_index, :round, :nonce, :transaction, :sent_at, :epoch) ON CONFLICT DO NOTHING"
)


class SubmissionJournal:
    """Writes of the holder of a lease. Moves return the task as it is afterwards, or None (and change nothing) when the
    task was not in a state from which they lead."""

    def __init__(self, database: Database, lease: SubmitterLease) -> None:
        self._database = database
        self._lease = lease

    async def record_submission(
        self, task_index: int, tx_hash: bytes, nonce: int, transaction: bytes
    ) -> TaskRecord | None:
        """quorum → submitted, or a replacement while submitted: the signed bytes, before they are sent.

        To record the same transaction again changes nothing.
        """
        now = time.time()

        def record(connection: Connection) -> TaskRecord | None:
            task = self._update(
                connection,
                task_index,
                _IN_FLIGHT,
                state="submitted",
                tx_hash=tx_hash,
                submitted_at=sa.func.coalesce(tasks.c.submitted_at, now),
            )
            if task is not None:
                values = {
                    "tx_hash": tx_hash,
                    "task_index": task_index,
                    "round": task.round,
                    "nonce": nonce,
                    "transaction": transaction,
                    "sent_at": now,
                    "epoch": self._lease.epoch,
                }
                connection.execute(_INSERT_SUBMISSION, values)
            return task

        return await self._write(record)

    async def record_mined(self, task_index: int, mined: MinedIn) -> TaskRecord | None:
        """quorum | submitted → submitted, with the block that carries the alert; it is not confirmed before the block
        is deep enough."""
        return await self._move(task_index, _IN_FLIGHT, state="submitted", **_mined(mined))

    async def confirm(self, task_index: int, mined: MinedIn) -> TaskRecord | None:
        """open | quorum | submitted → confirmed: the alert stands on L1, by whichever transaction."""
        now = time.time()
        return await self._move(
            task_index, COLLECTING, state="confirmed", finished_at=now, reason=None, **_mined(mined)
        )

    async def reorged(self, task_index: int, block_hash: bytes) -> TaskRecord | None:
        """submitted | confirmed → back to where it was before the block with this hash, which is no longer in the
        chain: submitted if there is a transaction of ours, else quorum or open."""
        sent = sa.exists().where(submissions.c.task_index == tasks.c.task_index)
        state = sa.case((sent, "submitted"), (tasks.c.quorum_at.is_not(None), "quorum"), else_="open")
        return await self._move(
            task_index,
            ("submitted", "confirmed"),
            tasks.c.mined_hash == block_hash,
            state=state,
            mined_at=None,
            mined_block=None,
            mined_hash=None,
            gas_used=None,
            finished_at=None,
            reason="the block that carried the alert was reorganised away",
        )

    async def retry(self, task_index: int, reason: str) -> TaskRecord | None:
        """quorum | submitted → quorum, one attempt more: the transaction did not do it."""
        return await self._move(
            task_index,
            _IN_FLIGHT,
            state="quorum",
            attempts=tasks.c.attempts + 1,
            reason=reason,
            mined_at=None,
            mined_block=None,
            mined_hash=None,
            gas_used=None,
        )

    async def fail(self, task_index: int, reason: str) -> TaskRecord | None:
        """open | quorum | submitted → failed, with the reason for people; the alert may be raised anew."""
        return await self._move(task_index, COLLECTING, state="failed", reason=reason, finished_at=time.time())

    async def begin_round(self, task: TaskRecord, reference_block_number: int, reason: str) -> TaskRecord | None:
        """open | quorum | submitted → open, over a fresh reference block: stakes moved since the old one. What was
        signed is kept as evidence. None as well when the task is in another round than `task` says."""

        def begin(connection: Connection) -> TaskRecord | None:
            return begin_round(connection, self._database.replica, task, reference_block_number, reason, COLLECTING)

        return await self._write(begin)

    async def task(self, task_index: int) -> TaskRecord | None:
        """A task as it is now."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.task_index == task_index)

        def read(connection: Connection) -> TaskRecord | None:
            row = connection.execute(query).first()
            return None if row is None else task_of(row)

        return await self._database.snapshot(read)

    async def submissions(self, task_index: int) -> list[SubmissionRecord]:
        """Everything ever signed for a task, newest last."""
        return (await self.submissions_of([task_index])).get(task_index, [])

    async def submissions_of(self, task_indices: Collection[int]) -> dict[int, list[SubmissionRecord]]:
        """The same for many tasks in one query; tasks without any are not in the answer."""
        query = (
            sa.select(*SUBMISSION_COLUMNS)
            .where(submissions.c.task_index.in_(list(task_indices)))
            .order_by(submissions.c.sent_at, submissions.c.nonce)
        )

        def read(connection: Connection) -> dict[int, list[SubmissionRecord]]:
            found: dict[int, list[SubmissionRecord]] = {}
            for row in connection.execute(query):
                found.setdefault(row[1], []).append(SubmissionRecord(*row))
            return found

        return await self._database.snapshot(read)

    async def highest_nonce(self) -> int | None:
        """The highest nonce among transactions whose fate is not yet known."""
        query = (
            sa.select(sa.func.max(submissions.c.nonce))
            .join(tasks, tasks.c.task_index == submissions.c.task_index)
            .where(tasks.c.state.in_(_IN_FLIGHT))
        )

        def read(connection: Connection) -> int | None:
            highest: int | None = connection.execute(query).scalar()
            return highest

        return await self._database.snapshot(read)

    async def _move(
        self, task_index: int, sources: Sequence[TaskState], *conditions: ColumnElement[bool], **values: object
    ) -> TaskRecord | None:
        return await self._write(
            lambda connection: self._update(connection, task_index, sources, *conditions, **values)
        )

    def _update(
        self,
        connection: Connection,
        task_index: int,
        sources: Sequence[TaskState],
        *conditions: ColumnElement[bool],
        **values: object,
    ) -> TaskRecord | None:
        statement = (
            sa.update(tasks)
            .where(tasks.c.task_index == task_index, tasks.c.state.in_(sources), *conditions)
            .values(moved_at=time.time(), moved_by=self._database.replica, **values)
            .returning(*TASK_COLUMNS)
        )
        row = connection.execute(statement).first()
        if row is None:
            return None
        notify(connection, self._database.replica, moved=[task_index])
        return task_of(row)

    async def _write(self, work: Callable[[Connection], TaskRecord | None]) -> TaskRecord | None:
        def fenced(connection: Connection) -> TaskRecord | None:
            self._lease.check(connection)
            return work(connection)

        task = await self._database.transaction(fenced)
        if task is not None:
            self._database.hub.moved([task.task_index])
        return task


def _mined(mined: MinedIn) -> dict[str, object]:
    return {
        "tx_hash": mined.tx_hash,
        "mined_block": mined.block_number,
        "mined_hash": mined.block_hash,
        "gas_used": mined.gas_used,
        # The first sight of this block stays: it is when the alert was on L1.
        "mined_at": sa.case((tasks.c.mined_hash == mined.block_hash, tasks.c.mined_at), else_=time.time()),
    }

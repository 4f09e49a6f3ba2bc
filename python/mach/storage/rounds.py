"""Collecting a task's signatures anew: its reference block is too old, or stakes moved since."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mach.storage.aggregator_schema import past_rounds, tasks
from mach.storage.change_feed import notify
from mach.storage.task_records import TASK_COLUMNS, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from mach.storage.task_records import TaskRecord, TaskState


def begin_round(
    connection: Connection,
    replica: int,
    task: TaskRecord,
    reference_block_number: int,
    reason: str,
    sources: Sequence[TaskState],
) -> TaskRecord | None:
    """Moves a task in one of the source states, and still in the round of `task`, to open in its next round.

    Signatures of the old round stay under its number; `past_rounds` says over which block they are. None when the task
    is in another state or round.
    """
    now = time.time()
    statement = (
        sa.update(tasks)
        .where(tasks.c.task_index == task.task_index, tasks.c.round == task.round, tasks.c.state.in_(sources))
        .values(
            state="open",
            round=task.round + 1,
            reference_block_number=reference_block_number,
            quorum_at=None,
            mined_at=None,
            mined_block=None,
            mined_hash=None,
            gas_used=None,
            finished_at=None,
            reason=reason,
            moved_at=now,
            moved_by=replica,
        )
        .returning(*TASK_COLUMNS)
    )
    row = connection.execute(statement).first()
    if row is None:
        return None
    connection.execute(
        past_rounds.insert().values(
            task_index=task.task_index,
            round=task.round,
            reference_block_number=task.reference_block_number,
            ended_at=now,
            reason=reason,
        )
    )
    notify(connection, replica, moved=[task.task_index])
    return task_of(row)

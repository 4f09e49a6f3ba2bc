"""Keeps the intake in step with the database: with what other replicas, and people, did to its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from mach.errors import MachError
from mach.storage.change_feed import ChangeFeed
from mach.storage.task_records import COLLECTING
from mach.transport.backoff import Backoff
from mach.transport.intake import StoredTask

if TYPE_CHECKING:
    from collections.abc import Collection

    from mach.aggregator.l1_feed import L1Feed
    from mach.storage.alert_tasks import AlertTaskStore
    from mach.storage.database import Database
    from mach.storage.task_records import LiveTask, TaskRecord
    from mach.transport.intake import Intake

log = structlog.get_logger()

REMEMBERED_CONFIRMATIONS: Final = 10_000


class ReplicaSync:
    """Takes tasks out of the database into the intake: all at the start, then those that others changed."""

    def __init__(self, database: Database, store: AlertTaskStore, feed: L1Feed, intake: Intake) -> None:
        self._database = database
        self._store = store
        self._feed = feed
        self._intake = intake

    async def restore(self) -> int:
        """Fills the intake; returns how many tasks are live. Raises `MachError`s of the database and of L1."""
        live = await self._store.live_tasks_with_signers()
        await self.take_in(live)
        ended = await self._store.confirmed_since(0.0, REMEMBERED_CONFIRMATIONS)
        self._intake.restore([_stored(record, b"") for record in ended])
        return len(live)

    async def learn(self, task_indices: Collection[int]) -> None:
        """Takes tasks in that somebody else stored."""
        if task_indices:
            await self.take_in(await self._store.signers(task_indices))

    async def take_in(self, tasks: Collection[LiveTask]) -> None:
        """Brings the intake's tasks to what is stored; quorums that only show together are stored."""
        for block in {task.record.reference_block_number for task in tasks if task.record.state in COLLECTING}:
            await self._feed.ensure_reference_block(block)
        by_index = {task.record.task_index: task.record for task in tasks}
        for index in self._intake.restore([_stored(task.record, task.operator_ids) for task in tasks]):
            await self._store.reach_quorum(index, by_index[index].reference_block_number)

    async def run(self) -> None:
        """Follows changes until cancelled; what could not be taken in is read again whole."""
        backoff = Backoff(0.2, 5.0)
        async with ChangeFeed(self._database) as changes:
            behind = False
            while True:
                found = await changes.next(backoff.next_delay_s() if behind else None)
                try:
                    if behind or found.missed:
                        await self.restore()
                    else:
                        await self._take_in_changed(found.signed | found.moved)
                    behind = False
                    backoff.reset()
                except MachError as error:
                    behind = True
                    log.warning("tasks.behind", problem=str(error))

    async def _take_in_changed(self, indices: Collection[int]) -> None:
        tasks = await self._store.signers(indices)
        await self.take_in([task for task in tasks if not self._is_own_news(task.record)])

    def _is_own_news(self, record: TaskRecord) -> bool:
        """What this process stored out of its intake's batches, the intake knows."""
        return record.moved_by == self._database.replica and record.state in ("open", "quorum") and record.round == 0


def _stored(record: TaskRecord, operator_ids: bytes) -> StoredTask:
    return StoredTask(
        task_index=record.task_index,
        alert_hash=record.message_hash,
        reference_block=record.reference_block_number,
        state=record.state,
        created_at=record.created_at,
        tx_hash=record.tx_hash if record.state == "confirmed" else None,
        operator_ids=operator_ids,
    )

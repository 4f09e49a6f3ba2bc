"""From verified signatures to durable ones: stores each batch of the intake in one transaction, then frees its answers.

While one batch is being stored the next gathers in the intake, so that a slow disk makes batches larger, not fewer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import structlog

from mach.errors import MachError
from mach.storage.task_records import NewTask, Proposal, SignatureBatch
from mach.transport.backoff import Backoff
from mach.transport.intake import AnnouncedTask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mach.aggregator.l1_feed import L1Feed
    from mach.aggregator.replica_sync import ReplicaSync
    from mach.storage.alert_tasks import AlertTaskStore
    from mach.storage.announcement_board import AnnouncementBoard
    from mach.storage.task_records import BatchOutcome
    from mach.transport.intake import Intake, IntakeBatch

log = structlog.get_logger()

NEXT_BATCH_TIMEOUT_MS: Final = 250
INDICES_AT_A_TIME: Final = 65_536
LOGGED_ONE_BY_ONE: Final = 8
"""New signatures of a batch that are told of one by one; more of them go into one line: at twenty thousand a second,
lines would cost more than curves."""


class BatchRecorder:
    """The one consumer of an intake's batches."""

    def __init__(
        self,
        intake: Intake,
        store: AlertTaskStore,
        board: AnnouncementBoard | None,
        feed: L1Feed,
        sync: ReplicaSync,
        quorum_numbers: bytes,
        thresholds: bytes,
        on_quorum: Callable[[Collection[int]], None],
        on_signatures: Callable[[Collection[int]], None],
    ) -> None:
        self._intake = intake
        self._store = store
        self._board = board
        self._feed = feed
        self._sync = sync
        self._quorum_numbers = quorum_numbers
        self._thresholds = thresholds
        self._on_quorum = on_quorum
        self._on_signatures = on_signatures

    async def reserve_indices(self) -> None:
        """Gives the intake numbers for new tasks, which no other process ever gets."""
        granted = await self._store.reserve_indices(INDICES_AT_A_TIME)
        self._intake.reserve(granted.first, granted.count, granted.high_water)

    async def run(self) -> None:
        """Stores batches until cancelled. What cannot be stored is refused to its senders, who bring it again."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(0.05, 2.0)
        with ThreadPoolExecutor(1, thread_name_prefix="mach-intake") as waiting:
            while True:
                batch = await loop.run_in_executor(waiting, self._intake.next_batch, NEXT_BATCH_TIMEOUT_MS)
                if batch is None:
                    continue
                try:
                    await self._record(batch)
                    backoff.reset()
                except MachError as error:
                    log.error("batch.not_stored", signatures=len(batch.task_indices), problem=str(error))
                    self._intake.fail(batch.id, "the aggregator cannot store signatures now: try again in a second")
                    await asyncio.sleep(backoff.next_delay_s())

    async def _record(self, batch: IntakeBatch) -> None:
        for bad in batch.bad_signatures:
            log.warning(
                "signature.bad",
                operator_id="0x" + bad.operator_id.hex(),
                task_index=bad.task_index,
                alert="0x" + bad.alert_hash.hex(),
                peer=bad.peer,
            )
        if batch.needs_indices:
            await self.reserve_indices()
        outcome = await self._store_signatures(batch)
        announced = await self._announce(batch) if batch.announcements else []
        refused = list(outcome.refused) if outcome is not None else []
        # Before the answers: whoever is told that the alert has another task finds that task here.
        if outcome is not None:
            await self._sync.learn([task.task_index for task in outcome.refused.values() if task is not None])
        late_quorum = self._intake.commit(batch.id, refused, announced)
        if outcome is None:
            return
        reached = set(outcome.quorum)
        reached |= await self._quorum_through_others(batch, outcome, late_quorum)
        self._log(batch, outcome, reached)
        if reached:
            self._on_quorum(reached)
        self._on_signatures(batch.task_indices)

    async def _store_signatures(self, batch: IntakeBatch) -> BatchOutcome | None:
        if not batch.task_indices:
            return None
        return await self._store.record_batch(
            SignatureBatch(
                tasks=[
                    NewTask(
                        task_index=task.task_index,
                        message_hash=task.alert_hash,
                        reference_block_number=task.reference_block,
                        quorum_numbers=self._quorum_numbers,
                        quorum_threshold_percentages=self._thresholds,
                        created_at=task.created_at,
                    )
                    for task in batch.tasks
                ],
                task_indices=batch.task_indices,
                reference_blocks=batch.reference_blocks,
                operator_ids=batch.operator_ids,
                signatures=batch.signatures,
                quorum_reached=batch.quorum_reached,
            )
        )

    async def _announce(self, batch: IntakeBatch) -> list[AnnouncedTask]:
        """What task the alerts have among all replicas."""
        if self._board is None:
            raise MachError("the intake announces tasks although it shares its database with nobody")
        proposals = [Proposal(task.alert_hash, task.task_index, task.reference_block) for task in batch.announcements]
        found = await self._board.announce(proposals, self._feed.oldest_reference_block)
        for entry in found:
            await self._feed.ensure_reference_block(entry.reference_block_number)
        await self._sync.learn([entry.task_index for entry in found if entry.record is not None])
        return [AnnouncedTask(entry.task_index, entry.message_hash, entry.reference_block_number) for entry in found]

    async def _quorum_through_others(self, batch: IntakeBatch, outcome: BatchOutcome, late: Sequence[int]) -> set[int]:
        """Tasks whose quorum shows only with signatures that came through other replicas, or in earlier batches."""
        candidates = {*late, *_tasks_signed_elsewhere(self._intake, outcome.elsewhere)}.difference(outcome.quorum)
        blocks = dict(zip(batch.task_indices, batch.reference_blocks, strict=True))
        return {
            index for index in candidates if index in blocks and await self._store.reach_quorum(index, blocks[index])
        }

    def _log(self, batch: IntakeBatch, outcome: BatchOutcome, reached: Collection[int]) -> None:
        for task in batch.tasks:
            if task.task_index not in outcome.refused:
                log.info(
                    "task.created",
                    alert="0x" + task.alert_hash.hex(),
                    task_index=task.task_index,
                    reference_block_number=task.reference_block,
                )
        if outcome.stored > LOGGED_ONE_BY_ONE:
            log.info("signatures.counted", count=outcome.stored, repeated=len(outcome.repeated), quorums=len(reached))
            return
        skipped = {*outcome.repeated, *outcome.not_stored}
        for position, task_index in enumerate(batch.task_indices):
            if position not in skipped:
                log.info(
                    "signature.counted",
                    alert="0x" + batch.alert_hashes[task_index].hex(),
                    task_index=task_index,
                    operator_id="0x" + batch.operator_ids[32 * position : 32 * position + 32].hex(),
                )


def _tasks_signed_elsewhere(intake: Intake, elsewhere: Mapping[int, bytes]) -> list[int]:
    return [index for index, operator_ids in elsewhere.items() if intake.note_signatures(index, operator_ids)]

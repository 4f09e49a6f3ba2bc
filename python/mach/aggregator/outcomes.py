"""What became of transactions, written into their tasks: mined, confirmed, reverted, overtaken or reorganised away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from mach.chain.confirm_alert import fresh_signatures_help, stands_already
from mach.chain.transaction_tracker import Confirmed, Mined, Reverted, Superseded, Unmined
from mach.storage.task_records import MinedIn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from mach.aggregator.metrics import AggregatorMetrics
    from mach.chain.settlement import Settlement
    from mach.chain.transaction import Receipt
    from mach.chain.transaction_tracker import Outcome
    from mach.storage.submission_journal import SubmissionJournal
    from mach.storage.task_records import TaskRecord

log = structlog.get_logger()

MAX_ATTEMPTS: Final = 5
"""Transactions that may fail for one task before it is given up; the alert can then be raised anew."""
REORG_DEPTH: Final = 64
"""Blocks for which a confirmed alert is watched: two epochs, after which Ethereum's blocks are final."""


class OutcomeRecorder:
    """Moves tasks as the chain says. `on_change` is called with tasks that may have something to do."""

    def __init__(
        self,
        journal: SubmissionJournal,
        settlement: Settlement,
        metrics: AggregatorMetrics,
        on_change: Callable[[Collection[int]], None],
    ) -> None:
        self._journal = journal
        self._settlement = settlement
        self._metrics = metrics
        self._on_change = on_change
        self._watched: dict[int, TaskRecord] = {}
        self._reorganisations_seen = 0

    def watch(self, confirmed: Iterable[TaskRecord]) -> None:
        """Confirmed tasks whose blocks may still be reorganised away."""
        recent = self._settlement.heads.head.number - REORG_DEPTH
        for task in confirmed:
            if task.mined_block is not None and task.mined_block >= recent:
                self._watched[task.task_index] = task

    async def take(self, task_index: int, outcome: Outcome) -> None:
        """Writes what became of a task's transaction. To write it twice changes nothing."""
        match outcome:
            case Mined(_, receipt):
                await self._journal.record_mined(task_index, _mined_in(receipt))
            case Unmined():
                await self._unmined(task_index)
            case Confirmed(_, receipt):
                await self.confirm(task_index, _mined_in(receipt))
            case Reverted(transaction, _, reason):
                log.warning("transaction.reverted", tx_hash="0x" + transaction.hash.hex(), reason=reason)
                await self.reverted(task_index, reason)
            case Superseded(transaction):
                await self.charge(task_index, f"another transaction took nonce {transaction.nonce}")

    async def confirm(self, task_index: int, mined: MinedIn) -> None:
        """The alert stands on L1."""
        task = await self._journal.confirm(task_index, mined)
        if task is None:
            return
        self._watched[task_index] = task
        seconds = (task.mined_at or time.time()) - task.created_at
        self._metrics.confirmed(seconds)
        log.info(
            "task.confirmed",
            **named(task),
            tx_hash="0x" + mined.tx_hash.hex(),
            block=mined.block_number,
            gas_used=mined.gas_used,
            seconds=round(seconds, 3),
        )

    async def confirm_if_on_chain(self, task: TaskRecord) -> bool:
        """Whether the contract holds the alert already, by whichever transaction."""
        found = self._settlement.alerts.get(task.message_hash)
        if found is None:
            return False
        await self.confirm(task.task_index, MinedIn(found.transaction_hash, found.block_number, found.block_hash, None))
        return True

    async def reverted(self, task_index: int, reason: str) -> None:
        """The contract refused: fresh signatures where they help, another attempt otherwise."""
        if stands_already(reason):
            # The follower will show it; until then there is nothing to send.
            await self.charge(task_index, reason, spent=False)
            return
        if fresh_signatures_help(reason):
            await self.begin_round(task_index, reason)
            return
        await self.charge(task_index, reason)

    async def begin_round(self, task_index: int, reason: str) -> None:
        """Collects the task's signatures anew, over the present reference block."""
        task = await self._journal.task(task_index)
        if task is None or task.attempts + 1 >= MAX_ATTEMPTS:
            await self.charge(task_index, reason)
            return
        fresh = self._settlement.operators.current().reference_block
        if fresh <= task.reference_block_number:
            await self.charge(task_index, reason)
            return
        begun = await self._journal.begin_round(task, fresh, reason)
        if begun is not None:
            log.warning("task.new_round", **named(begun), round=begun.round, reference_block=fresh, problem=reason)

    async def charge(self, task_index: int, problem: str, *, spent: bool = True) -> None:
        """One attempt is spent; after the last the task has failed."""
        task = await self._journal.task(task_index)
        if task is None or await self.confirm_if_on_chain(task):
            return
        if not spent or task.attempts + 1 < MAX_ATTEMPTS:
            if await self._journal.retry(task_index, problem) is not None:
                log.warning("task.attempt_failed", **named(task), attempts=task.attempts + 1, problem=problem)
                self._on_change([task_index])
            return
        if await self._journal.fail(task_index, problem) is not None:
            self._metrics.finished("failed")
            log.error("task.failed", **named(task), problem=problem)

    async def check_reorganised(self) -> None:
        """Finds confirmed alerts that a reorganisation took out of the chain, and puts their tasks back to work."""
        heads = self._settlement.heads
        if heads.reorganisations != self._reorganisations_seen:
            for task in list(self._watched.values()):
                found = self._settlement.alerts.get(task.message_hash)
                if found is None:
                    await self._unmined(task.task_index)
                elif found.block_hash != task.mined_hash:
                    # The same alert in another block.
                    await self._journal.reorged(task.task_index, task.mined_hash or b"")
                    await self.confirm_if_on_chain(task)
            self._reorganisations_seen = heads.reorganisations
        settled = heads.head.number - REORG_DEPTH
        self._watched = {index: task for index, task in self._watched.items() if (task.mined_block or 0) > settled}

    async def _unmined(self, task_index: int) -> None:
        task = await self._journal.task(task_index)
        self._watched.pop(task_index, None)
        if task is None or task.mined_hash is None:
            return
        back = await self._journal.reorged(task_index, task.mined_hash)
        if back is not None:
            log.warning("task.reorganised", **named(back), state=back.state)
            self._on_change([task_index])


def named(task: TaskRecord) -> dict[str, object]:
    """What every line about a task says."""
    return {"alert": "0x" + task.message_hash.hex(), "task_index": task.task_index}


def _mined_in(receipt: Receipt) -> MinedIn:
    return MinedIn(receipt.transaction_hash, receipt.block_number, receipt.block_hash, receipt.gas_used)

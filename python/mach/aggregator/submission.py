"""One holding of the lease: tasks on their way from their quorum to L1."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from mach.aggregator.outcomes import OutcomeRecorder, named
from mach.chain.errors import FeeCapReachedError, L1UnavailableError, RevertedError
from mach.chain.service_manager import AlertHeader
from mach.chain.transaction import SignedTransaction
from mach.errors import MachError
from mach.storage.change_feed import ChangeFeed
from mach.storage.errors import DatabaseError, FencedOutError
from mach.storage.submission_journal import SubmissionJournal

if TYPE_CHECKING:
    from collections.abc import Collection

    from mach.aggregator.metrics import AggregatorMetrics
    from mach.aggregator.submitter import SubmitterSettings
    from mach.chain.blocks import Block
    from mach.chain.confirmed_alerts import ConfirmedAlert
    from mach.chain.settlement import Settlement
    from mach.chain.transaction_tracker import Outcome
    from mach.storage.alert_tasks import AlertTaskStore
    from mach.storage.database import Database
    from mach.storage.submitter_lease import SubmitterLease
    from mach.storage.task_records import TaskRecord

log = structlog.get_logger()

MAX_IN_FLIGHT: Final = 64
"""Transactions under way at a time; more would sit in the node's pool where their fees cannot be seen to."""
RETRY_S: Final = 2.0
"""Before a task is tried again whose transaction failed, and before an L1 that is away is asked again."""
UPKEEP_S: Final = 1.0
TRACKING_PAUSE_S: Final = 0.01
"""Between two looks at transactions under way, at the least."""
RECENT_CONFIRMATIONS: Final = 1_000
MAX_SEEN: Final = 10_000


class SubmissionTerm:
    """Submits until its lease ends. Every write is fenced by the lease."""

    def __init__(
        self,
        database: Database,
        store: AlertTaskStore,
        lease: SubmitterLease,
        settlement: Settlement,
        metrics: AggregatorMetrics,
        settings: SubmitterSettings,
    ) -> None:
        self._database = database
        self._store = store
        self._settlement = settlement
        self._metrics = metrics
        self._settings = settings
        self._journal = SubmissionJournal(database, lease)
        self._recorder = OutcomeRecorder(self._journal, settlement, metrics, self.notice)
        self._tracker = settlement.new_tracker(self._record_replacement)
        self._due: dict[int, float] = {}
        self._ready: dict[int, TaskRecord] = {}
        self._task_of_nonce: dict[int, int] = {}
        self._untold: deque[Outcome] = deque()
        self._seen_on_chain: deque[bytes] = deque(maxlen=MAX_SEEN)
        self._noticed: set[int] = set()
        self._looked_at: set[int] = set()
        self._news = asyncio.Event()
        self._sent = asyncio.Event()

    def notice(self, task_indices: Collection[int]) -> None:
        """Tasks that may have something to do."""
        self._noticed.update(task_indices)
        self._news.set()

    def notice_signatures(self, task_indices: Collection[int]) -> None:
        """Tasks that have more signatures now: with the last of them, nothing is left to wait for."""
        waiting = (self._due.keys() | self._looked_at).intersection(task_indices)
        if waiting:
            self.notice(waiting)

    async def run(self) -> None:
        """Works until cancelled. Raises `FencedOutError` when another replica took over, or another `MachError`."""
        await self._resume()
        heads, alerts = self._settlement.heads, self._settlement.alerts
        heads.add_listener(self._note_head)
        alerts.add_listener(self._note_alert)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._submit_forever())
                group.create_task(self._track_forever())
                group.create_task(self._hear_of_changes())
                group.create_task(self._upkeep_forever())
        except* MachError as failed:
            # One reason is enough: whoever runs this begins anew, or waits for the lease.
            raise failed.exceptions[0] from None
        finally:
            heads.remove_listener(self._note_head)
            alerts.remove_listener(self._note_alert)

    async def _resume(self) -> None:
        """Takes up what is on record: transactions are sent again, for the node may never have seen them."""
        unfinished = await self._store.tasks_in("quorum", "submitted")
        submissions = await self._journal.submissions_of([task.task_index for task in unfinished])
        on_record = []
        for task in unfinished:
            sent = [
                SignedTransaction.from_raw(submission.transaction)
                for submission in submissions.get(task.task_index, [])
                if submission.round == task.round and task.state == "submitted"
            ]
            self._task_of_nonce.update({transaction.nonce: task.task_index for transaction in sent})
            on_record += sent
            if sent:
                log.info("task.resumed", **named(task))
        await self._settlement.take_over(self._tracker, on_record)
        self._recorder.watch(await self._store.confirmed_since(0.0, RECENT_CONFIRMATIONS))
        self.notice([task.task_index for task in unfinished if task.state == "quorum"])

    def _note_head(self, _head: Block) -> None:
        self._sent.set()

    # ---- from quorum to transaction ----

    async def _submit_forever(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._take_noticed()
                await self._submit_due()
            except FencedOutError:
                raise
            except (L1UnavailableError, DatabaseError) as error:
                log.warning("submission.waits", problem=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            try:
                async with asyncio.timeout(self._idle_s()):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _idle_s(self) -> float | None:
        if not self._due:
            return None
        if len(self._tracker) >= MAX_IN_FLIGHT:
            return UPKEEP_S
        return max(min(self._due.values()) - time.monotonic(), 0.0)

    async def _take_noticed(self) -> None:
        """Finds out when each noticed task is to be submitted."""
        if not self._noticed:
            return
        # What is noticed while the database answers stays noticed.
        self._looked_at, self._noticed = self._noticed, set()
        try:
            found = await self._store.signers(self._looked_at)
        except BaseException:
            self._noticed |= self._looked_at
            raise
        finally:
            self._looked_at = set()
        for task in found:
            record, index = task.record, task.record.task_index
            if record.state != "quorum":
                self._due.pop(index, None)
                self._ready.pop(index, None)
                continue
            if index not in self._ready and not record.attempts:
                self._metrics.quorum_seconds.observe((record.quorum_at or 0.0) - record.created_at)
                log.info("task.quorum", **named(record), signatures=len(task.operator_ids) // 32)
            self._ready[index] = record
            self._due[index] = time.monotonic() + self._delay_s(record, len(task.operator_ids) // 32)

    def _delay_s(self, task: TaskRecord, signatures: int) -> float:
        if task.attempts:
            return RETRY_S
        operators = self._settlement.operators.at(task.reference_block_number)
        if operators is not None and signatures == len(operators.members):
            return 0.0  # nobody is left to wait for
        waited_s = time.time() - (task.quorum_at or 0.0)
        return max(self._settings.late_signature_window_s - waited_s, 0.0)

    async def _submit_due(self) -> None:
        now = time.monotonic()
        room = max(MAX_IN_FLIGHT - len(self._tracker), 0)
        due = sorted((at, index) for index, at in self._due.items() if at <= now)[:room]
        transactions = [await self._guarded(self._ready[index]) for _, index in due]
        sent = [transaction for transaction in transactions if transaction is not None]
        if not sent:
            return
        refusals = await self._tracker.submit(sent)
        for transaction, refusal in zip(sent, refusals, strict=True):
            if refusal is not None:
                await self._recorder.charge(self._task_of_nonce.pop(transaction.nonce), str(refusal))
        self._sent.set()

    async def _guarded(self, task: TaskRecord) -> SignedTransaction | None:
        """Makes a task's transaction; what fails for this task alone is charged to it and leaves the others alone."""
        index = task.task_index
        try:
            return await self._prepare(task)
        except (L1UnavailableError, DatabaseError):
            raise
        except FeeCapReachedError as error:
            self._due[index] = time.monotonic() + RETRY_S
            log.error("task.fee_cap", **named(task), problem=str(error))
        except RevertedError as error:
            self._forget(index)
            await self._recorder.reverted(index, error.reason)
        except MachError as error:
            self._forget(index)
            await self._recorder.charge(index, str(error))
        return None

    async def _prepare(self, task: TaskRecord) -> SignedTransaction | None:
        """The task's transaction, on record; None where none is needed."""
        if await self._recorder.confirm_if_on_chain(task):
            self._forget(task.task_index)
            return None
        operators = await self._settlement.operators.read_at(task.reference_block_number)
        signatures = await self._store.signatures(task.task_index)
        header = AlertHeader(
            message_hash=task.message_hash,
            quorum_numbers=task.quorum_numbers,
            quorum_threshold_percentages=task.quorum_threshold_percentages,
            reference_block_number=task.reference_block_number,
            rollup_chain_id=self._settings.rollup_chain_id,
        )
        # The first attempt goes without a simulation, which takes longer than all the rest.
        transaction = await self._settlement.prepare_alert(header, operators, signatures, simulate=task.attempts > 0)
        try:
            recorded = await self._journal.record_submission(
                task.task_index, transaction.hash, transaction.nonce, transaction.raw
            )
        except BaseException:
            self._settlement.sender.release(transaction)
            raise
        self._forget(task.task_index)
        if recorded is None:
            self._settlement.sender.release(transaction)
            self.notice([task.task_index])
            return None
        self._task_of_nonce[transaction.nonce] = task.task_index
        since_quorum_s = time.time() - (task.quorum_at or 0.0)
        self._metrics.submission_seconds.observe(since_quorum_s)
        log.info(
            "task.submitted",
            **named(recorded),
            tx_hash="0x" + transaction.hash.hex(),
            nonce=transaction.nonce,
            signatures=len(signatures),
            non_signers=len(operators.non_signers(signatures.keys())),
            seconds_since_quorum=round(since_quorum_s, 4),
        )
        return transaction

    def _forget(self, task_index: int) -> None:
        self._due.pop(task_index, None)
        self._ready.pop(task_index, None)

    async def _record_replacement(self, present: SignedTransaction, newer: SignedTransaction) -> bool:
        """Before a version with higher fees is sent: whether it may be."""
        index = self._task_of_nonce.get(present.nonce)
        if index is None:
            return False
        recorded = await self._journal.record_submission(index, newer.hash, newer.nonce, newer.raw)
        if recorded is None:
            return False
        log.warning("task.resubmitted", **named(recorded), tx_hash="0x" + newer.hash.hex(), fee_wei=newer.max_fee_wei)
        return True

    # ---- from transaction to confirmation ----

    async def _track_forever(self) -> None:
        while True:
            self._sent.clear()
            try:
                self._untold.extend(await self._tracker.poll())
                while self._untold:
                    # The tracker tells nothing twice: an outcome stays here until it is written.
                    await self._take(self._untold[0])
                    self._untold.popleft()
                await self._recorder.check_reorganised()
            except FencedOutError:
                raise
            except MachError as error:
                log.warning("transactions.not_followed", problem=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            if len(self._tracker) == 0:
                await self._sent.wait()
                continue
            await asyncio.sleep(TRACKING_PAUSE_S)
            try:
                async with asyncio.timeout(self._settlement.heads.poll_interval_s):
                    await self._sent.wait()
            except TimeoutError:
                continue

    async def _take(self, outcome: Outcome) -> None:
        index = self._task_of_nonce.get(outcome.transaction.nonce)
        if index is not None:
            await self._recorder.take(index, outcome)

    # ---- beside all this ----

    async def _hear_of_changes(self) -> None:
        """Quorums that another replica stored, and tasks that people have tried again."""
        async with ChangeFeed(self._database) as changes:
            async for found in changes:
                if found.missed:
                    self.notice([task.task_index for task in await self._store.tasks_in("quorum")])
                else:
                    self.notice(found.moved)

    async def _upkeep_forever(self) -> None:
        """Ends tasks that did not get their signatures in time, or whose alert somebody else brought to L1."""
        while True:
            try:
                head = self._settlement.heads.head.number
                expired = await self._store.expire(
                    time.time() - self._settings.task_expiry_s, head - self._settings.task_expiry_blocks
                )
                for task in expired:
                    log.warning("task.expired", **named(task))
                    self._metrics.finished("expired")
                while self._seen_on_chain:
                    await self._note_on_chain(self._seen_on_chain[0])
                    self._seen_on_chain.popleft()
            except FencedOutError:
                raise
            except MachError as error:
                log.warning("upkeep.waits", problem=str(error))
            await asyncio.sleep(UPKEEP_S)

    def _note_alert(self, alert: ConfirmedAlert, stands: bool) -> None:
        if stands:
            self._seen_on_chain.append(alert.message_hash)

    async def _note_on_chain(self, message_hash: bytes) -> None:
        task = await self._store.live_task(message_hash)
        # Of a task that was submitted the tracker tells, with what it cost.
        if task is not None and task.state in ("open", "quorum"):
            await self._recorder.confirm_if_on_chain(task)

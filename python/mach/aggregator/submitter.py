"""Bringing alerts to L1, each exactly once: a transaction is durable before it is sent, and followed until it is mined.

Only the holder of the lease submits. Whoever takes over finds every signed transaction in the database and sends those
bytes again: the nonce makes the second copy harmless.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from mach.aggregator.submission import SubmissionTerm
from mach.errors import MachError
from mach.storage.errors import FencedOutError
from mach.storage.submitter_lease import acquire_lease
from mach.transport.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Collection

    from mach.aggregator.metrics import AggregatorMetrics
    from mach.chain.settlement import Settlement
    from mach.storage.alert_tasks import AlertTaskStore
    from mach.storage.database import Database

log = structlog.get_logger()

LEASE_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class SubmitterSettings:
    """Seconds, blocks. `holder` names this replica for people."""

    holder: str
    rollup_chain_id: int
    late_signature_window_s: float
    task_expiry_s: float
    task_expiry_blocks: int


class AlertSubmitter:
    """Submits while this replica holds the lease, and waits for the lease while another does."""

    def __init__(
        self,
        database: Database,
        store: AlertTaskStore,
        settlement: Settlement,
        metrics: AggregatorMetrics,
        settings: SubmitterSettings,
    ) -> None:
        self._database = database
        self._store = store
        self._settlement = settlement
        self._metrics = metrics
        self._settings = settings
        self._term: SubmissionTerm | None = None

    @property
    def submits(self) -> bool:
        """Whether this replica holds the lease."""
        return self._term is not None

    def notice_quorum(self, task_indices: Collection[int]) -> None:
        """Tasks that have just reached their quorum here."""
        if self._term is not None:
            self._term.notice(task_indices)

    def notice_signatures(self, task_indices: Collection[int]) -> None:
        """Tasks that have more signatures than before."""
        if self._term is not None:
            self._term.notice_signatures(task_indices)

    async def run(self) -> None:
        """Takes the lease whenever it is free, until cancelled."""
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                if await self._one_term():
                    backoff.reset()
            except MachError as error:
                log.error("submitter.stopped", problem=str(error))
                await asyncio.sleep(backoff.next_delay_s())

    async def _one_term(self) -> bool:
        """Waits for the lease and submits while it lasts; False when another replica kept it."""
        lease = await acquire_lease(self._database, self._settings.holder, LEASE_TIMEOUT_S)
        if lease is None:
            return False
        started = time.monotonic()
        log.info("submitter.began", epoch=lease.epoch, holder=lease.holder)
        term = SubmissionTerm(self._database, self._store, lease, self._settlement, self._metrics, self._settings)
        self._term = term
        self._metrics.submits.set(1)
        working = asyncio.create_task(term.run(), name="mach-submission-term")
        losing = asyncio.create_task(lease.lost.wait(), name="mach-lease-lost")
        try:
            await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        except FencedOutError as error:
            log.warning("submitter.fenced_out", problem=str(error))
        finally:
            self._term = None
            self._metrics.submits.set(0)
            losing.cancel()
            working.cancel()
            await asyncio.gather(working, losing, return_exceptions=True)
            await lease.release()
            log.info("submitter.ended", epoch=lease.epoch, seconds=round(time.monotonic() - started, 3))
        return True

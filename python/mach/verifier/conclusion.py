"""What follows from a verdict: it becomes durable together with its alerts, then it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from mach.storage.chain_record import VERIFIED, LabelledHead
from mach.verifier.dispatcher import block_alert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.storage.raised_alerts import RaisedAlert
    from mach.storage.verdict_log import DeliveryRecord, VerdictLog
    from mach.verifier.dispatcher import AlertDispatcher
    from mach.verifier.metrics import VerifierMetrics
    from mach.verifier.reexecution import Tip, Verdict
    from mach.verifier.verdict_feed import VerdictFeed

log = structlog.get_logger()


class VerdictDesk:
    """Takes every verdict of a verifier, from whichever part of it."""

    def __init__(
        self, verdicts: VerdictLog, dispatcher: AlertDispatcher, metrics: VerifierMetrics, feed: VerdictFeed
    ) -> None:
        self.verdicts = verdicts
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._feed = feed

    async def conclude(self, verdict: Verdict, tip: Tip | None = None) -> None:
        """Records a verdict, and an INVALID one's alerts with it; `tip` is where verification goes on, if it does."""
        found = verdict.verification
        deliveries: Sequence[DeliveryRecord] = ()
        raised: RaisedAlert | None = None
        if found.verdict == "INVALID":
            alert = verdict.alert()
            raised = block_alert(alert)
            deliveries = self._dispatcher.deliveries(raised)
        head = None if tip is None else LabelledHead(VERIFIED, tip.number, tip.hash, tip.header)
        new = await self.verdicts.record(verdict.record(), deliveries, head, raised)
        if found.verdict == "INVALID":
            if not new:
                return  # it is served again; its alert stands
            log.error(
                "block.invalid",
                block=found.number,
                hash="0x" + found.block_hash.hex(),
                fields=[mismatch.field for mismatch in found.mismatches],
                mismatches=[f"{m.field}: served {m.served}, computed {m.computed}" for m in found.mismatches],
                alert="0x" + alert.message_hash().hex(),
                served_by=verdict.served_by,
            )
        self._metrics.block(found.verdict, found.gas_used)
        self._metrics.stages(found.timings)
        if deliveries:
            self._dispatcher.wake()
        if found.verdict == "VALID":
            log.info(
                "block.valid",
                block=found.number,
                hash="0x" + found.block_hash.hex(),
                transactions=found.transaction_count,
                gas_used=found.gas_used,
                milliseconds=round(verdict.seconds * 1000, 1),
            )
        if found.verdict != "INCONCLUSIVE":
            self._feed.publish(verdict)

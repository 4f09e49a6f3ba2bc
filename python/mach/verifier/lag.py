"""How far verification is behind the chain, and the alarm when that is too far."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from mach.rollup.endpoints import EndpointSet
    from mach.verifier.metrics import VerifierMetrics
    from mach.verifier.progress import Progress

log = structlog.get_logger()

CHECK_INTERVAL_S: Final = 0.5


class LagWatch:
    """Measures lag: blocks that an endpoint has announced and that have no verdict, and how long the oldest waits."""

    def __init__(
        self, endpoints: EndpointSet, progress: Progress, metrics: VerifierMetrics, *, max_lag_s: float
    ) -> None:
        self._endpoints = endpoints
        self._progress = progress
        self._metrics = metrics
        self._max_lag_s = max_lag_s
        self.alarm: str | None = None
        """What is wrong, in words for people, while the bound is exceeded."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(CHECK_INTERVAL_S)

    def check(self) -> None:
        """Measures once."""
        tip, highest = self._progress.tip, self._endpoints.highest
        blocks, seconds = 0, 0.0
        if tip is not None and highest is not None and highest > tip.number:
            blocks, seconds = highest - tip.number, self._endpoints.waiting_s(tip.number + 1)
        self._metrics.lag_blocks.set(blocks)
        self._metrics.lag_seconds.set(seconds)
        exceeded = seconds > self._max_lag_s
        self._metrics.lag_alarm.set(exceeded)
        if not exceeded:
            if self.alarm is not None:
                log.info("verifier.lag_over", blocks=blocks)
            self.alarm = None
            return
        before, self.alarm = (
            self.alarm,
            f"block {tip.number + 1 if tip else 0} has waited {seconds:.0f} s for its verdict",
        )
        if before is None:
            log.error("verifier.lag", problem=self.alarm, blocks=blocks, max_lag_s=self._max_lag_s)

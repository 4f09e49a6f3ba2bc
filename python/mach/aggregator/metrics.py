"""What the aggregator counts, under EigenLayer's names and our own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mach.aggregator.intake_metrics import IntakeCollector
from mach.errors import MachError
from mach.storage.task_records import TASK_STATES

if TYPE_CHECKING:
    from mach.chain.settlement import Settlement
    from mach.storage.alert_tasks import AlertTaskStore
    from mach.transport.intake import Intake

log = structlog.get_logger()

COUNT_INTERVAL_S: Final = 5.0
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1200)


class AggregatorMetrics:
    """One aggregator's metrics, in a registry of its own so that two may live in one process."""

    def __init__(self, avs_name: str = "mach") -> None:
        self.registry = CollectorRegistry()
        self._finished = Counter("mach_tasks_finished", "Tasks ended here", ["state"], registry=self.registry)
        self._tasks = Gauge("mach_tasks", "Tasks by state, of all replicas", ["state"], registry=self.registry)
        self.quorum_seconds = Histogram(
            "mach_quorum_seconds", "From a task's creation to its quorum", registry=self.registry, buckets=SECONDS
        )
        self.submission_seconds = Histogram(
            "mach_submission_seconds",
            "From a task's quorum to its signed transaction, the window for late signatures included",
            registry=self.registry,
            buckets=SECONDS,
        )
        self.confirmation_seconds = Histogram(
            "mach_confirmation_seconds",
            "From the first signature of a task to its alert on L1",
            registry=self.registry,
            buckets=SECONDS,
        )
        self.submits = Gauge("mach_submits", "1 while this replica is the one that submits", registry=self.registry)
        # EigenLayer's AVS specification: a share of 100 of the work that was done as it should be.
        self._performance = Gauge(
            "eigen_performance_score", "Tasks confirmed, of those that ended", ["avs_name"], registry=self.registry
        ).labels(avs_name)
        self._performance.set(100)

    def follow(self, intake: Intake, settlement: Settlement) -> None:
        """Shows an intake's and an L1's own counts beside these."""
        self.registry.register(IntakeCollector(intake))
        head = Gauge("mach_l1_head", "Number of the L1's head as followed", registry=self.registry)
        head.set_function(lambda: _head_number(settlement))
        age = Gauge("mach_l1_head_age_seconds", "Since the L1 node last answered", registry=self.registry)
        age.set_function(lambda: settlement.heads.age_s)

    def confirmed(self, seconds: float) -> None:
        """An alert of ours stands on L1, so long after its first signature."""
        self.confirmation_seconds.observe(seconds)
        self.finished("confirmed")

    def finished(self, state: str) -> None:
        """A task ended."""
        self._finished.labels(state).inc()

    async def count_forever(self, store: AlertTaskStore) -> None:
        """Counts the tasks in the database now and then, until cancelled."""
        while True:
            try:
                counts = await store.count_by_state()
            except MachError as error:
                log.warning("tasks.not_counted", problem=str(error))
            else:
                for state in TASK_STATES:
                    self._tasks.labels(state).set(counts.get(state, 0))
                ended = sum(counts.get(state, 0) for state in ("confirmed", "failed", "expired"))
                if ended:
                    self._performance.set(100 * counts.get("confirmed", 0) / ended)
            await asyncio.sleep(COUNT_INTERVAL_S)


def _head_number(settlement: Settlement) -> float:
    try:
        return settlement.heads.head.number
    except MachError:
        return float("nan")

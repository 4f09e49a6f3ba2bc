"""The intake's own counts as Prometheus metrics, read when they are asked for."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from mach.transport.intake import HistogramCounts, Intake, IntakeStats

GAUGES: Final = {
    "queue_depth": "Signatures that wait to be checked, or are being checked",
    "cooled_depth": "Signatures that wait to be checked last and alone",
    "uncommitted": "Signatures that were checked and wait to be durable",
    "batches_outstanding": "Batches that are being stored",
    "waiting": "Requests that wait for an answer",
    "open_tasks": "Tasks in memory that are not finished, signed or not",
    "unsigned_tasks": "Tasks in memory that nobody has signed",
    "cooling_operators": "Operators whose signatures are checked last",
    "indices_left": "Task indices reserved and not given out",
}


class IntakeCollector(Collector):
    """Reads an intake's counts whenever the metrics are asked for."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def collect(self) -> Iterator[Metric]:
        stats = self._intake.stats()
        for name, told in GAUGES.items():
            yield GaugeMetricFamily(f"mach_intake_{name}", told, value=stats.gauges[name])
        yield CounterMetricFamily("mach_tasks_evicted", "Unsigned tasks that gave way", value=stats.evictions)
        yield CounterMetricFamily("mach_tasks_rebuilt", "Tasks brought back by a signature", value=stats.rebuilt)
        yield from _signatures(stats)
        yield _histogram("mach_verify_seconds", "One check of one task's signatures", stats.verify_seconds)
        yield _histogram("mach_verify_group_size", "Signatures summed and checked as one", stats.group_sizes)
        yield _histogram("mach_batch_size", "Signatures stored in one transaction", stats.batch_sizes)
        yield from _requests(stats)


def _signatures(stats: IntakeStats) -> Iterator[Metric]:
    outcomes = CounterMetricFamily("mach_signatures", "Signatures by outcome", labels=["outcome"])
    for outcome, count in stats.signatures.items():
        outcomes.add_metric([outcome], count)
    yield outcomes
    by_operator = CounterMetricFamily(
        "mach_operator_signatures", "Registered operators' signatures by outcome", labels=["operator_id", "outcome"]
    )
    for operator_id, counts in stats.signatures_by_operator.items():
        for outcome, count in counts.items():
            by_operator.add_metric(["0x" + operator_id.hex(), outcome], count)
    yield by_operator


def _requests(stats: IntakeStats) -> Iterator[Metric]:
    """Requests under EigenLayer's names, connections and refusals under ours."""
    total = CounterMetricFamily("eigen_rpc_request", "Requests", labels=["transport", "method", "outcome"])
    seconds = HistogramMetricFamily(
        "eigen_rpc_request_duration_seconds", "How long requests took", labels=["transport", "method"]
    )
    for calls in stats.requests:
        for outcome, count in calls.outcomes.items():
            total.add_metric([calls.transport, calls.method, outcome], count)
        seconds.add_metric([calls.transport, calls.method], *_cumulated(calls.seconds))
    yield total
    yield seconds
    kinds: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
        "open": GaugeMetricFamily("mach_connections", "Open connections", labels=["transport"]),
        "accepted": CounterMetricFamily("mach_connections_accepted", "Connections ever", labels=["transport"]),
        "bytes_in": CounterMetricFamily("mach_received_bytes", "Bytes received", labels=["transport"]),
        "bytes_out": CounterMetricFamily("mach_sent_bytes", "Bytes sent", labels=["transport"]),
    }
    for connections in stats.connections:
        for name, family in kinds.items():
            family.add_metric([connections.transport], getattr(connections, name))
    yield from kinds.values()
    refused = CounterMetricFamily("mach_refused", "Requests and connections refused, by limit", labels=["limit"])
    for limit, count in stats.refused.items():
        refused.add_metric([limit], count)
    yield refused


def _histogram(name: str, told: str, counts: HistogramCounts) -> HistogramMetricFamily:
    buckets, total = _cumulated(counts)
    return HistogramMetricFamily(name, told, buckets=buckets, sum_value=total)


def _cumulated(counts: HistogramCounts) -> tuple[list[tuple[str, float]], float]:
    bounds = [*map(str, counts.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(counts.counts)), strict=True)), counts.sum

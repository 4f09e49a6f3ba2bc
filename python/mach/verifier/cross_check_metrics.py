"""What cross-checking counts, for Prometheus: every name and label says that it is agreement, not re-execution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from mach.storage.raised_alerts import AGREEMENT

if TYPE_CHECKING:
    from mach.verifier.agreement import Endpoint


class CrossCheckMetrics:
    """One cross-check's metrics, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._blocks = Counter(
            "mach_cross_check_blocks", "Blocks by verdict; not re-executed", ["verdict", "basis"], registry=registry
        )
        self.tip = Gauge("mach_cross_check_tip", "Highest block that was agreed on", registry=registry)
        self.agreement_possible = Gauge(
            "mach_cross_check_agreement_possible", "0 while too few endpoints answer or agree", registry=registry
        )
        labels = ["endpoint", "provider"]
        self._up = Gauge("mach_cross_check_endpoint_up", "1 while an endpoint answers", labels, registry=registry)
        self._heads = Gauge("mach_cross_check_endpoint_head", "Head of an endpoint", labels, registry=registry)
        self._disagreements = Counter(
            "mach_cross_check_disagreements", "Blocks that an endpoint served alone", labels, registry=registry
        )

    def block(self, verdict: str) -> None:
        """A block has its verdict."""
        self._blocks.labels(verdict, AGREEMENT).inc()

    def answered(self, endpoint: Endpoint, head: int) -> None:
        self._up.labels(endpoint.name, endpoint.provider).set(1)
        self._heads.labels(endpoint.name, endpoint.provider).set(head)

    def away(self, endpoint: Endpoint) -> None:
        self._up.labels(endpoint.name, endpoint.provider).set(0)

    def disagreement(self, endpoint: Endpoint) -> None:
        self._disagreements.labels(endpoint.name, endpoint.provider).inc()

"""The operator's metrics under the names of EigenLayer's node specification."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class OperatorMetrics:
    """One operator's metrics, in a registry of its own."""

    def __init__(self, avs_name: str) -> None:
        self.registry = CollectorRegistry()
        self.performance = Gauge(
            "eigen_performance_score", "0 to 100, 100 at start", ["avs_name"], registry=self.registry
        )
        self.performance.labels(avs_name).set(100)
        self.fees = Counter(
            "eigen_fees_earned_total", "Fees earned, in the token's unit", ["avs_name", "token"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "eigen_rpc_request_duration_seconds", "Duration of calls", ["method"], registry=self.registry
        )
        self.requests = Counter("eigen_rpc_request_total", "Calls", ["method", "outcome"], registry=self.registry)
        self.alerts = Counter("mach_alerts", "Alerts by what became of them", ["outcome"], registry=self.registry)
        self.undelivered = Gauge("mach_outbox_undelivered", "Alerts the aggregator lacks", registry=self.registry)
        self.unconfirmed = Gauge(
            "mach_outbox_unconfirmed", "Alerts the own verifier has not found", registry=self.registry
        )
        self.verdict_source_up = Gauge(
            "mach_verdict_source_up", "1 while the own verifier can be asked", registry=self.registry
        )
        self.trusts_alerts = Gauge(
            "mach_trusts_alerts", "1 if alerts are signed without an own verdict", registry=self.registry
        )

    def request(self, method: str, succeeded: bool, seconds: float) -> None:
        """Counts and times a call."""
        self.requests.labels(method, "ok" if succeeded else "error").inc()
        self.request_seconds.labels(method).observe(seconds)

"""What the verifier counts, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class VerifierMetrics:
    """One verifier's metrics, in a registry of its own so that two may live in one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._blocks = Counter("mach_verifier_blocks", "Blocks by verdict", ["verdict"], registry=registry)
        self._stages = Histogram(
            "mach_verifier_stage_seconds",
            "Seconds a block by stage: fetch, decode, witness, senders, execute, state_root, commitments",
            ["stage"],
            registry=registry,
            buckets=SECONDS,
        )
        self.verdict_seconds = Histogram(
            "mach_verifier_verdict_seconds",
            "From the moment a block was first announced to its verdict",
            registry=registry,
            buckets=SECONDS,
        )
        self.gas_used = Counter("mach_verifier_gas_used", "Gas of all verified blocks", registry=registry)
        self.tip = Gauge("mach_verifier_tip", "Number of the block that verification has reached", registry=registry)
        self._heads = Gauge("mach_verifier_endpoint_head", "Head of an endpoint", ["endpoint"], registry=registry)
        self._failures = Counter(
            "mach_verifier_endpoint_failures", "Calls that failed, by endpoint", ["endpoint"], registry=registry
        )
        self._labelled = Gauge(
            "mach_verifier_labelled_head", "Number of the safe and the finalized head", ["label"], registry=registry
        )
        self.lag_blocks = Gauge(
            "mach_verifier_lag_blocks", "Announced blocks that have no verdict yet", registry=registry
        )
        self.lag_seconds = Gauge(
            "mach_verifier_lag_seconds", "How long the oldest of them has been waiting", registry=registry
        )
        self.lag_alarm = Gauge("mach_verifier_lag_alarm", "1 while the bound on lag is exceeded", registry=registry)
        self.equivocations = Counter(
            "mach_verifier_equivocations", "Heights at which two endpoints served different blocks", registry=registry
        )
        self._replaced = Counter(
            "mach_verifier_replaced_blocks",
            "Verified blocks that were replaced, by the head at which that was seen",
            ["label"],
            registry=registry,
        )
        self._witnesses = Counter(
            "mach_verifier_witnesses", "Witnesses by source and result", ["source", "result"], registry=registry
        )
        self._outputs = Gauge(
            "mach_verifier_output_proposals",
            "Output roots that are proposed on L1, by what was found about them",
            ["state"],
            registry=registry,
        )
        for verdict in ("VALID", "INVALID", "INCONCLUSIVE"):
            self._blocks.labels(verdict)

    def block(self, verdict: str, gas_used: int) -> None:
        """A block has its verdict."""
        self._blocks.labels(verdict).inc()
        self.gas_used.inc(gas_used)

    def stages(self, seconds: Mapping[str, float]) -> None:
        """Where the time of one block went."""
        for stage, spent in seconds.items():
            self._stages.labels(stage).observe(spent)

    def endpoint_head(self, endpoint: str, number: int) -> None:
        self._heads.labels(endpoint).set(number)

    def endpoint_failed(self, endpoint: str) -> None:
        self._failures.labels(endpoint).inc()

    def labelled_head(self, label: str, number: int) -> None:
        self._labelled.labels(label).set(number)

    def output_proposals(self, counts: Mapping[str, int]) -> None:
        """How many proposals stand in each state: `open`, `agrees`, `mismatch`, `unknown`, `withdrawn`."""
        for state in ("open", "agrees", "mismatch", "unknown", "withdrawn"):
            self._outputs.labels(state).set(counts.get(state, 0))

    def replaced(self, label: str, blocks: int) -> None:
        self._replaced.labels(label).inc(blocks)

    def witness(self, source: str, result: str) -> None:
        """What became of one source's witness: `complete`, `incomplete` or `unavailable`."""
        self._witnesses.labels(source, result).inc()

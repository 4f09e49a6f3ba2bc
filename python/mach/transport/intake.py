"""The aggregator's intake: three transports, the task table and the batch check, on threads of their own (Rust).

The owner teaches it heads and operator sets, takes batches out with `next_batch`, stores each in one transaction, and
answers with `commit` or `fail`. Every method may be called from any thread; none but `next_batch`, `start` and `stop`
takes longer than a millisecond, except `add_operator_set` (0.1 ms a member).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mach import _core
from mach._core import IntakeRefusedError, ServerStartError, UnknownOperatorSetError, UnknownReferenceBlockError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = [
    "AnnouncedTask",
    "BadSignature",
    "ConnectionCounts",
    "HistogramCounts",
    "Intake",
    "IntakeBatch",
    "IntakePorts",
    "IntakeRefusedError",
    "IntakeSettings",
    "IntakeStats",
    "ProposedTask",
    "RequestCounts",
    "ServerStartError",
    "StoredTask",
    "UnknownOperatorSetError",
    "UnknownReferenceBlockError",
]

TaskState = Literal["open", "quorum", "submitted", "confirmed", "failed", "expired"]


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """What the intake enforces. `servers` are the transports' settings by name, see docs/configuration.md; those not
    given have defaults. Addresses are 20 bytes, one byte a quorum in `quorum_numbers` and their thresholds in percent.
    """

    quorum_numbers: bytes
    quorum_threshold_percentages: bytes
    rollup_chain_id: int
    layer1_chain_id: int
    operator_state_retriever: bytes
    registry_coordinator: bytes
    servers: Mapping[str, Any]
    max_open_tasks: int = 10_000
    max_unsigned_per_peer: int = 1_000
    cool_down_s: float = 30.0
    queue_bound: int = 20_000
    shared: bool = False
    verifier_threads: int | None = None
    linger_s: float = 0.002


@dataclass(frozen=True, slots=True)
class IntakePorts:
    """The ports that are listened on; None for a transport that is not served."""

    jsonrpc: int | None
    grpc: int | None
    net_rpc: int | None


@dataclass(frozen=True, slots=True)
class ProposedTask:
    """A task to be stored or announced. `created_at` is in Unix seconds."""

    alert_hash: bytes
    task_index: int
    reference_block: int
    set_id: int
    created_at: float


@dataclass(frozen=True, slots=True)
class AnnouncedTask:
    """The task that an alert has among all replicas."""

    task_index: int
    alert_hash: bytes
    reference_block: int


@dataclass(frozen=True, slots=True)
class BadSignature:
    """A signature that did not hold, and from which address it came."""

    operator_id: bytes
    task_index: int
    alert_hash: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class IntakeBatch:
    """Checked signatures as columns: `operator_ids` n·32 bytes, `signatures` n·64, and the tasks they make durable.

    A signature counts for its reference block only: if the stored task has another by now, it is left out.
    `alert_hashes` are those of all tasks signed here, by index.
    `quorum_reached` are tasks whose thresholds are met by what is durable and this batch; `announcements` are proposals
    for alerts nobody has signed, where replicas share a database.
    """

    id: int
    tasks: Sequence[ProposedTask]
    task_indices: Sequence[int]
    reference_blocks: Sequence[int]
    operator_ids: bytes
    signatures: bytes
    alert_hashes: Mapping[int, bytes]
    quorum_reached: Sequence[int]
    announcements: Sequence[ProposedTask]
    bad_signatures: Sequence[BadSignature]
    needs_indices: bool


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task as the database has it. `operator_ids` are its signers', n·32 bytes; `tx_hash` only when confirmed."""

    task_index: int
    alert_hash: bytes
    reference_block: int
    state: TaskState
    created_at: float
    tx_hash: bytes | None
    operator_ids: bytes


@dataclass(frozen=True, slots=True)
class HistogramCounts:
    """Counts of values up to each bound and above the last, not cumulated, and the sum of all values."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """The calls of one method over one transport: counts by outcome, and how long they took."""

    transport: str
    method: str
    outcomes: Mapping[str, int]
    seconds: HistogramCounts


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """The connections of one transport."""

    transport: str
    open: int
    accepted: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class IntakeStats:
    """What happened since the start, and how full everything is. `signatures` counts by outcome."""

    gauges: Mapping[str, int]
    evictions: int
    rebuilt: int
    signatures: Mapping[str, int]
    signatures_by_operator: Mapping[bytes, Mapping[str, int]]
    verify_seconds: HistogramCounts
    group_sizes: HistogramCounts
    batch_sizes: HistogramCounts
    requests: Sequence[RequestCounts]
    connections: Sequence[ConnectionCounts]
    refused: Mapping[str, int]


class Intake:
    """One intake; serves nothing before `start`.

    Raises `IntakeRefusedError` for settings that contradict themselves, `ServerStartError` for those of the transports.
    """

    def __init__(self, settings: IntakeSettings) -> None:
        self._native = _core.Intake(
            quorum_numbers=list(settings.quorum_numbers),
            quorum_threshold_percentages=list(settings.quorum_threshold_percentages),
            rollup_chain_id=settings.rollup_chain_id,
            layer1_chain_id=settings.layer1_chain_id,
            operator_state_retriever=settings.operator_state_retriever,
            registry_coordinator=settings.registry_coordinator,
            max_open_tasks=settings.max_open_tasks,
            max_unsigned_per_peer=settings.max_unsigned_per_peer,
            cool_down_s=settings.cool_down_s,
            queue_bound=settings.queue_bound,
            shared=settings.shared,
            verifier_threads=settings.verifier_threads,
            linger_s=settings.linger_s,
            servers=json.dumps(dict(settings.servers)),
        )

    def start(self) -> IntakePorts:
        """Serves and checks. Raises `ServerStartError` that names the address, the file or the setting."""
        return IntakePorts(*self._native.start())

    def stop(self) -> None:
        """Answers everyone who waits and ends all threads; blocks for a few seconds at most."""
        self._native.stop()

    def add_operator_set(
        self,
        set_id: int,
        operator_ids: bytes,
        public_keys_g2: bytes,
        stakes: Sequence[Sequence[int]],
        total_stakes: Sequence[int],
    ) -> None:
        """Teaches the members of the quorums: n ids (n·32 bytes), n keys (n·128 bytes), for each quorum n stakes in wei
        and their total. Raises `IntakeRefusedError`."""
        self._native.add_operator_set(set_id, operator_ids, public_keys_g2, stakes, total_stakes)

    def set_head(self, reference_block: int, set_id: int) -> None:
        """New tasks get this block and its set from now on. Raises `UnknownOperatorSetError`."""
        self._native.set_head(reference_block, set_id)

    def add_reference_block(self, reference_block: int, set_id: int) -> None:
        """Tells which set a block has, without making it the head. Raises `UnknownOperatorSetError`."""
        self._native.add_reference_block(reference_block, set_id)

    def reserve(self, first: int, count: int, high_water: int) -> None:
        """Gives task indices; all below `high_water` were given to somebody. Raises `IntakeRefusedError`."""
        self._native.reserve(first, count, high_water)

    def restore(self, tasks: Collection[StoredTask]) -> list[int]:
        """Takes stored tasks in; what is stored wins over what is in memory. Returns those that are open although their
        thresholds are met. Raises `UnknownReferenceBlockError`, before anything is changed."""
        return self._native.restore(
            [
                (
                    task.task_index,
                    task.alert_hash,
                    task.reference_block,
                    task.state,
                    task.created_at,
                    task.tx_hash,
                    task.operator_ids,
                )
                for task in tasks
            ]
        )

    def next_batch(self, timeout_ms: int) -> IntakeBatch | None:
        """The next batch to store, once there is one; None when there was none in time. At most two may be unanswered.

        Blocks without the GIL: call it on a thread of its own.
        """
        batch = self._native.next_batch(timeout_ms)
        if batch is None:
            return None
        return IntakeBatch(
            id=batch.id,
            tasks=[ProposedTask(*task) for task in batch.tasks],
            task_indices=batch.task_indices,
            reference_blocks=batch.reference_blocks,
            operator_ids=batch.operator_ids,
            signatures=batch.signatures,
            alert_hashes=batch.alert_hashes,
            quorum_reached=batch.quorum_reached,
            announcements=[ProposedTask(*task) for task in batch.announcements],
            bad_signatures=[BadSignature(*bad) for bad in batch.bad_signatures],
            needs_indices=batch.needs_indices,
        )

    def commit(self, batch: int, refused: Sequence[int], announced: Sequence[AnnouncedTask]) -> list[int]:
        """A batch is durable but for tasks in `refused`: lets its answers go. Returns tasks whose thresholds are met
        now, and of which the batch did not say so. Raises `IntakeRefusedError` or `UnknownReferenceBlockError`."""
        told = [(task.task_index, task.alert_hash, task.reference_block) for task in announced]
        return self._native.commit(batch, refused, told)

    def fail(self, batch: int, reason: str) -> None:
        """A batch could not be stored: nothing of it counts. Raises `IntakeRefusedError`."""
        self._native.fail(batch, reason)

    def finish(
        self, task_index: int, state: Literal["confirmed", "failed", "expired"], tx_hash: bytes | None = None
    ) -> bool:
        """A task ended; answers everyone who waits for it. `tx_hash` is needed when confirmed. Returns whether the task
        is known."""
        return self._native.finish(task_index, state, tx_hash)

    def new_round(self, task_index: int, reference_block: int) -> None:
        """A stored task starts anew at another block: same index, no signatures. Raises `IntakeRefusedError` for an
        unknown task, `UnknownReferenceBlockError`."""
        self._native.new_round(task_index, reference_block)

    def alert_confirmed(self, alert_hash: bytes, tx_hash: bytes) -> int | None:
        """An alert stands on L1; returns the live task that ended by it."""
        return self._native.alert_confirmed(alert_hash, tx_hash)

    def alert_unconfirmed(self, alert_hash: bytes) -> None:
        """An alert stands on L1 no more."""
        self._native.alert_unconfirmed(alert_hash)

    def note_signatures(self, task_index: int, operator_ids: bytes) -> bool:
        """Counts signatures that another replica stored (n·32 bytes of operator ids); returns whether thresholds are
        met. A task that ended meanwhile has none."""
        return self._native.note_signatures(task_index, operator_ids)

    def stats(self) -> IntakeStats:
        """A snapshot; cheap."""
        told = self._native.stats()
        requests = told.pop("requests")
        bounds = requests.get("bounds", [])
        counts = ("evictions", "rebuilt")
        return IntakeStats(
            gauges={name: value for name, value in told.items() if isinstance(value, int) and name not in counts},
            evictions=told["evictions"],
            rebuilt=told["rebuilt"],
            signatures=told["signatures"],
            signatures_by_operator=told["signatures_by_operator"],
            verify_seconds=HistogramCounts(*told["verify_seconds"]),
            group_sizes=HistogramCounts(*told["group_sizes"]),
            batch_sizes=HistogramCounts(*told["batch_sizes"]),
            requests=[
                RequestCounts(transport, method, dict(outcomes), HistogramCounts(bounds, buckets, seconds))
                for transport, method, outcomes, buckets, seconds in requests.get("calls", [])
            ],
            connections=[ConnectionCounts(*kind) for kind in requests.get("connections", [])],
            refused=dict(requests.get("refused", [])),
        )

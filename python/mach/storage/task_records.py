"""The aggregator's tasks as values. Hashes are 32 bytes, times are Unix seconds.

States and who moves them; every arrow is one database transaction that is durable before anyone hears of it:

    open ──threshold──▶ quorum ──transaction signed──▶ submitted ──mined, N confirmations──▶ confirmed
      │ ▲                 │  ▲────────reverted, retried───┘ │ ▲──────────reorganised away─────────┘
      │ └────new round────┴──────────new round──────────────┤
      └──time──▶ expired                                    └──refused for good──▶ failed

A task that failed or expired goes back to `quorum` or `open` when whoever runs the service asks for it. An alert that
is found on L1 confirms its task from any state but `failed` and `expired`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from mach.storage.aggregator_schema import submissions, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TaskState = Literal["open", "quorum", "submitted", "confirmed", "failed", "expired"]
TASK_STATES: Final[tuple[TaskState, ...]] = get_args(TaskState)
COLLECTING: Final[tuple[TaskState, ...]] = ("open", "quorum", "submitted")
"""States in which signatures and transactions are still of use."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One alert on its way to L1.

    `round` grows when signatures are collected anew over a fresh reference block. `tx_hash` is the newest transaction,
    and from `mined_at` on the one that carried the alert, in the block `mined_block` with the hash `mined_hash`.
    `moved_at` and `moved_by` say when and by which process the state was last changed.
    """

    task_index: int
    message_hash: bytes
    round: int
    reference_block_number: int
    quorum_numbers: bytes
    quorum_threshold_percentages: bytes
    state: TaskState
    created_at: float
    quorum_at: float | None
    submitted_at: float | None
    mined_at: float | None
    finished_at: float | None
    moved_at: float
    moved_by: int
    tx_hash: bytes | None
    mined_block: int | None
    mined_hash: bytes | None
    gas_used: int | None
    attempts: int
    reason: str | None


TASK_COLUMNS: Final = tuple(tasks.c[name] for name in TaskRecord.__slots__)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that got its first valid signature."""

    task_index: int
    message_hash: bytes
    reference_block_number: int
    quorum_numbers: bytes
    quorum_threshold_percentages: bytes
    created_at: float


@dataclass(frozen=True, slots=True)
class SignatureBatch:
    """Verified signatures as columns of n entries, and the tasks that they make durable.

    `task_indices[i]` and `reference_blocks[i]` say what signature i is over, `operator_ids` has n·32 bytes,
    `signatures` n·64. The reference block tells a signature of an earlier round from one of the present. A task in
    `quorum_reached` has a signature in the batch.
    """

    tasks: Sequence[NewTask]
    task_indices: Sequence[int]
    reference_blocks: Sequence[int]
    operator_ids: bytes
    signatures: bytes
    quorum_reached: Sequence[int] = ()

    def __post_init__(self) -> None:
        n = len(self.task_indices)
        lengths = (len(self.reference_blocks), len(self.operator_ids), len(self.signatures))
        if lengths != (n, 32 * n, 64 * n):
            raise ValueError(f"a batch of {n} signatures needs columns of {(n, 32 * n, 64 * n)}, got {lengths}")


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch; all of it is durable. Positions count the batch's signatures from 0."""

    stored: int
    """Signatures that are new."""
    repeated: tuple[int, ...]
    """Positions of signatures whose operator was counted before."""
    not_stored: tuple[int, ...]
    """Positions of signatures of refused tasks and of earlier rounds."""
    refused: Mapping[int, TaskRecord | None]
    """By task index of the batch: why signatures were not stored. A record with another index is the task that owns the
    alert; one with the same index shows the round or the end that the sender did not know of; None: there is none."""
    quorum: tuple[int, ...]
    """Tasks that this batch moved from open to quorum."""
    elsewhere: Mapping[int, bytes]
    """In shared mode: operator ids (n·32 bytes) whose signatures on the batch's tasks other replicas stored."""


@dataclass(frozen=True, slots=True)
class LiveTask:
    """A task with the ids (n·32 bytes) of the operators that signed its present round."""

    record: TaskRecord
    operator_ids: bytes


@dataclass(frozen=True, slots=True)
class IndexRange:
    """`count` task indices from `first` on, given to nobody else, ever; all indices below `high_water` are given."""

    first: int
    count: int
    high_water: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A task for an alert nobody has signed yet, as this replica would announce it."""

    message_hash: bytes
    task_index: int
    reference_block_number: int


@dataclass(frozen=True, slots=True)
class Announced:
    """The task that an alert has among all replicas. `record` is there when it is durable already; else index and
    reference block are an announcement's."""

    message_hash: bytes
    task_index: int
    reference_block_number: int
    record: TaskRecord | None


@dataclass(frozen=True, slots=True)
class MinedIn:
    """The transaction that carried an alert, and the block that it is in. `gas_used` is None if it is not ours."""

    tx_hash: bytes
    block_number: int
    block_hash: bytes
    gas_used: int | None


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """One signed transaction, exactly as it was (or is about to be) sent. `epoch` is the lease it was signed under."""

    tx_hash: bytes
    task_index: int
    round: int
    nonce: int
    transaction: bytes
    sent_at: float
    epoch: int


SUBMISSION_COLUMNS: Final = tuple(submissions.c[name] for name in SubmissionRecord.__slots__)


@dataclass(frozen=True, slots=True)
class PastRound:
    """A round that ended without the alert on L1, kept with its signatures (64 bytes, by operator id) as evidence."""

    round: int
    reference_block_number: int
    ended_at: float
    reason: str
    signatures: Mapping[bytes, bytes]


def task_of(row: Any) -> TaskRecord:
    """A row of `TASK_COLUMNS` as a record."""
    return TaskRecord(*row)

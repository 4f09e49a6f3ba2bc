"""Tasks as people and programs outside read them: the models of the read API and of `mach tasks --json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from mach.storage.task_records import TaskState

if TYPE_CHECKING:
    from mach.storage.task_queries import TaskDetail, TaskSummary
    from mach.storage.task_records import TaskRecord


class TaskView(BaseModel):
    """One alert on its way to L1. Times are Unix seconds, bytes are 0x-hex."""

    model_config = ConfigDict(frozen=True)

    task_index: int
    alert_hash: str = Field(pattern="^0x[0-9a-f]{64}$")
    state: TaskState
    round: int = Field(description="grows when signatures are collected anew over a fresh reference block")
    reference_block_number: int
    quorum_numbers: list[int]
    quorum_threshold_percentages: list[int]
    signatures: int = Field(description="operators that signed the present round")
    created_at: float
    quorum_at: float | None
    submitted_at: float | None
    mined_at: float | None
    finished_at: float | None
    tx_hash: str | None
    mined_block: int | None
    gas_used: int | None
    attempts: int
    reason: str | None = Field(description="why it was tried again, failed or expired")

    @classmethod
    def of(cls, summary: TaskSummary) -> Self:
        """The view of a stored task."""
        return cls(**_shared(summary.record, summary.signatures))


class SignatureView(BaseModel):
    """One operator's signature."""

    model_config = ConfigDict(frozen=True)

    operator_id: str
    signature: str
    received_at: float


class SubmissionView(BaseModel):
    """One signed transaction of a task."""

    model_config = ConfigDict(frozen=True)

    tx_hash: str
    round: int
    nonce: int
    sent_at: float


class RoundView(BaseModel):
    """A round that ended without the alert on L1, kept as evidence."""

    model_config = ConfigDict(frozen=True)

    round: int
    reference_block_number: int
    ended_at: float
    reason: str
    signatures: dict[str, str] = Field(description="by operator id")


class TaskDetailView(TaskView):
    """A task with everything that is kept about it."""

    signed_by: list[SignatureView]
    submissions: list[SubmissionView]
    past_rounds: list[RoundView]

    @classmethod
    def of_detail(cls, detail: TaskDetail) -> Self:
        """The view of a stored task."""
        return cls(
            **_shared(detail.record, len(detail.signatures)),
            signed_by=[
                SignatureView(
                    operator_id=_hex(entry.operator_id), signature=_hex(entry.signature), received_at=entry.received_at
                )
                for entry in detail.signatures
            ],
            submissions=[
                SubmissionView(tx_hash=_hex(entry.tx_hash), round=entry.round, nonce=entry.nonce, sent_at=entry.sent_at)
                for entry in detail.submissions
            ],
            past_rounds=[
                RoundView(
                    round=entry.round,
                    reference_block_number=entry.reference_block_number,
                    ended_at=entry.ended_at,
                    reason=entry.reason,
                    signatures={_hex(key): _hex(value) for key, value in entry.signatures.items()},
                )
                for entry in detail.past_rounds
            ],
        )


class TaskPageView(BaseModel):
    """Tasks, newest first. `next` is the `before` of the page that follows; null on the last one."""

    model_config = ConfigDict(frozen=True)

    tasks: list[TaskView]
    next: str | None


class ProblemView(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(frozen=True)

    error: str


def _shared(record: TaskRecord, signatures: int) -> dict[str, Any]:
    return {
        "task_index": record.task_index,
        "alert_hash": _hex(record.message_hash),
        "state": record.state,
        "round": record.round,
        "reference_block_number": record.reference_block_number,
        "quorum_numbers": list(record.quorum_numbers),
        "quorum_threshold_percentages": list(record.quorum_threshold_percentages),
        "signatures": signatures,
        "created_at": record.created_at,
        "quorum_at": record.quorum_at,
        "submitted_at": record.submitted_at,
        "mined_at": record.mined_at,
        "finished_at": record.finished_at,
        "tx_hash": None if record.tx_hash is None else _hex(record.tx_hash),
        "mined_block": record.mined_block,
        "gas_used": record.gas_used,
        "attempts": record.attempts,
        "reason": record.reason,
    }


def _hex(value: bytes) -> str:
    return "0x" + value.hex()

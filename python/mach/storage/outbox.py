"""The operator's durable outbox: every alert it took on, until the aggregator has finished it.

accepted ──signed over a task──▶ signed ──aggregator took it──▶ submitted ──alert on L1──▶ finished
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert

from mach.storage.schema import alerts

if TYPE_CHECKING:
    from mach.storage.database import Database

AlertState = Literal["accepted", "signed", "submitted", "finished"]
UNDELIVERED: Final = ("accepted", "signed")


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """One alert. `statement` is its JSON as received; signature 64 bytes, hashes 32 bytes."""

    message_hash: bytes
    statement: str
    state: AlertState
    received_at: float
    task_index: int | None
    reference_block_number: int | None
    signature: bytes | None
    tx_hash: bytes | None
    reason: str | None
    updated_at: float


class Outbox:
    """Alerts of one operator."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, message_hash: bytes, statement: str) -> bool:
        """Takes an alert on; False when it was taken on before (the same alert twice is one submission)."""
        now = time.time()
        values = {"message_hash": message_hash, "statement": statement, "state": "accepted"}
        statement_ = insert(alerts).values(**values, received_at=now, updated_at=now).on_conflict_do_nothing()
        async with self._database.write() as connection:
            return (await connection.execute(statement_)).rowcount == 1

    async def get(self, message_hash: bytes) -> OutboxRecord | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(alerts).where(alerts.c.message_hash == message_hash))).mappings()
            first = row.first()
        return None if first is None else OutboxRecord(**first)

    async def undelivered(self) -> list[OutboxRecord]:
        """Alerts that the aggregator does not have yet, oldest first."""
        query = select(alerts).where(alerts.c.state.in_(UNDELIVERED)).order_by(alerts.c.received_at)
        async with self._database.read() as connection:
            return [OutboxRecord(**row) for row in (await connection.execute(query)).mappings()]

    async def unfinished(self) -> list[OutboxRecord]:
        """Alerts that are not known to stand on L1, oldest first."""
        query = select(alerts).where(alerts.c.state != "finished").order_by(alerts.c.received_at)
        async with self._database.read() as connection:
            return [OutboxRecord(**row) for row in (await connection.execute(query)).mappings()]

    async def count_undelivered(self) -> int:
        query = select(func.count()).where(alerts.c.state.in_(UNDELIVERED))
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def record_signature(
        self, message_hash: bytes, task_index: int, reference_block_number: int, signature: bytes
    ) -> None:
        """Keeps what was signed before it leaves the process."""
        await self._set(
            message_hash,
            state="signed",
            task_index=task_index,
            reference_block_number=reference_block_number,
            signature=signature,
        )

    async def record_submitted(self, message_hash: bytes) -> None:
        await self._set(message_hash, state="submitted", reason=None)

    async def record_finished(self, message_hash: bytes, tx_hash: bytes | None) -> None:
        await self._set(message_hash, state="finished", tx_hash=tx_hash, reason=None)

    async def record_reason(self, message_hash: bytes, reason: str) -> None:
        """Why the last attempt did not go through, for people."""
        await self._set(message_hash, reason=reason)

    async def _set(self, message_hash: bytes, **values: Any) -> None:
        statement = update(alerts).where(alerts.c.message_hash == message_hash)
        async with self._database.write() as connection:
            await connection.execute(statement.values(updated_at=time.time(), **values))

"""Batches as an intake makes them, over made-up signatures: a database does not look inside."""

from __future__ import annotations

import hashlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mach.storage.alert_tasks import AlertTaskStore
from mach.storage.database import Database, open_database
from mach.storage.task_records import NewTask, SignatureBatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

BLOCK = 57
QUORUMS, THRESHOLDS = b"\0", b"\x42"


def hash_of(*parts: object) -> bytes:
    """32 bytes that differ for each set of parts."""
    return hashlib.sha256(repr(parts).encode()).digest()


def operator(number: int) -> bytes:
    """An operator's id."""
    return hash_of("operator", number)


def signature(index: int, block: int, signer: int) -> bytes:
    """64 bytes in place of an operator's signature over a task."""
    return hash_of("x", index, block, signer) + hash_of("y", index, block, signer)


def new_task(index: int, alert: int | None = None, block: int = BLOCK) -> NewTask:
    """A task for alert number `alert`, by default its own."""
    message_hash = hash_of("alert", index if alert is None else alert)
    return NewTask(index, message_hash, block, QUORUMS, THRESHOLDS, time.time())


def batch(
    signed: Sequence[tuple[int, int]] = (),
    *,
    tasks: Sequence[NewTask] = (),
    quorum: Sequence[int] = (),
    block: int = BLOCK,
) -> SignatureBatch:
    """Signatures as (task index, operator number), all over the same reference block."""
    return SignatureBatch(
        tasks=tasks,
        task_indices=[index for index, _ in signed],
        reference_blocks=[block] * len(signed),
        operator_ids=b"".join(operator(signer) for _, signer in signed),
        signatures=b"".join(signature(index, block, signer) for index, signer in signed),
        quorum_reached=quorum,
    )


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[tuple[Database, AlertTaskStore]]:
    """One aggregator's database and store, shared with others."""
    database = await open_database(url, "aggregator")
    try:
        yield database, AlertTaskStore(database, shared=True)
    finally:
        await database.close()

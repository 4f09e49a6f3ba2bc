"""The operator's durable outbox: every alert it took on, until the aggregator has finished it.

unconfirmed ──own verdict──▶ accepted ──signed over a task──▶ signed ──aggregator took it──▶ submitted ──▶ finished

An unconfirmed alert is one that somebody told of and the operator's own verifier has not found. It is never signed, the
unconfirmed are bounded by themselves, and the oldest go first: strangers can push out each other's only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from mach.storage import signing_journal
from mach.storage.schema import alerts

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from mach.storage.database import Database
    from mach.storage.signing_journal import Claim

AlertState = Literal["unconfirmed", "accepted", "signed", "submitted", "finished"]
UNCONFIRMED: Final[tuple[AlertState, ...]] = ("unconfirmed",)
UNDELIVERED: Final[tuple[AlertState, ...]] = ("accepted", "signed")
UNFINISHED: Final[tuple[AlertState, ...]] = (*UNDELIVERED, "submitted")


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """One alert. `statement` is its JSON as received; signature 64 bytes, hashes 32 bytes.

    `basis` is what its signature rests on: the own verifier's `re-execution` or `agreement`, or `trusted`; None is what
    an earlier version of Mach took on. `block_number` is that of the L2 block which the own verdict is about.
    """

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
    basis: str | None
    block_number: int | None


class Outbox:
    """Alerts of one operator."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, message_hash: bytes, statement: str, basis: str, block_number: int | None = None) -> bool:
        """Takes an alert on; False when it was taken on before (the same alert twice is one submission)."""
        now = time.time()
        values = {"state": "accepted", "basis": basis, "block_number": block_number, "updated_at": now}
        taken = insert(alerts).values(message_hash=message_hash, statement=statement, received_at=now, **values)
        taken = taken.on_conflict_do_update(
            index_elements=[alerts.c.message_hash],
            set_=values | {"reason": None},
            where=alerts.c.state == "unconfirmed",
        )
        return await self._database.transaction(lambda connection: connection.execute(taken).rowcount == 1)

    async def keep_unconfirmed(self, message_hash: bytes, statement: str, reason: str, most: int) -> int:
        """Keeps an alert that must not be signed yet; beyond `most` the oldest such go. How many went."""
        now = time.time()
        values = {"message_hash": message_hash, "statement": statement, "state": "unconfirmed", "reason": reason}
        kept = insert(alerts).values(**values, received_at=now, updated_at=now)
        kept = kept.on_conflict_do_update(
            index_elements=[alerts.c.message_hash],
            set_={"reason": reason, "updated_at": now},
            where=alerts.c.state == "unconfirmed",
        )
        surplus = select(alerts.c.message_hash).where(alerts.c.state == "unconfirmed")
        # the one just kept may be of the same moment as others: it stays
        surplus = surplus.order_by(alerts.c.message_hash != message_hash, alerts.c.received_at.desc())
        evicted = delete(alerts).where(alerts.c.message_hash.in_(surplus.offset(most).limit(-1)))

        def keep(connection: Connection) -> int:
            connection.execute(kept)
            return connection.execute(evicted).rowcount

        return await self._database.transaction(keep)

    async def expire_unconfirmed(self, before: float) -> list[bytes]:
        """Drops what has waited for a verdict since before then (Unix seconds); their message hashes."""
        old = delete(alerts).where(alerts.c.state == "unconfirmed", alerts.c.received_at < before)
        dropped = old.returning(alerts.c.message_hash)
        return await self._database.transaction(lambda connection: list(connection.execute(dropped).scalars()))

    async def withhold(self, message_hash: bytes, reason: str) -> bool:
        """accepted → unconfirmed. What was signed once stays where it is: False."""
        back = update(alerts).where(alerts.c.message_hash == message_hash, alerts.c.state == "accepted")
        back = back.values(state="unconfirmed", basis=None, reason=reason, updated_at=time.time())
        return await self._database.transaction(lambda connection: connection.execute(back).rowcount == 1)

    async def get(self, message_hash: bytes) -> OutboxRecord | None:
        query = select(alerts).where(alerts.c.message_hash == message_hash)
        row = await self._database.snapshot(lambda connection: connection.execute(query).mappings().first())
        return None if row is None else OutboxRecord(**row)

    async def unconfirmed(self) -> list[OutboxRecord]:
        """Alerts that wait for the own verifier's verdict, oldest first."""
        return await self._in_states(UNCONFIRMED)

    async def undelivered(self) -> list[OutboxRecord]:
        """Alerts that are to be signed and that the aggregator does not have yet, oldest first."""
        return await self._in_states(UNDELIVERED)

    async def unfinished(self) -> list[OutboxRecord]:
        """Alerts that were taken on and are not known to stand on L1, oldest first."""
        return await self._in_states(UNFINISHED)

    async def _in_states(self, states: Collection[AlertState]) -> list[OutboxRecord]:
        query = select(alerts).where(alerts.c.state.in_(states)).order_by(alerts.c.received_at)
        rows = await self._database.snapshot(lambda connection: list(connection.execute(query).mappings()))
        return [OutboxRecord(**row) for row in rows]

    async def count_undelivered(self) -> int:
        query = select(func.count()).where(alerts.c.state.in_(UNDELIVERED))
        return await self._database.snapshot(lambda connection: int(connection.execute(query).scalar_one()))

    async def contradicting(self, message_hash: bytes, claim: Claim) -> list[bytes]:
        """Message hashes of what was signed and contradicts this statement."""
        return await self._database.snapshot(
            lambda connection: signing_journal.contradicting(connection, message_hash, claim)
        )

    async def record_signature(
        self,
        message_hash: bytes,
        task_index: int,
        reference_block_number: int,
        signature: bytes,
        *,
        claim: Claim,
        permitted: Collection[bytes] | None = (),
    ) -> None:
        """Keeps what was signed before it leaves the process, in the outbox and in the signing journal.

        Raises `ContradictionError`, and keeps nothing, when the journal holds another claim about the same subject that
        is not among the `permitted` ones (None permits all): the signature must not leave then.
        """
        signed = update(alerts).where(alerts.c.message_hash == message_hash)
        signed = signed.values(
            updated_at=time.time(),
            state="signed",
            task_index=task_index,
            reference_block_number=reference_block_number,
            signature=signature,
        )

        def record(connection: Connection) -> None:
            signing_journal.enter(connection, message_hash, claim, permitted)
            connection.execute(signed)

        await self._database.transaction(record)

    async def record_basis(self, message_hash: bytes, basis: str, block_number: int | None) -> None:
        """What the alert's signature rests on, found after it was taken on."""
        await self._set(message_hash, basis=basis, block_number=block_number)

    async def record_submitted(self, message_hash: bytes) -> None:
        await self._set(message_hash, state="submitted", reason=None)

    async def record_finished(self, message_hash: bytes, tx_hash: bytes | None) -> None:
        await self._set(message_hash, state="finished", tx_hash=tx_hash, reason=None)

    async def record_reason(self, message_hash: bytes, reason: str) -> None:
        """Why the last attempt did not go through, for people."""
        await self._set(message_hash, reason=reason)

    async def _set(self, message_hash: bytes, **values: Any) -> None:
        changed = update(alerts).where(alerts.c.message_hash == message_hash)
        changed = changed.values(updated_at=time.time(), **values)

        def change(connection: Connection) -> None:
            connection.execute(changed)

        await self._database.transaction(change)

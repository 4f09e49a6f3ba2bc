"""The verifier's durable state: a verdict for every block, and alerts on their way to operators."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert

from mach.storage.chain_record import write_head
from mach.storage.raised_alerts import RE_EXECUTION, record_raised
from mach.storage.schema import deliveries, verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from mach.storage.chain_record import LabelledHead
    from mach.storage.database import Database
    from mach.storage.raised_alerts import Basis, RaisedAlert

DeliveryState = Literal["pending", "delivered", "refused"]
FINAL: Final = ("VALID", "INVALID")


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """What was found about one block. Hashes 32 bytes; `fields` is JSON: a list of {field, served, computed}.

    `served_by` names the endpoint; `served_header` (RLP) is kept of a block that is not VALID. `canonical` says that
    the block is on the chain that verification follows; of an INVALID block, that is the block as computed.
    """

    block_number: int
    block_hash: bytes
    verdict: str
    computed_hash: bytes | None
    computed_header: bytes | None
    fields: str
    reason: str | None
    gas_used: int
    transaction_count: int
    verified_at: float
    seconds: float
    served_by: str | None = None
    served_header: bytes | None = None
    computed_output_root: bytes | None = None
    canonical: bool = False
    basis: Basis = RE_EXECUTION


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One alert for one operator: a JSON-RPC method and its params as JSON."""

    operator_url: str
    message_hash: bytes
    block_number: int
    method: str
    params: str
    state: DeliveryState
    answer: str | None
    created_at: float


class VerdictLog:
    """Verdicts and deliveries of one verifier."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self,
        verdict: VerdictRecord,
        alerts: Sequence[DeliveryRecord] = (),
        tip: LabelledHead | None = None,
        raised: RaisedAlert | None = None,
    ) -> bool:
        """A verdict, the alerts it calls for, and with `tip` where verification goes on: all in one transaction.

        An INCONCLUSIVE verdict is overwritten by a later one of the same block; a final verdict stays. With a tip the
        block is canonical from then on, without one it is not (but stays so if it was). False if the block had a final
        verdict already.
        """
        row = {name: getattr(verdict, name) for name in VerdictRecord.__slots__}
        row["canonical"] = tip is not None
        statement = insert(verdicts).values(**row)
        statement = statement.on_conflict_do_update(
            index_elements=[verdicts.c.block_number, verdicts.c.block_hash],
            set_=row,
            where=verdicts.c.verdict.not_in(FINAL),
        )
        this = (verdicts.c.block_number == verdict.block_number, verdicts.c.block_hash == verdict.block_hash)

        def write(connection: Connection) -> bool:
            new = bool(connection.execute(statement).rowcount)
            write_alerts(connection, alerts, raised)
            if tip is not None:
                connection.execute(update(verdicts).where(*this).values(canonical=True))
                write_head(connection, tip)
            return new

        return await self._database.transaction(write)

    async def canonical_at(self, block_number: int) -> VerdictRecord | None:
        """The verdict at a height on the chain that verification follows, once there is one."""
        query = select(verdicts).where(verdicts.c.block_number == block_number, verdicts.c.canonical)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else VerdictRecord(**row)

    async def first_block(self) -> int | None:
        """The lowest height with a final verdict; None on an empty log."""
        query = select(func.min(verdicts.c.block_number)).where(verdicts.c.verdict.in_(FINAL))
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one()
        return None if row[0] is None else int(row[0])

    async def at(self, block_number: int) -> list[VerdictRecord]:
        """All verdicts at a height, oldest first."""
        query = select(verdicts).where(verdicts.c.block_number == block_number).order_by(verdicts.c.verified_at)
        async with self._database.read() as connection:
            return [VerdictRecord(**row) for row in (await connection.execute(query)).mappings()]

    async def verified(self, block_number: int, block_hash: bytes) -> VerdictRecord | None:
        """The verdict whose block, as re-executed, has this hash: what may be built on."""
        matching = [record for record in await self.at(block_number) if record.computed_hash == block_hash]
        return next((record for record in matching if record.verdict in FINAL), None)

    async def hashes_between(self, first: int, last: int) -> dict[int, set[bytes]]:
        """The blocks that have a final verdict, by height, as they were served."""
        query = select(verdicts.c.block_number, verdicts.c.block_hash, verdicts.c.computed_hash)
        query = query.where(verdicts.c.block_number.between(first, last), verdicts.c.verdict.in_(FINAL))

        def read(connection: Connection) -> dict[int, set[bytes]]:
            found: dict[int, set[bytes]] = {}
            for number, served, _computed in connection.execute(query):
                found.setdefault(number, set()).add(served)
            return found

        return await self._database.snapshot(read)

    async def count_by_verdict(self) -> dict[str, int]:
        query = select(verdicts.c.verdict, func.count()).group_by(verdicts.c.verdict)
        async with self._database.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def invalid(self) -> list[VerdictRecord]:
        query = select(verdicts).where(verdicts.c.verdict == "INVALID").order_by(verdicts.c.block_number)
        async with self._database.read() as connection:
            return [VerdictRecord(**row) for row in (await connection.execute(query)).mappings()]

    async def pending(self, operator_url: str) -> list[DeliveryRecord]:
        """Alerts that an operator has not taken yet, oldest first."""
        query = select(deliveries).where(deliveries.c.operator_url == operator_url, deliveries.c.state == "pending")
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(deliveries.c.created_at))).mappings()
            return [DeliveryRecord(**row) for row in rows]

    async def settle(self, delivery: DeliveryRecord, state: DeliveryState, answer: str) -> None:
        """pending → delivered | refused, with what the operator answered."""
        statement = (
            update(deliveries)
            .where(
                deliveries.c.operator_url == delivery.operator_url,
                deliveries.c.message_hash == delivery.message_hash,
            )
            .values(state=state, answer=answer)
        )
        async with self._database.write() as connection:
            await connection.execute(statement)


def delivery(operator_url: str, message_hash: bytes, block_number: int, method: str, params: str) -> DeliveryRecord:
    """A new alert for one operator."""
    return DeliveryRecord(operator_url, message_hash, block_number, method, params, "pending", None, time.time())


def write_alerts(connection: Connection, alerts: Sequence[DeliveryRecord], raised: RaisedAlert | None) -> None:
    """Keeps an alert's deliveries to operators, and the alert that those find when they ask before they sign.

    The alert stands even where no operator is told.
    """
    for alert in alerts:
        values = {name: getattr(alert, name) for name in DeliveryRecord.__slots__}
        connection.execute(insert(deliveries).values(**values).on_conflict_do_nothing())
    if raised is not None:
        record_raised(connection, raised)

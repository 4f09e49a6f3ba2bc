"""A verifier's durable knowledge of the output roots that are proposed on L1, and what it found about each.

open ──the block is verified──▶ agrees | mismatch (with the alert over it)
     ──nothing is known of it──▶ unknown
any  ──gone from L1──▶ withdrawn ──proposed again──▶ open
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert

from mach.storage.schema import oracle_positions, output_proposals
from mach.storage.verdict_log import write_alerts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.sql.elements import ColumnElement

    from mach.storage.database import Database
    from mach.storage.raised_alerts import RaisedAlert
    from mach.storage.verdict_log import DeliveryRecord

ProposalState = Literal["open", "agrees", "mismatch", "unknown", "withdrawn"]
EarlyAlertState = Literal["pending", "confirmed", "refused"]


@dataclass(frozen=True, slots=True)
class ProposalKey:
    """What makes a proposal: the contract (20 bytes), the index in it, the root (32 bytes) and its L2 block."""

    oracle: bytes
    output_index: int
    output_root: bytes
    l2_block_number: int


@dataclass(frozen=True, slots=True)
class ProposalRecord:
    """One proposal as it stands; `early_alert_transaction` is the signed transaction, before and after it is sent."""

    oracle: bytes
    output_index: int
    output_root: bytes
    l2_block_number: int
    kind: str
    l1_block_number: int
    l1_block_hash: bytes
    state: ProposalState = "open"
    expected_root: bytes | None = None
    early_alert: EarlyAlertState | None = None
    early_alert_transaction: bytes | None = None
    early_alert_reason: str | None = None

    @property
    def key(self) -> ProposalKey:
        """What tells it from others."""
        return ProposalKey(self.oracle, self.output_index, self.output_root, self.l2_block_number)


_COLUMNS = [output_proposals.c[name] for name in ProposalRecord.__slots__]


class ProposalLog:
    """The proposals of one verifier's rollup."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_block(self, oracle: bytes) -> int | None:
        """The first L1 block whose events of a contract (20 bytes) were not read yet; None on an empty log."""
        query = select(oracle_positions.c.next_block).where(oracle_positions.c.oracle == oracle)
        return await self._database.snapshot(lambda connection: connection.execute(query).scalar())

    async def take(
        self,
        oracles: Collection[bytes],
        first: int,
        next_block: int,
        proposals: Sequence[ProposalRecord],
        deleted_from: Mapping[bytes, int],
    ) -> list[ProposalRecord]:
        """Takes in what the L1 blocks from `first` up to before `next_block` say, and where reading goes on, at once.

        Proposals of those blocks that are not among `proposals` any more, and older ones at or above an index in
        `deleted_from`, become withdrawn. Returns those of them that an alert was raised over.
        """

        def write(connection: Connection) -> list[ProposalRecord]:
            present = {proposal.key for proposal in proposals}
            gone = [
                record
                for record in _read(
                    connection,
                    output_proposals.c.oracle.in_(oracles),
                    output_proposals.c.state != "withdrawn",
                    output_proposals.c.l1_block_number >= first,
                )
                if record.key not in present
            ]
            for oracle, index in deleted_from.items():
                gone += _read(
                    connection,
                    output_proposals.c.oracle == oracle,
                    output_proposals.c.state != "withdrawn",
                    output_proposals.c.l1_block_number < first,
                    output_proposals.c.output_index >= index,
                )
            for record in gone:
                _set(connection, record.key, state="withdrawn")
            for proposal in proposals:
                _upsert(connection, proposal)
            for oracle in oracles:
                row = {"oracle": oracle, "next_block": next_block}
                statement = insert(oracle_positions).values(**row)
                connection.execute(
                    statement.on_conflict_do_update(index_elements=[oracle_positions.c.oracle], set_=row)
                )
            return [record for record in gone if record.state == "mismatch"]

        return await self._database.transaction(write)

    async def open(self, limit: int) -> list[ProposalRecord]:
        """Up to `limit` proposals that wait for their verdict, those of the lowest L2 blocks first."""
        return await self._select(output_proposals.c.state == "open", limit=limit)

    async def in_state(self, state: ProposalState) -> list[ProposalRecord]:
        """All proposals in a state, those of the lowest L2 blocks first."""
        return await self._select(output_proposals.c.state == state)

    async def count_by_state(self) -> dict[str, int]:
        """How many proposals stand in each state."""
        query = select(output_proposals.c.state, func.count()).group_by(output_proposals.c.state)
        return await self._database.snapshot(lambda connection: {row[0]: row[1] for row in connection.execute(query)})

    async def judge(
        self,
        key: ProposalKey,
        state: ProposalState,
        expected_root: bytes | None = None,
        alerts: Sequence[DeliveryRecord] = (),
        raised: RaisedAlert | None = None,
        *,
        early_alert: bool = False,
    ) -> bool:
        """What was found about a proposal, and the alerts that it calls for, in one transaction.

        False, with nothing written, if the proposal is not open any more.
        """
        values: dict[str, Any] = {"state": state, "expected_root": expected_root}
        if early_alert:
            values |= {"early_alert": "pending", "early_alert_transaction": None, "early_alert_reason": None}

        def write(connection: Connection) -> bool:
            if not _set(connection, key, output_proposals.c.state == "open", **values):
                return False
            write_alerts(connection, alerts, raised)
            return True

        return await self._database.transaction(write)

    async def pending_early_alerts(self) -> list[ProposalRecord]:
        """Proposals whose early alert is not on L1 yet."""
        return await self._select(output_proposals.c.early_alert == "pending", output_proposals.c.state == "mismatch")

    async def store_early_alert(self, key: ProposalKey, transaction: bytes | None) -> None:
        """Keeps the signed transaction before it is sent; None drops one that can never be mined."""
        await self._write(key, early_alert_transaction=transaction)

    async def settle_early_alert(self, key: ProposalKey, state: EarlyAlertState, reason: str | None = None) -> None:
        """pending → confirmed, or refused with the contract's reason."""
        await self._write(key, early_alert=state, early_alert_reason=reason)

    async def _write(self, key: ProposalKey, **values: Any) -> None:
        await self._database.transaction(lambda connection: _set(connection, key, **values))

    async def _select(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[ProposalRecord]:
        return await self._database.snapshot(lambda connection: _read(connection, *conditions, limit=limit))


def _read(connection: Connection, *conditions: ColumnElement[bool], limit: int | None = None) -> list[ProposalRecord]:
    query = select(*_COLUMNS).where(*conditions)
    query = query.order_by(output_proposals.c.l2_block_number, output_proposals.c.output_index).limit(limit)
    return [ProposalRecord(**row) for row in connection.execute(query).mappings()]


def _upsert(connection: Connection, proposal: ProposalRecord) -> None:
    """A new proposal is open; one that is known keeps its verdict, unless it had vanished from L1."""
    place = {"l1_block_number": proposal.l1_block_number, "l1_block_hash": proposal.l1_block_hash}
    row = {name: getattr(proposal, name) for name in ProposalRecord.__slots__}
    statement = insert(output_proposals).values(**row, updated_at=time.time())
    connection.execute(
        statement.on_conflict_do_update(index_elements=list(output_proposals.primary_key.columns), set_=place)
    )
    _set(connection, proposal.key, output_proposals.c.state == "withdrawn", state="open", expected_root=None)


def _set(connection: Connection, key: ProposalKey, *conditions: ColumnElement[bool], **values: Any) -> bool:
    statement = update(output_proposals).where(
        output_proposals.c.oracle == key.oracle,
        output_proposals.c.output_index == key.output_index,
        output_proposals.c.output_root == key.output_root,
        output_proposals.c.l2_block_number == key.l2_block_number,
        *conditions,
    )
    return bool(connection.execute(statement.values(updated_at=time.time(), **values)).rowcount)

"""A verifier's durable knowledge of its chain: where verification stands, the labelled heads, and evidence."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import sqlalchemy as sa
from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from mach.storage.raised_alerts import mark_replaced
from mach.storage.schema import equivocations, heads, replaced_blocks, verdicts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mach.storage.database import Database

VERIFIED: Final = "verified"
"""The label of the block that verification has reached."""
HeadLabel = Literal["unsafe", "safe", "finalized"]


@dataclass(frozen=True, slots=True)
class LabelledHead:
    """A block under a label: `verified`, `safe`, `finalized`, or one endpoint's. `header` is its RLP where needed."""

    label: str
    block_number: int
    block_hash: bytes
    header: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReplacedBlock:
    """A verified block that is not on the chain any more, and at which head that was seen."""

    block_number: int
    block_hash: bytes
    seen_at_label: HeadLabel
    noticed_at: float


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two headers (RLP) of one height, each served by an endpoint that goes by the name given."""

    block_number: int
    first_hash: bytes
    second_hash: bytes
    first_header: bytes
    second_header: bytes
    first_endpoint: str
    second_endpoint: str
    noticed_at: float


class ChainRecord:
    """Heads and evidence of one verifier."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self, label: str) -> LabelledHead | None:
        """The block that stands under a label."""
        query = select(heads.c.label, heads.c.block_number, heads.c.block_hash, heads.c.header)
        query = query.where(heads.c.label == label)

        def read(connection: Connection) -> LabelledHead | None:
            row = connection.execute(query).mappings().first()
            return None if row is None else LabelledHead(**row)

        return await self._database.snapshot(read)

    async def set_head(self, head: LabelledHead) -> None:
        """Puts a block under a label."""
        await self._database.transaction(lambda connection: write_head(connection, head))

    async def rewind(self, fork_point: LabelledHead, label: HeadLabel) -> list[ReplacedBlock]:
        """Takes verification back to `fork_point` and records the verified blocks above it as replaced, at once.

        Returns those blocks, in the order of their heights.
        """
        above = sa.and_(verdicts.c.canonical, verdicts.c.block_number > fork_point.block_number)
        query = select(verdicts.c.block_number, verdicts.c.computed_hash).where(above).order_by(verdicts.c.block_number)

        def write(connection: Connection) -> list[ReplacedBlock]:
            now = time.time()
            replaced = [ReplacedBlock(row[0], row[1], label, now) for row in connection.execute(query)]
            write_head(connection, fork_point)
            mark_replaced(connection, fork_point.block_number)
            connection.execute(update(verdicts).where(above).values(canonical=False))
            for block in replaced:
                row = {name: getattr(block, name) for name in ReplacedBlock.__slots__}
                connection.execute(insert(replaced_blocks).values(**row).on_conflict_do_nothing())
            return replaced

        return await self._database.transaction(write)

    async def replaced(self, first: int = 0) -> list[ReplacedBlock]:
        """Replaced blocks from a height on, in order."""
        query = select(replaced_blocks).where(replaced_blocks.c.block_number >= first)
        query = query.order_by(replaced_blocks.c.block_number, replaced_blocks.c.noticed_at)
        return await self._database.snapshot(
            lambda connection: [ReplacedBlock(**row) for row in connection.execute(query).mappings()]
        )

    async def record_equivocation(self, found: Equivocation) -> bool:
        """True if it is new: the same two blocks are recorded once, whichever comes first."""
        swapped = select(equivocations.c.block_number).where(
            equivocations.c.block_number == found.block_number,
            equivocations.c.first_hash == found.second_hash,
            equivocations.c.second_hash == found.first_hash,
        )
        row = {name: getattr(found, name) for name in Equivocation.__slots__}

        def write(connection: Connection) -> bool:
            if connection.execute(swapped).first() is not None:
                return False
            statement = insert(equivocations).values(**row).on_conflict_do_nothing()
            return bool(connection.execute(statement).rowcount)

        return await self._database.transaction(write)

    async def equivocations(self) -> list[Equivocation]:
        """All that were found, in the order of their heights."""
        query = select(equivocations).order_by(equivocations.c.block_number, equivocations.c.noticed_at)
        return await self._database.snapshot(
            lambda connection: [Equivocation(**row) for row in connection.execute(query).mappings()]
        )


def write_head(connection: Connection, head: LabelledHead) -> None:
    """Puts a block under a label, in the caller's transaction."""
    row = {
        "label": head.label,
        "block_number": head.block_number,
        "block_hash": head.block_hash,
        "header": head.header,
        "updated_at": time.time(),
    }
    statement = insert(heads).values(**row)
    connection.execute(statement.on_conflict_do_update(index_elements=[heads.c.label], set_=row))

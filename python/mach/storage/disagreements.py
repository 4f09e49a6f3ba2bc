"""Blocks that an endpoint serves against the agreement of the others, with what everybody served as evidence.

open ──still so after a while──▶ stands
     ──not any more──▶ settled
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from mach.storage.schema import disagreements

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mach.storage.database import Database

DisagreementState = Literal["open", "stands", "settled"]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """At one height, the block of `served_hash` against that of `agreed_hash`.

    `evidence` is JSON: for each endpoint's name its provider and the header that it served.
    """

    block_number: int
    served_hash: bytes
    agreed_hash: bytes
    evidence: str
    state: DisagreementState
    noticed_at: float


class DisagreementLog:
    """The disagreements of one cross-checked rollup."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, found: Disagreement) -> bool:
        """Keeps a new one, or one that had settled and is there again; False if it is known."""
        row = {name: getattr(found, name) for name in Disagreement.__slots__}
        statement = insert(disagreements).values(**row)
        statement = statement.on_conflict_do_update(
            index_elements=list(disagreements.primary_key.columns), set_=row, where=disagreements.c.state == "settled"
        )
        return await self._database.transaction(lambda connection: connection.execute(statement).rowcount == 1)

    async def settle(self, found: Disagreement, state: DisagreementState) -> None:
        """open → stands | settled."""
        statement = update(disagreements).where(
            disagreements.c.block_number == found.block_number,
            disagreements.c.served_hash == found.served_hash,
            disagreements.c.agreed_hash == found.agreed_hash,
        )

        def write(connection: Connection) -> None:
            connection.execute(statement.values(state=state))

        await self._database.transaction(write)

    async def in_state(self, state: DisagreementState) -> list[Disagreement]:
        """Those in a state, lowest heights first."""
        query = select(disagreements).where(disagreements.c.state == state).order_by(disagreements.c.block_number)
        return await self._database.snapshot(
            lambda connection: [Disagreement(**row) for row in connection.execute(query).mappings()]
        )

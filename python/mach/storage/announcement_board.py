"""Tasks that nobody has signed yet, shared by replicas: the same alert gets the same task at each of them.

An announcement may be lost without harm (operators bring the whole task back with their signatures), so it does not
wait for the disk on PostgreSQL, and there are only so many: the oldest go first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.storage import task_sql
from mach.storage.aggregator_schema import IS_LIVE, announcements, tasks
from mach.storage.column_sql import integers
from mach.storage.task_records import TASK_COLUMNS, Announced, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from mach.storage.column_sql import Dialect
    from mach.storage.database import Database
    from mach.storage.task_records import Proposal

EVICTION_STEP: Final = 16
"""The oldest are removed whenever this replica announced 1/16 of the bound anew."""


class AnnouncementBoard:
    """Announcements of all replicas, `max_announcements` of them and up to 1/16 more for each replica."""

    def __init__(self, database: Database, max_announcements: int) -> None:
        self._database = database
        self._dialect: Dialect = database.dialect
        self._bound = max_announcements
        self._since_eviction = 0

    async def announce(self, proposals: Sequence[Proposal], reference_block_before: int) -> list[Announced]:
        """The task of each alert, in the order of the proposals; where it has none, what is proposed becomes its task.

        An announcement over a reference block below `reference_block_before`, and one whose task was signed and ended
        without its alert on L1, gives way to the proposal. One pass for all proposals, whatever their number.
        """
        if not proposals:
            return []
        unique = {proposal.message_hash: proposal for proposal in proposals}
        # In the order of their hashes, so that replicas that announce the same alerts cannot block each other.
        ordered = [unique[message_hash] for message_hash in sorted(unique)]
        parameters = {
            "hashes": b"".join(proposal.message_hash for proposal in ordered),
            "tasks": integers(
                [proposal.reference_block_number << 32 | proposal.task_index for proposal in ordered], self._dialect
            ),
            "now": time.time(),
            "floor": reference_block_before,
        }
        evict = self._since_eviction + len(ordered) >= max(self._bound // EVICTION_STEP, 1)

        def announce(connection: Connection) -> list[Announced]:
            if self._dialect == "postgresql":
                connection.execute(_NO_WAIT_FOR_DISK)
            connection.execute(task_sql.announce(self._dialect), parameters)
            if evict:
                self._evict(connection)
            return self._read(connection, proposals, list(unique))

        found = await self._database.transaction(announce)
        self._since_eviction = 0 if evict else self._since_eviction + len(ordered)
        return found

    async def count(self) -> int:
        """How many announcements there are."""
        query = sa.select(sa.func.count()).select_from(announcements)
        return await self._database.snapshot(lambda connection: int(connection.execute(query).scalar_one()))

    def _evict(self, connection: Connection) -> None:
        newest_kept = sa.select(announcements.c.announced_at).order_by(announcements.c.announced_at.desc())
        limit = connection.execute(newest_kept.offset(self._bound).limit(1)).scalar()
        if limit is None:
            return
        old = sa.select(announcements.c.message_hash).where(announcements.c.announced_at <= limit)
        if self._dialect == "postgresql":
            old = old.with_for_update(skip_locked=True)
        connection.execute(announcements.delete().where(announcements.c.message_hash.in_(old)))

    def _read(self, connection: Connection, proposals: Sequence[Proposal], hashes: Sequence[bytes]) -> list[Announced]:
        live = sa.select(*TASK_COLUMNS).where(tasks.c.message_hash.in_(hashes), sa.text(IS_LIVE))
        records = {record.message_hash: record for record in map(task_of, connection.execute(live))}
        query = sa.select(
            announcements.c.message_hash, announcements.c.task_index, announcements.c.reference_block_number
        ).where(announcements.c.message_hash.in_(hashes))
        told = {row[0]: (row[1], row[2]) for row in connection.execute(query)}
        found = []
        for proposal in proposals:
            record = records.get(proposal.message_hash)
            if record is not None:
                index, block = record.task_index, record.reference_block_number
            else:
                # It is missing only if the bound is smaller than the batch.
                index, block = told.get(proposal.message_hash, (proposal.task_index, proposal.reference_block_number))
            found.append(Announced(proposal.message_hash, index, block, record))
        return found


_NO_WAIT_FOR_DISK: Final = sa.text("SET LOCAL synchronous_commit TO off")

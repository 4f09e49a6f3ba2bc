"""One batch of an intake, written in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mach.storage import task_sql
from mach.storage.aggregator_schema import ENDED_WITHOUT_ALERT, IS_LIVE, tasks
from mach.storage.change_feed import notify
from mach.storage.column_sql import as_bytes, integers
from mach.storage.task_records import TASK_COLUMNS, BatchOutcome, SignatureBatch, TaskRecord, task_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from mach.storage.column_sql import Dialect


class BatchRecorder:
    """The steps of one batch's transaction.

    Locks are taken in one order by everybody, so that replicas cannot block each other: new tasks by their alerts'
    hashes, then all tasks of the batch by index.
    """

    def __init__(
        self, connection: Connection, dialect: Dialect, replica: int, now: float, batch: SignatureBatch
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._replica = replica
        self._now = now
        self._batch = batch
        # Each statement through SQLAlchemy costs 50 µs of CPU, as much as 25 signatures' rows. The texts and names of
        # parameters are SQLite's own, so there its driver takes them as they are.
        self._cursor = connection.connection.cursor() if dialect == "sqlite" else None
        self._touched = sorted({*batch.task_indices, *(task.task_index for task in batch.tasks)})

    def run(self, shared: bool) -> BatchOutcome:
        batch = self._batch
        self._insert_tasks()
        current, refused = self._current()
        stale = {
            pair
            for pair in zip(batch.task_indices, batch.reference_blocks, strict=True)
            if current.get(pair[0]) != pair[1]
        }
        for index, _ in stale:
            refused.setdefault(index, index)
        kept, not_stored = self._kept(stale)
        stored = self._insert_signatures(kept) if kept.task_indices else 0
        repeated: tuple[int, ...] = ()
        if stored < len(kept.task_indices):
            found = self._repeated(kept)
            if not_stored:
                positions = sorted(set(range(len(batch.task_indices))).difference(not_stored))
                found = [positions[position] for position in found]
            repeated = tuple(found)
        moved = self._reach_quorum({index for index, _ in stale} | refused.keys())
        if stored or moved:
            notify(self._connection, self._replica, signed=sorted(set(kept.task_indices)), moved=moved)
        return BatchOutcome(
            stored=stored,
            repeated=repeated,
            not_stored=tuple(not_stored),
            refused=self._winners(refused),
            quorum=tuple(moved),
            elsewhere=self._elsewhere(kept) if shared and kept.task_indices else {},
        )

    def _execute(self, statement: sa.TextClause, parameters: dict[str, object]) -> Any:
        """Rows of the statement to iterate over, with a `rowcount`."""
        if self._cursor is not None:
            return self._cursor.execute(statement.text, parameters)
        return self._connection.execute(statement, parameters)

    def _insert_tasks(self) -> None:
        if not self._batch.tasks:
            return
        parameters = [
            {
                "task_index": task.task_index,
                "message_hash": task.message_hash,
                "reference": task.reference_block_number,
                "quorums": task.quorum_numbers,
                "thresholds": task.quorum_threshold_percentages,
                "created_at": task.created_at,
                "moved_at": task.created_at,
                "moved_by": self._replica,
            }
            for task in sorted(self._batch.tasks, key=lambda task: task.message_hash)
        ]
        if self._cursor is not None:
            self._cursor.executemany(task_sql.INSERT_TASK.text, parameters)
        else:
            self._connection.execute(task_sql.INSERT_TASK, parameters)

    def _current(self) -> tuple[dict[int, int], dict[int, int | bytes]]:
        """Reference block by index of the tasks that take signatures; of the others, what stands in their way: the
        index, or the alert's hash where another task has it."""
        taking: dict[int, int] = {}
        refused: dict[int, int | bytes] = {}
        found = {
            row[0]: row
            for row in self._execute(
                task_sql.touched_tasks(self._dialect), {"indices": integers(self._touched, self._dialect)}
            )
        }
        for task in self._batch.tasks:
            row = found.get(task.task_index)
            same = (task.message_hash, task.quorum_numbers, task.quorum_threshold_percentages)
            if row is None or tuple(row[1:4]) != same:
                refused[task.task_index] = task.message_hash
        for index in self._touched:
            row = found.get(index)
            if index in refused:
                continue
            if row is None or row[5] in ENDED_WITHOUT_ALERT:
                refused[index] = index
            else:
                taking[index] = row[4]
        return taking, refused

    def _kept(self, stale: set[tuple[int, int]]) -> tuple[SignatureBatch, list[int]]:
        """The batch without the signatures of `stale` pairs, and their positions."""
        batch = self._batch
        if not stale:
            return batch, []
        pairs = list(zip(batch.task_indices, batch.reference_blocks, strict=True))
        kept = [position for position, pair in enumerate(pairs) if pair not in stale]
        dropped = [position for position, pair in enumerate(pairs) if pair in stale]
        columns = SignatureBatch(
            (),
            [pairs[position][0] for position in kept],
            [pairs[position][1] for position in kept],
            b"".join(batch.operator_ids[position * 32 : position * 32 + 32] for position in kept),
            b"".join(batch.signatures[position * 64 : position * 64 + 64] for position in kept),
        )
        return columns, dropped

    def _columns(self, batch: SignatureBatch) -> dict[str, object]:
        return {
            "indices": integers(batch.task_indices, self._dialect),
            "operators": batch.operator_ids,
            "now": self._now,
            "replica": self._replica,
        }

    def _insert_signatures(self, batch: SignatureBatch) -> int:
        parameters = {**self._columns(batch), "signatures": batch.signatures}
        return int(self._execute(task_sql.insert_signatures(self._dialect), parameters).rowcount)

    def _repeated(self, batch: SignatureBatch) -> list[int]:
        """Positions whose operator was counted before this batch, or earlier in it."""
        before = self._execute(task_sql.repeated_signatures(self._dialect), self._columns(batch))
        found = {row[0] for row in before}
        seen: set[tuple[int, bytes]] = set()
        for position, index in enumerate(batch.task_indices):
            key = (index, batch.operator_ids[position * 32 : position * 32 + 32])
            if key in seen:
                found.add(position)
            seen.add(key)
        return sorted(found)

    def _reach_quorum(self, refused: Collection[int]) -> list[int]:
        reached = sorted(set(self._batch.quorum_reached).difference(refused))
        if not reached:
            return []
        parameters = {"indices": integers(reached, self._dialect), "now": self._now, "replica": self._replica}
        return sorted(row[0] for row in self._execute(task_sql.reach_quorum(self._dialect), parameters))

    def _winners(self, refused: Mapping[int, int | bytes]) -> dict[int, TaskRecord | None]:
        if not refused:
            return {}
        hashes = [reason for reason in refused.values() if isinstance(reason, bytes)]
        own = [reason for reason in refused.values() if isinstance(reason, int)]
        live = sa.and_(tasks.c.message_hash.in_(hashes), sa.text(IS_LIVE))
        query = sa.select(*TASK_COLUMNS).where(sa.or_(tasks.c.task_index.in_(own), live))
        records = [task_of(row) for row in self._connection.execute(query)]
        by_index = {record.task_index: record for record in records}
        by_hash = {record.message_hash: record for record in records if record.state not in ENDED_WITHOUT_ALERT}
        return {
            index: by_hash.get(reason) if isinstance(reason, bytes) else by_index.get(reason)
            for index, reason in refused.items()
        }

    def _elsewhere(self, batch: SignatureBatch) -> dict[int, bytes]:
        parameters = {
            "indices": integers(sorted(set(batch.task_indices)), self._dialect),
            "replica": self._replica,
        }
        found = self._execute(task_sql.signed_elsewhere(self._dialect), parameters)
        return {row[0]: as_bytes(row[1]) for row in found}

# ruff: noqa: S608 (what is put together here are constants of this package; every value is bound)
"""The aggregator's statements over whole columns, in the words of either engine."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.storage.aggregator_schema import IS_LIVE
from mach.storage.column_sql import concatenated, is_in, locked, rows, slice_of
from mach.storage.task_records import COLLECTING, TASK_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.storage.column_sql import Dialect


def _names(columns: Sequence[sa.Column[object]], prefix: str = "") -> str:
    return ", ".join(prefix + column.name for column in columns)


INSERT_TASK: Final = sa.text(
    "INSERT INTO tasks (task_index, message_hash, reference_block_number, quorum_numbers, "
    "quorum_threshold_percentages, state, created_at, moved_at, moved_by) VALUES (:task_index, :message_hash, "
    ":reference, :quorums, :thresholds, 'open', :created_at, :moved_at, :moved_by) ON CONFLICT DO NOTHING"
)


@cache
def touched_tasks(dialect: Dialect) -> sa.TextClause:
    """Locks the tasks `indices` and reads what decides whether they take signatures."""
    return sa.text(
        "SELECT task_index, message_hash, quorum_numbers, quorum_threshold_percentages, reference_block_number, state "
        f"FROM tasks WHERE task_index {is_in('indices', dialect)} ORDER BY task_index {locked(dialect)}"
    )


@cache
def insert_signatures(dialect: Dialect) -> sa.TextClause:
    """Stores the columns `indices`, `operators` and `signatures` in the rounds in which their tasks are."""
    return sa.text(
        "INSERT INTO signatures (task_index, round, operator_id, signature, received_at, replica) "
        f"SELECT t.task_index, t.round, {slice_of('operators', 'r.position', 32, dialect)}, "
        f"{slice_of('signatures', 'r.position', 64, dialect)}, CAST(:now AS double precision), "
        f"CAST(:replica AS bigint) FROM {rows('indices', dialect)} r JOIN tasks t ON t.task_index = r.value "
        "WHERE true ON CONFLICT DO NOTHING"  # without a WHERE, SQLite takes ON for the join's
    )


@cache
def repeated_signatures(dialect: Dialect) -> sa.TextClause:
    """Positions in the columns that were stored before the batch of (`replica`, `now`)."""
    return sa.text(
        f"SELECT r.position FROM {rows('indices', dialect)} r "
        "JOIN tasks t ON t.task_index = r.value "
        "JOIN signatures s ON s.task_index = t.task_index AND s.round = t.round "
        f"AND s.operator_id = {slice_of('operators', 'r.position', 32, dialect)} "
        "WHERE s.replica <> :replica OR s.received_at <> :now"
    )


@cache
def reach_quorum(dialect: Dialect) -> sa.TextClause:
    """open → quorum for `indices`; returns those that moved."""
    return sa.text(
        "UPDATE tasks SET state = 'quorum', quorum_at = :now, moved_at = :now, moved_by = :replica "
        f"WHERE task_index {is_in('indices', dialect)} AND state = 'open' RETURNING task_index"
    )


@cache
def signed_elsewhere(dialect: Dialect) -> sa.TextClause:
    """By task: who signed it at other replicas than `replica`."""
    return sa.text(
        f"SELECT s.task_index, {concatenated('s.operator_id', dialect)} FROM signatures s "
        "JOIN tasks t ON t.task_index = s.task_index AND t.round = s.round "
        f"WHERE s.task_index {is_in('indices', dialect)} AND s.replica <> :replica GROUP BY s.task_index"
    )


def _select_with_signers(condition: str, dialect: Dialect) -> sa.TextClause:
    signers = concatenated("s.operator_id", dialect)
    return sa.text(
        f"SELECT {_names(TASK_COLUMNS, 't.')}, (SELECT {signers} FROM signatures s "
        "WHERE s.task_index = t.task_index AND s.round = t.round) AS operator_ids "
        f"FROM tasks t WHERE {condition} ORDER BY t.task_index"
    )


@cache
def live_tasks_with_signers(dialect: Dialect) -> sa.TextClause:
    """Tasks that may still get signatures, each with its present signers."""
    states = ", ".join(f"'{state}'" for state in COLLECTING)
    return _select_with_signers(f"t.state IN ({states})", dialect)


@cache
def tasks_with_signers(dialect: Dialect) -> sa.TextClause:
    """The tasks `indices`, each with its present signers."""
    return _select_with_signers(f"t.task_index {is_in('indices', dialect)}", dialect)


@cache
def tasks_by_index(dialect: Dialect) -> sa.TextClause:
    """The tasks `indices`."""
    return sa.text(
        f"SELECT {_names(TASK_COLUMNS)} FROM tasks WHERE task_index {is_in('indices', dialect)} ORDER BY task_index"
    )


@cache
def announce(dialect: Dialect) -> sa.TextClause:
    """Puts up tasks for the alerts `hashes` that have no task and no usable announcement.

    `tasks` has for each its reference block · 2³² + index: two columns would have to be joined row by row.
    """
    message_hash = slice_of("hashes", "r.position", 32, dialect)
    ended = "EXISTS (SELECT 1 FROM tasks e WHERE e.task_index = announcements.task_index)"
    return sa.text(
        "INSERT INTO announcements (message_hash, task_index, reference_block_number, announced_at) "
        f"SELECT {message_hash}, r.value & 4294967295, r.value >> 32, CAST(:now AS double precision) "
        f"FROM {rows('tasks', dialect)} r "
        f"WHERE NOT EXISTS (SELECT 1 FROM tasks t WHERE t.{IS_LIVE} AND t.message_hash = {message_hash}) "
        "ORDER BY r.position "
        "ON CONFLICT (message_hash) DO UPDATE SET task_index = excluded.task_index, "
        "reference_block_number = excluded.reference_block_number, announced_at = excluded.announced_at "
        f"WHERE announcements.reference_block_number < :floor OR {ended}"
    )

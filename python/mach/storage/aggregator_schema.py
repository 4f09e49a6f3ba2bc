"""The aggregator's tables. Migrations under `migrations/aggregator` build them; a test holds the two together."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from mach.storage.schema import NAMING

aggregator_metadata: Final = MetaData(naming_convention=NAMING)

ENDED_WITHOUT_ALERT: Final = ("failed", "expired")
"""States after which an alert may get another task."""
IS_LIVE: Final = "state NOT IN ('failed', 'expired')"
IS_ENDED: Final = "state IN ('failed', 'expired')"
"""As in the indices' conditions, word for word: a bound parameter would keep an engine from seeing that they hold."""

_Unsigned32: Final = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite's INTEGER holds 64 bits, and as a primary key it is the row's own number."""

tasks: Final = Table(
    "tasks",
    aggregator_metadata,
    Column("task_index", _Unsigned32, primary_key=True, autoincrement=False),
    Column("message_hash", LargeBinary(32), nullable=False),
    Column("round", Integer, nullable=False, server_default=text("0")),
    Column("reference_block_number", BigInteger, nullable=False),
    Column("quorum_numbers", LargeBinary, nullable=False),
    Column("quorum_threshold_percentages", LargeBinary, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("quorum_at", Float),
    Column("submitted_at", Float),
    Column("mined_at", Float),
    Column("finished_at", Float),
    Column("moved_at", Float, nullable=False, server_default=text("0"), index=True),
    Column("moved_by", BigInteger, nullable=False, server_default=text("0")),
    Column("tx_hash", LargeBinary(32)),
    Column("mined_block", BigInteger),
    Column("mined_hash", LargeBinary(32)),
    Column("gas_used", BigInteger),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("reason", Text),
)
Index(
    "uq_tasks_live_message_hash",
    tasks.c.message_hash,
    unique=True,
    sqlite_where=tasks.c.state.not_in(ENDED_WITHOUT_ALERT),
    postgresql_where=tasks.c.state.not_in(ENDED_WITHOUT_ALERT),
)
# Hashes scatter over an index, and each costs a page to write: every alert stands in one of the two only.
Index(
    "ix_tasks_ended_message_hash",
    tasks.c.message_hash,
    sqlite_where=tasks.c.state.in_(ENDED_WITHOUT_ALERT),
    postgresql_where=tasks.c.state.in_(ENDED_WITHOUT_ALERT),
)
Index("ix_tasks_created_at", tasks.c.created_at, tasks.c.task_index)

signatures: Final = Table(
    "signatures",
    aggregator_metadata,
    Column("task_index", _Unsigned32, ForeignKey("tasks.task_index"), primary_key=True),
    Column("round", Integer, primary_key=True, server_default=text("0"), autoincrement=False),
    Column("operator_id", LargeBinary(32), primary_key=True),
    Column("signature", LargeBinary(64), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("replica", BigInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)

past_rounds: Final = Table(
    "past_rounds",
    aggregator_metadata,
    Column("task_index", _Unsigned32, ForeignKey("tasks.task_index"), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("reference_block_number", BigInteger, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
)

submissions: Final = Table(
    "submissions",
    aggregator_metadata,
    Column("tx_hash", LargeBinary(32), primary_key=True),
    Column("task_index", _Unsigned32, ForeignKey("tasks.task_index"), nullable=False, index=True),
    Column("round", Integer, nullable=False, server_default=text("0")),
    Column("nonce", BigInteger, nullable=False),
    Column("transaction", LargeBinary, nullable=False),
    Column("sent_at", Float, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
)

announcements: Final = Table(
    "announcements",
    aggregator_metadata,
    Column("message_hash", LargeBinary(32), primary_key=True),
    Column("task_index", _Unsigned32, nullable=False),
    Column("reference_block_number", BigInteger, nullable=False),
    Column("announced_at", Float, nullable=False, index=True),
)

index_ranges: Final = Table(
    "index_ranges",
    aggregator_metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("next_index", BigInteger, nullable=False),
)

submitter: Final = Table(
    "submitter",
    aggregator_metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("taken_at", Float, nullable=False),
)

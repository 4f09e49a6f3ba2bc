"""Rounds of signatures, blocks and gas of confirmations, and what replicas share."""

import sqlalchemy as sa
from alembic import op

from mach.storage.errors import DatabaseError

revision = "aggregator_0002"
down_revision = "aggregator_0001"
branch_labels = None
depends_on = None

UNSIGNED_32 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("tasks", "task_index", type_=sa.BigInteger())
        op.alter_column("submissions", "task_index", type_=sa.BigInteger())
    for column in (
        sa.Column("round", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("submitted_at", sa.Float()),
        sa.Column("mined_at", sa.Float()),
        sa.Column("moved_at", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("moved_by", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("mined_block", sa.BigInteger()),
        sa.Column("mined_hash", sa.LargeBinary(length=32)),
        sa.Column("gas_used", sa.BigInteger()),
    ):
        op.add_column("tasks", column)
    op.execute("UPDATE tasks SET moved_at = coalesce(finished_at, quorum_at, created_at)")
    op.execute(
        "UPDATE tasks SET submitted_at = "
        "(SELECT min(sent_at) FROM submissions WHERE submissions.task_index = tasks.task_index)"
    )
    ended = sa.text("state IN ('failed', 'expired')")
    op.create_index(
        "ix_tasks_ended_message_hash", "tasks", ["message_hash"], sqlite_where=ended, postgresql_where=ended
    )
    op.create_index("ix_tasks_moved_at", "tasks", ["moved_at"])
    op.create_index("ix_tasks_created_at", "tasks", ["created_at", "task_index"])

    op.add_column("submissions", sa.Column("round", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("submissions", sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False))

    # Constraints keep their names, so the old table goes before the new one is named as it was.
    op.rename_table("signatures", "signatures_0001")
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint("pk_signatures", "signatures_0001")
        op.drop_constraint("fk_signatures_task_index_tasks", "signatures_0001")
    op.create_table(
        "signatures",
        sa.Column("task_index", UNSIGNED_32, autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), server_default=sa.text("0"), autoincrement=False, nullable=False),
        sa.Column("operator_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("replica", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["task_index"], ["tasks.task_index"], name=op.f("fk_signatures_task_index_tasks")),
        sa.PrimaryKeyConstraint("task_index", "round", "operator_id", name=op.f("pk_signatures")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO signatures (task_index, operator_id, signature, received_at) "
        "SELECT task_index, operator_id, signature, received_at FROM signatures_0001"
    )
    op.drop_table("signatures_0001")

    op.create_table(
        "past_rounds",
        sa.Column("task_index", UNSIGNED_32, autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reference_block_number", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["task_index"], ["tasks.task_index"], name=op.f("fk_past_rounds_task_index_tasks")),
        sa.PrimaryKeyConstraint("task_index", "round", name=op.f("pk_past_rounds")),
    )
    op.create_table(
        "announcements",
        sa.Column("message_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("task_index", UNSIGNED_32, nullable=False),
        sa.Column("reference_block_number", sa.BigInteger(), nullable=False),
        sa.Column("announced_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("message_hash", name=op.f("pk_announcements")),
    )
    op.create_index("ix_announcements_announced_at", "announcements", ["announced_at"])
    op.create_table(
        "index_ranges",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_index_ranges")),
    )
    op.execute("INSERT INTO index_ranges (id, next_index) SELECT 1, coalesce(max(task_index) + 1, 0) FROM tasks")
    submitter = op.create_table(
        "submitter",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submitter")),
    )
    op.bulk_insert(submitter, [{"id": 1, "epoch": 0, "holder": "", "taken_at": 0.0}])


def downgrade() -> None:
    raise DatabaseError("signatures of later rounds have no place in the older tables; restore a backup")

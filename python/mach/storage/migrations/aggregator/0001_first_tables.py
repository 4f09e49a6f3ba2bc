"""First tables of the aggregator."""

import sqlalchemy as sa
from alembic import op

revision = "aggregator_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column("task_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("message_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reference_block_number", sa.BigInteger(), nullable=False),
        sa.Column("quorum_numbers", sa.LargeBinary(), nullable=False),
        sa.Column("quorum_threshold_percentages", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("quorum_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("tx_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("task_index", name=op.f("pk_tasks")),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.create_index("ix_tasks_state", ["state"], unique=False)
        batch_op.create_index(
            "uq_tasks_live_message_hash",
            ["message_hash"],
            unique=True,
            sqlite_where=sa.text("(state NOT IN ('failed', 'expired'))"),
            postgresql_where=sa.text("(state NOT IN ('failed', 'expired'))"),
        )

    op.create_table(
        "signatures",
        sa.Column("task_index", sa.Integer(), nullable=False),
        sa.Column("operator_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["task_index"], ["tasks.task_index"], name=op.f("fk_signatures_task_index_tasks")),
        sa.PrimaryKeyConstraint("task_index", "operator_id", name=op.f("pk_signatures")),
    )
    op.create_table(
        "submissions",
        sa.Column("tx_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("task_index", sa.Integer(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("transaction", sa.LargeBinary(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["task_index"], ["tasks.task_index"], name=op.f("fk_submissions_task_index_tasks")),
        sa.PrimaryKeyConstraint("tx_hash", name=op.f("pk_submissions")),
    )
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_submissions_task_index"), ["task_index"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_submissions_task_index"))

    op.drop_table("submissions")
    op.drop_table("signatures")
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_tasks_live_message_hash",
            sqlite_where=sa.text("(state NOT IN ('failed', 'expired'))"),
            postgresql_where=sa.text("(state NOT IN ('failed', 'expired'))"),
        )
        batch_op.drop_index("ix_tasks_state")

    op.drop_table("tasks")

"""What operators ask before they sign, what verdicts rest on, and what cross-checks and the canary found."""

import sqlalchemy as sa
from alembic import op

revision = "verifier_0004"
down_revision = "verifier_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "raised_alerts",
        sa.Column("message_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.Float(), nullable=False),
        sa.Column("replaced_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("message_hash", name=op.f("pk_raised_alerts")),
    )
    with op.batch_alter_table("raised_alerts", schema=None) as batch_op:
        batch_op.create_index("ix_raised_alerts_block_number", ["block_number"], unique=False)
    op.create_table(
        "disagreements",
        sa.Column("block_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("served_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("agreed_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("noticed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("block_number", "served_hash", "agreed_hash", name=op.f("pk_disagreements")),
    )
    with op.batch_alter_table("disagreements", schema=None) as batch_op:
        batch_op.create_index("ix_disagreements_state", ["state"], unique=False)
    op.create_table(
        "canary_findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("noticed_at", sa.Float(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("alert", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canary_findings")),
    )
    with op.batch_alter_table("canary_findings", schema=None) as batch_op:
        batch_op.create_index("ix_canary_findings_noticed_at", ["noticed_at"], unique=False)
    op.create_table(
        "verified_rollup",
        sa.Column("chain_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_verified_rollup")),
    )
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("basis", sa.Text(), server_default="re-execution", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.drop_column("basis")

    op.drop_table("verified_rollup")
    with op.batch_alter_table("canary_findings", schema=None) as batch_op:
        batch_op.drop_index("ix_canary_findings_noticed_at")

    op.drop_table("canary_findings")
    with op.batch_alter_table("disagreements", schema=None) as batch_op:
        batch_op.drop_index("ix_disagreements_state")

    op.drop_table("disagreements")
    with op.batch_alter_table("raised_alerts", schema=None) as batch_op:
        batch_op.drop_index("ix_raised_alerts_block_number")

    op.drop_table("raised_alerts")

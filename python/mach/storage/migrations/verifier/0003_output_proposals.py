"""Proposals of output roots on L1, what was found about them, and early alerts over them."""

import sqlalchemy as sa
from alembic import op

revision = "verifier_0003"
down_revision = "verifier_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "oracle_positions",
        sa.Column("oracle", sa.LargeBinary(length=20), nullable=False),
        sa.Column("next_block", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("oracle", name=op.f("pk_oracle_positions")),
    )
    op.create_table(
        "output_proposals",
        sa.Column("oracle", sa.LargeBinary(length=20), nullable=False),
        sa.Column("output_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("l2_block_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("l1_block_number", sa.BigInteger(), nullable=False),
        sa.Column("l1_block_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expected_root", sa.LargeBinary(length=32), nullable=True),
        sa.Column("early_alert", sa.Text(), nullable=True),
        sa.Column("early_alert_transaction", sa.LargeBinary(), nullable=True),
        sa.Column("early_alert_reason", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(
            "oracle", "output_index", "output_root", "l2_block_number", name=op.f("pk_output_proposals")
        ),
    )
    with op.batch_alter_table("output_proposals", schema=None) as batch_op:
        batch_op.create_index("ix_output_proposals_state", ["state"], unique=False)
        batch_op.create_index("ix_output_proposals_early_alert", ["early_alert"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("output_proposals", schema=None) as batch_op:
        batch_op.drop_index("ix_output_proposals_early_alert")
        batch_op.drop_index("ix_output_proposals_state")

    op.drop_table("output_proposals")
    op.drop_table("oracle_positions")

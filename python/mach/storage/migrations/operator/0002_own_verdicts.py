"""What an alert's signature rests on, and the journal of what was signed.

Alerts that an earlier version took on by trust keep their state without a basis: none is signed before its verdict is
there.
"""

import sqlalchemy as sa
from alembic import op

revision = "operator_0002"
down_revision = "operator_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("basis", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("block_number", sa.BigInteger(), nullable=True))
    op.create_table(
        "signed_statements",
        sa.Column("message_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("claim", sa.LargeBinary(length=32), nullable=False),
        sa.Column("signed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("message_hash", name=op.f("pk_signed_statements")),
    )
    with op.batch_alter_table("signed_statements", schema=None) as batch_op:
        batch_op.create_index("ix_signed_statements_subject", ["subject"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("signed_statements", schema=None) as batch_op:
        batch_op.drop_index("ix_signed_statements_subject")

    op.drop_table("signed_statements")
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.drop_column("block_number")
        batch_op.drop_column("basis")

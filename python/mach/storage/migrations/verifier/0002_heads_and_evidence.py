"""Where verification stands, safe and finalized heads, replaced blocks, equivocations."""

import sqlalchemy as sa
from alembic import op

revision = "verifier_0002"
down_revision = "verifier_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("served_by", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("served_header", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("computed_output_root", sa.LargeBinary(length=32), nullable=True))
        batch_op.add_column(sa.Column("canonical", sa.Boolean(), server_default=sa.false(), nullable=False))

    op.create_table(
        "heads",
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=True),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("label", name=op.f("pk_heads")),
    )
    op.create_table(
        "replaced_blocks",
        sa.Column("block_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("seen_at_label", sa.Text(), nullable=False),
        sa.Column("noticed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("block_number", "block_hash", name=op.f("pk_replaced_blocks")),
    )
    op.create_table(
        "equivocations",
        sa.Column("block_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("second_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("first_header", sa.LargeBinary(), nullable=False),
        sa.Column("second_header", sa.LargeBinary(), nullable=False),
        sa.Column("first_endpoint", sa.Text(), nullable=False),
        sa.Column("second_endpoint", sa.Text(), nullable=False),
        sa.Column("noticed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("block_number", "first_hash", "second_hash", name=op.f("pk_equivocations")),
    )
    # The newest final verdict at a height is of the chain that was followed last.
    op.execute(
        "UPDATE verdicts SET canonical = 1 WHERE verdict IN ('VALID', 'INVALID') AND computed_hash IS NOT NULL AND "
        "verified_at = (SELECT max(other.verified_at) FROM verdicts AS other WHERE "
        "other.block_number = verdicts.block_number AND other.verdict IN ('VALID', 'INVALID'))"
    )
    # Until now verification went on from the highest block with a final verdict.
    op.execute(
        "INSERT INTO heads SELECT 'verified', block_number, computed_hash, computed_header, verified_at FROM verdicts "
        "WHERE verdict IN ('VALID', 'INVALID') AND computed_header IS NOT NULL "
        "ORDER BY block_number DESC, verified_at DESC LIMIT 1"
    )


def downgrade() -> None:
    op.drop_table("equivocations")
    op.drop_table("replaced_blocks")
    op.drop_table("heads")
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.drop_column("canonical")
        batch_op.drop_column("computed_output_root")
        batch_op.drop_column("served_header")
        batch_op.drop_column("served_by")

"""The tables of the operator and the verifier; the aggregator's are in `aggregator_schema`.

Migrations under `migrations/` build them; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
)

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

operator_metadata: Final = MetaData(naming_convention=NAMING)

alerts: Final = Table(
    "alerts",
    operator_metadata,
    Column("message_hash", LargeBinary(32), primary_key=True),
    Column("statement", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("task_index", Integer),
    Column("reference_block_number", BigInteger),
    Column("signature", LargeBinary(64)),
    Column("tx_hash", LargeBinary(32)),
    Column("reason", Text),
    Column("updated_at", Float, nullable=False),
    Column("basis", Text),
    Column("block_number", BigInteger),
)
Index("ix_alerts_state", alerts.c.state)

signed_statements: Final = Table(
    "signed_statements",
    operator_metadata,
    Column("message_hash", LargeBinary(32), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("claim", LargeBinary(32), nullable=False),
    Column("signed_at", Float, nullable=False),
)
Index("ix_signed_statements_subject", signed_statements.c.subject)

verifier_metadata: Final = MetaData(naming_convention=NAMING)

verdicts: Final = Table(
    "verdicts",
    verifier_metadata,
    Column("block_number", BigInteger, primary_key=True, autoincrement=False),
    Column("block_hash", LargeBinary(32), primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("computed_hash", LargeBinary(32)),
    Column("computed_header", LargeBinary),
    Column("fields", Text, nullable=False),
    Column("reason", Text),
    Column("gas_used", BigInteger, nullable=False),
    Column("transaction_count", Integer, nullable=False),
    Column("verified_at", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("served_by", Text),
    Column("served_header", LargeBinary),
    Column("computed_output_root", LargeBinary(32)),
    # on the chain that verification follows; of an INVALID block that is the block as computed
    Column("canonical", Boolean, nullable=False, server_default=false()),
    Column("basis", Text, nullable=False, server_default="re-execution"),
)
Index("ix_verdicts_verdict", verdicts.c.verdict)

deliveries: Final = Table(
    "deliveries",
    verifier_metadata,
    Column("operator_url", Text, primary_key=True),
    Column("message_hash", LargeBinary(32), primary_key=True),
    Column("block_number", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("answer", Text),
    Column("created_at", Float, nullable=False),
)
Index("ix_deliveries_state", deliveries.c.state)

raised_alerts: Final = Table(
    "raised_alerts",
    verifier_metadata,
    Column("message_hash", LargeBinary(32), primary_key=True),
    Column("block_number", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("raised_at", Float, nullable=False),
    Column("replaced_at", Float),
)
Index("ix_raised_alerts_block_number", raised_alerts.c.block_number)

disagreements: Final = Table(
    "disagreements",
    verifier_metadata,
    Column("block_number", BigInteger, primary_key=True, autoincrement=False),
    Column("served_hash", LargeBinary(32), primary_key=True),
    Column("agreed_hash", LargeBinary(32), primary_key=True),
    Column("evidence", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("noticed_at", Float, nullable=False),
)
Index("ix_disagreements_state", disagreements.c.state)

canary_findings: Final = Table(
    "canary_findings",
    verifier_metadata,
    Column("id", Integer, primary_key=True),
    Column("noticed_at", Float, nullable=False),
    Column("target", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("block_number", BigInteger),
    Column("alert", LargeBinary(32)),
)
Index("ix_canary_findings_noticed_at", canary_findings.c.noticed_at)

verified_rollup: Final = Table("verified_rollup", verifier_metadata, Column("chain_id", Text, primary_key=True))

heads: Final = Table(
    "heads",
    verifier_metadata,
    Column("label", Text, primary_key=True),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", LargeBinary(32), nullable=False),
    Column("header", LargeBinary),
    Column("updated_at", Float, nullable=False),
)

replaced_blocks: Final = Table(
    "replaced_blocks",
    verifier_metadata,
    Column("block_number", BigInteger, primary_key=True, autoincrement=False),
    Column("block_hash", LargeBinary(32), primary_key=True),
    Column("seen_at_label", Text, nullable=False),
    Column("noticed_at", Float, nullable=False),
)

equivocations: Final = Table(
    "equivocations",
    verifier_metadata,
    Column("block_number", BigInteger, primary_key=True, autoincrement=False),
    Column("first_hash", LargeBinary(32), primary_key=True),
    Column("second_hash", LargeBinary(32), primary_key=True),
    Column("first_header", LargeBinary, nullable=False),
    Column("second_header", LargeBinary, nullable=False),
    Column("first_endpoint", Text, nullable=False),
    Column("second_endpoint", Text, nullable=False),
    Column("noticed_at", Float, nullable=False),
)

oracle_positions: Final = Table(
    "oracle_positions",
    verifier_metadata,
    Column("oracle", LargeBinary(20), primary_key=True),
    Column("next_block", BigInteger, nullable=False),
)

output_proposals: Final = Table(
    "output_proposals",
    verifier_metadata,
    Column("oracle", LargeBinary(20), primary_key=True),
    Column("output_index", BigInteger, primary_key=True, autoincrement=False),
    Column("output_root", LargeBinary(32), primary_key=True),
    Column("l2_block_number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("l1_block_number", BigInteger, nullable=False),
    Column("l1_block_hash", LargeBinary(32), nullable=False),
    Column("state", Text, nullable=False),
    Column("expected_root", LargeBinary(32)),
    Column("early_alert", Text),
    Column("early_alert_transaction", LargeBinary),
    Column("early_alert_reason", Text),
    Column("updated_at", Float, nullable=False),
)
Index("ix_output_proposals_state", output_proposals.c.state)
Index("ix_output_proposals_early_alert", output_proposals.c.early_alert)

"""Receipts: one row per delivered delivery, as proof that the receiver accepted it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "receipts",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("org_type", sa.Integer, nullable=False),
        sa.Column("org_code", sa.Integer, nullable=False),
        sa.Column("entity_type", sa.Integer, nullable=False),
        sa.Column("webhook_url", sa.Text, nullable=False),
        sa.Column("accepted", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_attempt", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_attempt", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        # The failed attempts before the last one, without the responses.
        sa.Column("failures", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
        sa.CheckConstraint("length(hash) = 64", name="ck_receipts_hash"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_receipts_system_id_last_attempt_id", "receipts", ["system_id", "last_attempt", "id"])
    op.create_index("ix_receipts_last_attempt_id", "receipts", ["last_attempt", "id"])
    op.create_index("ix_receipts_event_id", "receipts", ["event_id"])


def downgrade() -> None:
    op.drop_table("receipts")

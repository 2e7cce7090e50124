"""Pauses of deliveries that operators order, for a system or one of its subscriptions."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "delivery_pauses",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        # The identity of a subscription; null if the whole system is paused.
        sa.Column("org_type", sa.Integer),
        sa.Column("org_code", sa.Integer),
        sa.Column("entity_type", sa.Integer),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("operator", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_delivery_pauses"),
        sa.CheckConstraint(
            "(org_type is null) = (org_code is null) and (org_type is null) = (entity_type is null)",
            name="ck_delivery_pauses_identity",
        ),
    )
    op.create_index("ix_delivery_pauses_system_id", "delivery_pauses", ["system_id"])


def downgrade() -> None:
    op.drop_table("delivery_pauses")

"""Fair delivery: looks by subscription, deliveries that go before others, pauses that receivers ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_URGENT = sa.text("urgency is not null")


def upgrade() -> None:
    # 1: sent again by an operator or a system; 2: a test message. Empty for all others.
    op.add_column("deliveries", sa.Column("urgency", sa.SmallInteger))
    op.create_index(
        "ix_deliveries_urgent",
        "deliveries",
        ["urgency", "due"],
        sqlite_where=_URGENT,
        postgresql_where=_URGENT,
    )
    # It serves what the index by number served, and looks at the oldest of one subscription.
    op.create_index("ix_deliveries_due_of_subscription", "deliveries", ["subscription_id", "due", "number"])
    op.drop_index("ix_deliveries_of_subscription", "deliveries")
    op.create_table(
        "target_pauses",
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("webhook_url", sa.Text, nullable=False),
        # No call before this moment: the receiver asked for it with Retry-After.
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("system_id", "webhook_url", name="pk_target_pauses"),
        sa.ForeignKeyConstraint(["system_id"], ["systems.id"], name="fk_target_pauses_system_id", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("target_pauses")
    op.create_index("ix_deliveries_of_subscription", "deliveries", ["subscription_id", "number"])
    op.drop_index("ix_deliveries_due_of_subscription", "deliveries")
    op.drop_index("ix_deliveries_urgent", "deliveries")
    op.drop_column("deliveries", "urgency")

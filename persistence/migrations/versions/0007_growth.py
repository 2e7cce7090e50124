"""Index what would otherwise be read as a whole: the audit log by time, and blocked deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_BLOCKED = sa.text("due is null and state = 'waiting'")


def upgrade() -> None:
    op.create_index("ix_audit_entries_time_id", "audit_entries", ["time", "id"])
    op.create_index(
        "ix_deliveries_blocked",
        "deliveries",
        ["subscription_id", "key", "number"],
        sqlite_where=_BLOCKED,
        postgresql_where=_BLOCKED,
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_blocked", "deliveries")
    op.drop_index("ix_audit_entries_time_id", "audit_entries")

"""The request that created a message, and an index of parked deliveries by system."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_PARKED = sa.text("state = 'parked'")


def upgrade() -> None:
    op.add_column("web_messages", sa.Column("request_id", sa.Text))
    op.create_index(
        "ix_deliveries_parked", "deliveries", ["system_id", "number"], sqlite_where=_PARKED, postgresql_where=_PARKED
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_parked", "deliveries")
    op.drop_column("web_messages", "request_id")

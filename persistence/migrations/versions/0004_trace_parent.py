"""The W3C trace context of the request that published an event, sent on to receivers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("events", sa.Column("trace_parent", sa.Text))


def downgrade() -> None:
    op.drop_column("events", "trace_parent")

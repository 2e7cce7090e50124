"""The time at which an API key expires."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expires", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("api_keys", "expires")

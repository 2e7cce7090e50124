"""When API keys were last used, and when the audit recorded that they had expired."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("last_used", sa.DateTime(timezone=True)))
    op.add_column("api_keys", sa.Column("expiry_recorded", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("api_keys", "expiry_recorded")
    op.drop_column("api_keys", "last_used")

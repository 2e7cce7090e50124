"""Headers of the calls to a system, and the client that gets access tokens for them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("systems", sa.Column("headers", sa.JSON))
    op.add_column("systems", sa.Column("oauth2", sa.JSON))


def downgrade() -> None:
    op.drop_column("systems", "oauth2")
    op.drop_column("systems", "headers")

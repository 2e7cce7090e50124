"""Sign entries of the audit. Earlier ones, and those of processes without a key, have no signature."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("audit_entries", sa.Column("signature", sa.Text))


def downgrade() -> None:
    op.drop_column("audit_entries", "signature")

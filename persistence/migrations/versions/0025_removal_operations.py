"""The operation that has removed something, until the audit has the number. So far it was always the one by age."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.add_column("removal_counts", sa.Column("operation", sa.Text, nullable=False, server_default="purge"))


def downgrade() -> None:
    # Programs of the version before cannot record the numbers of other operations.
    op.execute("delete from removal_counts where operation <> 'purge'")
    op.drop_column("removal_counts", "operation")

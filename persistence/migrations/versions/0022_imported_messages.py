"""The ids of messages that were imported from another service, so that each is imported once."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "imported_messages",
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_imported_messages"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("imported_messages")

"""Keys of the subjects in recorded reads of web messages."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "read_keys",
        # The SHA-256 of a party or reference whose messages were read.
        sa.Column("subject", sa.LargeBinary, nullable=False),
        # Null after it was destroyed.
        sa.Column("key", sa.LargeBinary),
        sa.Column("destroyed", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("subject", name="pk_read_keys"),
        sa.CheckConstraint("(key is null) = (destroyed is not null)", name="ck_read_keys_destroyed"),
    )
    op.create_index(
        "ix_read_keys_destroyed",
        "read_keys",
        ["destroyed"],
        sqlite_where=sa.text("destroyed is not null"),
        postgresql_where=sa.text("destroyed is not null"),
    )


def downgrade() -> None:
    op.drop_table("read_keys")

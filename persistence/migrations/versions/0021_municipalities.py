"""The municipality of a message, and what only the compatibility APIs can send."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

_COLUMNS = ("municipality_id", "oep_instance_as_sent", "own_open_e")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("web_messages", sa.Column(name, sa.Text))
    op.add_column("web_messages", sa.Column("is_from_owner", sa.Boolean))


def downgrade() -> None:
    op.drop_column("web_messages", "is_from_owner")
    for name in reversed(_COLUMNS):
        op.drop_column("web_messages", name)

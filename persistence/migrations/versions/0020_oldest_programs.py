"""The oldest version whose programs work on the present tables, so that they start while a new version replaces them.

A migration that removes what older programs need changes it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("alembic_version", sa.Column("oldest", sa.Text))
    op.execute("update alembic_version set oldest = '0020'")


def downgrade() -> None:
    op.drop_column("alembic_version", "oldest")

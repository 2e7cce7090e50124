"""How much runs have removed because of its age, until the audit has the numbers."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "removal_counts",
        # The run and the rule, as the entry in the audit names them.
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("removed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("time", "caller", "request_id", "detail", name="pk_removal_counts"),
    )


def downgrade() -> None:
    op.drop_table("removal_counts")

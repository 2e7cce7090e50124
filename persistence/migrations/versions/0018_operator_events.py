"""Events for operators, and the systems that were reported as failing."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_IS_GATHERING = sa.text("is_gathering")


def upgrade() -> None:
    op.create_table(
        "operator_events",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        # The identity of a subscription; empty if the event is about the system.
        sa.Column("subscription", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True)),
        sa.Column("until", sa.DateTime(timezone=True)),
        # No call has begun, so that later events of the kind join this one.
        sa.Column("is_gathering", sa.Boolean, nullable=False),
        # The time of the next call; null once the event has arrived.
        sa.Column("due", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_operator_events"),
    )
    op.create_index(
        "uq_operator_events_gathering",
        "operator_events",
        ["type", "system_id", "subscription"],
        unique=True,
        sqlite_where=_IS_GATHERING,
        postgresql_where=_IS_GATHERING,
    )
    op.create_table(
        "failing_systems",
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("system_id", name="pk_failing_systems"),
    )


def downgrade() -> None:
    op.drop_table("failing_systems")
    op.drop_table("operator_events")

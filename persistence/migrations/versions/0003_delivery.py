"""The queue as workers need it: order, leases, attempts."""

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

revision = "0003"
down_revision = "0002"

_WAITING_WITH_KEY = sa.text("key is not null and state = 'waiting'")
_DUE = sa.text("due is not null")


def upgrade() -> None:
    # Nothing wrote to these two before this version.
    op.drop_table("deliveries")
    op.drop_table("events")
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entity_type", sa.Integer, nullable=False),
        # JSON, but text to the database: the same event is the same text, which a publisher who asks again relies on.
        sa.Column("content", sa.Text, nullable=False),
        # How many it was fanned out to: the same answer for the same event.
        sa.Column("subscriptions", sa.Integer, nullable=False),
        sa.Column("publisher", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    # Old events are removed when nothing of them waits any more.
    op.create_index("ix_events_created", "events", ["created"])
    op.create_table(
        "deliveries",
        # The place in the queue.
        sa.Column("number", BIG_ID, nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subscription_id", BIG_ID, nullable=False),
        # That of the subscription, which never changes; work is claimed by system.
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        # Deliveries of one subscription and key go one after the other.
        sa.Column("key", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        # When it may be claimed: the next attempt, or the end of a lease. Empty while another one of its key is first,
        # so that nobody walks over those that wait behind it.
        sa.Column("due", sa.DateTime(timezone=True)),
        # Who holds it. A mark and no lock, so that a sync never waits for a worker.
        sa.Column("lease", sa.Text),
        sa.Column("started", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_deliveries"),
        sa.UniqueConstraint("id", name="uq_deliveries_id"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_deliveries_event_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name="fk_deliveries_subscription_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("state in ('waiting', 'parked')", name=op.f("ck_deliveries_state")),
        sa.CheckConstraint("state = 'waiting' or (due is null and lease is null)", name=op.f("ck_deliveries_parked")),
        # A number is never used again: pages of lists go by it.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_event_id", "deliveries", ["event_id"])
    op.create_index("ix_deliveries_of_subscription", "deliveries", ["subscription_id", "number"])
    op.create_index("ix_deliveries_of_system", "deliveries", ["system_id", "number"])
    op.create_index(
        "ix_deliveries_due", "deliveries", ["system_id", "due", "number"], sqlite_where=_DUE, postgresql_where=_DUE
    )
    op.create_index(
        "ix_deliveries_order",
        "deliveries",
        ["subscription_id", "key", "number"],
        sqlite_where=_WAITING_WITH_KEY,
        postgresql_where=_WAITING_WITH_KEY,
    )
    op.create_table(
        "attempts",
        sa.Column("delivery", BIG_ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("reason", sa.Text),
        # The beginning of what the receiver answered.
        sa.Column("answer", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("delivery", "number", name="pk_attempts"),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.number"], name="fk_attempts_delivery", ondelete="CASCADE"),
    )


def downgrade() -> None:
    for table in ("attempts", "deliveries", "events"):
        op.drop_table(table)
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("entity_type", sa.Integer, nullable=False),
        sa.Column("org_type", sa.Integer, nullable=False),
        sa.Column("org_code", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subscription_id", BIG_ID, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_deliveries_event_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name="fk_deliveries_subscription_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("state in ('waiting', 'parked')", name=op.f("ck_deliveries_state")),
    )
    op.create_index("ix_deliveries_event_id", "deliveries", ["event_id"])
    op.create_index("ix_deliveries_subscription_id", "deliveries", ["subscription_id"])

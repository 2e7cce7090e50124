"""Systems, what they may subscribe to, their subscriptions, the queue behind them, and the audit."""

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _create_catalogue()
    _create_subscriptions()
    _create_audit()


def _create_catalogue() -> None:
    op.create_table(
        "systems",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        # References to secrets (`env:…`, `file:…`), never secrets.
        sa.Column("webhook_secrets", sa.JSON, nullable=False),
        sa.Column("allow_private_addresses", sa.Boolean, nullable=False),
        sa.Column("client_certificate", sa.JSON),
        sa.Column("ca", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_systems"),
    )
    op.create_table(
        "certificates",
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        # One certificate may open several systems.
        sa.PrimaryKeyConstraint("fingerprint", "system_id", name="pk_certificates"),
        sa.ForeignKeyConstraint(["system_id"], ["systems.id"], name="fk_certificates_system_id", ondelete="CASCADE"),
    )
    op.create_index("ix_certificates_system_id", "certificates", ["system_id"])
    op.create_table(
        "message_types",
        sa.Column("entity_type", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("start_date", sa.Date),
        sa.Column("end_date", sa.Date),
        sa.PrimaryKeyConstraint("entity_type", name="pk_message_types"),
    )
    op.create_table(
        "allowed_subscriptions",
        sa.Column("org_type", sa.Integer, nullable=False),
        sa.Column("entity_type", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("org_type", "entity_type", name="pk_allowed_subscriptions"),
        sa.ForeignKeyConstraint(
            ["entity_type"],
            ["message_types.entity_type"],
            name="fk_allowed_subscriptions_entity_type",
            ondelete="CASCADE",
        ),
    )
    # At most one row: the event that stored web messages raise.
    op.create_table(
        "web_message_events",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("org_type", sa.Integer, nullable=False),
        sa.Column("org_code", sa.Integer, nullable=False),
        sa.Column("entity_type", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_web_message_events"),
        sa.CheckConstraint("number = 1", name=op.f("ck_web_message_events_number")),
        sa.ForeignKeyConstraint(
            ["entity_type"], ["message_types.entity_type"], name="fk_web_message_events_entity_type"
        ),
    )


def _create_subscriptions() -> None:
    # A type that the catalogue drops may still be named here: what was accepted stays acceptable.
    op.create_table(
        "subscriptions",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("org_type", sa.Integer, nullable=False),
        sa.Column("org_code", sa.Integer, nullable=False),
        sa.Column("entity_type", sa.Integer, nullable=False),
        sa.Column("webhook_url", sa.Text, nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.ForeignKeyConstraint(["system_id"], ["systems.id"], name="fk_subscriptions_system_id", ondelete="CASCADE"),
        sa.UniqueConstraint("system_id", "org_type", "org_code", "entity_type", name="uq_subscriptions_identity"),
    )
    # An event asks who is to be told.
    op.create_index("ix_subscriptions_matching", "subscriptions", ["entity_type", "org_type", "org_code"])
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
    # What is delivered is removed, so every row is an undelivered message and goes with its subscription.
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subscription_id", BIG_ID, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        # A worker's claim ends then; it is a mark and no lock, so that a sync never waits for a worker.
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


def _create_audit() -> None:
    # The end of each chain. It outlives what it is about; a sync holds its row as the lock of the system.
    op.create_table(
        "chains",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_chains"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        # JSON, but text to the database: its hash is over this very text.
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    # Not unique: what somebody added by hand is to be found by its hash, not to stop us.
    op.create_index("ix_audit_entries_chain_number", "audit_entries", ["chain", "number"])


def downgrade() -> None:
    for table in (
        "audit_entries",
        "chains",
        "deliveries",
        "events",
        "subscriptions",
        "web_message_events",
        "allowed_subscriptions",
        "message_types",
        "certificates",
        "systems",
    ):
        op.drop_table(table)

"""Web messages and API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # References and the descriptions of attachments stand in the row as JSON: a message never changes, and so one
    # row is read for one message.
    op.create_table(
        "web_messages",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("party_id", sa.Uuid(as_uuid=False)),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("external_references", sa.JSON, nullable=False),
        sa.Column("sender_user_id", sa.Text),
        sa.Column("oep_instance", sa.Text, nullable=False),
        sa.Column("attachments", sa.JSON, nullable=False),
        sa.Column("flow_instance_id", sa.Integer),
        sa.Column("state", sa.Text, nullable=False),
        # When the call to Open-E began; what is older than the deadline was left over from a crash.
        sa.Column("sent", sa.DateTime(timezone=True)),
        # When the message became readable; null until then, so that no look-up finds it.
        sa.Column("created", sa.DateTime(timezone=True)),
        sa.Column("open_e_message_id", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_web_messages"),
        sa.CheckConstraint(
            "state in ('sending', 'unknown', 'published', 'stored')", name=op.f("ck_web_messages_state")
        ),
        sa.CheckConstraint(
            "(created is not null) = (state in ('published', 'stored'))", name=op.f("ck_web_messages_readable")
        ),
    )
    # Lists are read in this order, page by page.
    op.create_index("ix_web_messages_party_id_created_id", "web_messages", ["party_id", "created", "id"])
    # Few rows are ever in these states, and operators ask for them.
    unsettled = sa.text("state in ('sending', 'unknown')")
    op.create_index(
        "ix_web_messages_unsettled", "web_messages", ["sent"], sqlite_where=unsettled, postgresql_where=unsettled
    )

    # The index by reference. It repeats `created`, so that a page is one range of one index; rows are written when
    # the message becomes readable.
    op.create_table(
        "web_message_references",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("key", "value", "created", "message_id", name="pk_web_message_references"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["web_messages.id"], name="fk_web_message_references_message_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_web_message_references_message_id", "web_message_references", ["message_id"])

    # Contents stand apart, so that reading a message does not read its files, and in pieces, so that neither we nor a
    # driver ever holds a whole file twice.
    op.create_table(
        "web_message_attachments",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("piece", sa.Integer, nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", "piece", name="pk_web_message_attachments"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["web_messages.id"], name="fk_web_message_attachments_message_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_web_message_attachments_message_id", "web_message_attachments", ["message_id"])

    # Revoked keys stay listed; a name can be given again.
    op.create_table(
        "api_keys",
        sa.Column("key_hash", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("key_hash", name="pk_api_keys"),
    )
    in_use = sa.text("revoked is null")
    op.create_index(
        "uq_api_keys_name_in_use", "api_keys", ["name"], unique=True, sqlite_where=in_use, postgresql_where=in_use
    )


def downgrade() -> None:
    for table in ("api_keys", "web_message_attachments", "web_message_references", "web_messages"):
        op.drop_table(table)

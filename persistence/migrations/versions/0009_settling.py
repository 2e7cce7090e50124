"""Settle messages in doubt: leases by case, and traces of deleted messages."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_UNSETTLED = sa.text("open_e_message_id is null")


def upgrade() -> None:
    op.create_table(
        "settlements",
        sa.Column("oep_instance", sa.Text, nullable=False),
        sa.Column("flow_instance_id", sa.Integer, nullable=False, autoincrement=False),
        # The end of a lease, or of a backoff.
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        # Null after a failure.
        sa.Column("answered", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("oep_instance", "flow_instance_id", name="pk_settlements"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "publication_traces",
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("oep_instance", sa.Text, nullable=False),
        sa.Column("flow_instance_id", sa.Integer, nullable=False),
        sa.Column("sent", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open_e_message_id", sa.BigInteger),
        # Hashes of the content, until the trace is settled.
        sa.Column("fingerprint", sa.JSON),
        sa.PrimaryKeyConstraint("message_id", name="pk_publication_traces"),
        sa.CheckConstraint(
            "(open_e_message_id is null) = (fingerprint is not null)", name="ck_publication_traces_settled"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_publication_traces_oep_instance_flow_instance_id",
        "publication_traces",
        ["oep_instance", "flow_instance_id"],
    )
    op.create_index(
        "ix_publication_traces_unsettled",
        "publication_traces",
        ["sent"],
        sqlite_where=_UNSETTLED,
        postgresql_where=_UNSETTLED,
    )


def downgrade() -> None:
    op.drop_table("publication_traces")
    op.drop_table("settlements")

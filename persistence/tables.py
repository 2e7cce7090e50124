"""The tables. A message row is the whole message but for file contents; the other tables index and fill it."""

from datetime import UTC, datetime

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes on both databases; SQLite, which keeps no offset, holds them in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is not None and dialect.name == "sqlite":
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is not None and dialect.name == "sqlite":
            return value.replace(tzinfo=UTC)
        return value


def _uuid() -> sa.Uuid[str]:
    return sa.Uuid(as_uuid=False)


web_messages = sa.Table(
    "web_messages",
    metadata,
    sa.Column("id", _uuid(), primary_key=True),
    sa.Column("party_id", _uuid()),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("external_references", sa.JSON, nullable=False),
    sa.Column("sender_user_id", sa.Text),
    sa.Column("oep_instance", sa.Text, nullable=False),
    sa.Column("attachments", sa.JSON, nullable=False),
    sa.Column("flow_instance_id", sa.Integer),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("sent", UtcDateTime),
    sa.Column("created", UtcDateTime),
    sa.Column("open_e_message_id", sa.BigInteger),
    sa.CheckConstraint("state in ('sending', 'unknown', 'published', 'stored')", name="state"),
    sa.CheckConstraint("(created is not null) = (state in ('published', 'stored'))", name="readable"),
    sa.Index("ix_web_messages_party_id_created_id", "party_id", "created", "id"),
    sa.Index(
        "ix_web_messages_unsettled",
        "sent",
        sqlite_where=sa.text("state in ('sending', 'unknown')"),
        postgresql_where=sa.text("state in ('sending', 'unknown')"),
    ),
)

web_message_references = sa.Table(
    "web_message_references",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("created", UtcDateTime, primary_key=True),
    sa.Column(
        "message_id", _uuid(), sa.ForeignKey("web_messages.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
    sqlite_with_rowid=False,
)

web_message_attachments = sa.Table(
    "web_message_attachments",
    metadata,
    sa.Column("id", _uuid(), primary_key=True),
    sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("message_id", _uuid(), sa.ForeignKey("web_messages.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_hash", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created", UtcDateTime, nullable=False),
    sa.Column("revoked", UtcDateTime),
    sa.Index(
        "uq_api_keys_name_in_use",
        "name",
        unique=True,
        sqlite_where=sa.text("revoked is null"),
        postgresql_where=sa.text("revoked is null"),
    ),
)

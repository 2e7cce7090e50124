"""The tables. A message row contains everything except file contents; the other tables are indexes and contents."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from domain.deliveries import DeliveryState
from domain.web_messages import READABLE_STATES, UNSETTLED_STATES, MessageState

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
    """Aware datetimes on both databases. SQLite stores texts without an offset, in UTC.

    On SQLite, SQLAlchemy's own conversions take several times as long.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        """Return the conversion of a parameter."""
        return _write_utc if dialect.name == "sqlite" else super().bind_processor(dialect)

    def literal_processor(self, dialect: sa.Dialect) -> Any:
        """Return the conversion of a value in the text of a statement."""
        if dialect.name != "sqlite":
            return super().literal_processor(dialect)
        return lambda value: "null" if value is None else f"'{_write_utc(value)}'"

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        """Return the conversion of a result."""
        return _utc_datetime if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _write_utc(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _utc_datetime(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(f"{value}+00:00")


class _TextUuid(sa.Uuid[str]):
    """UUIDs as texts with hyphens in Python. SQLite stores them as 32 hexadecimal digits.

    On SQLite, SQLAlchemy converts each value to a `UUID` and then to a text, which takes five times as long.
    """

    cache_ok = True

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        """Return the conversion of a result."""
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)  # type: ignore[no-untyped-call]  # SQLAlchemy has no type here.
        return _insert_hyphens


def _insert_hyphens(value: str | None) -> str | None:
    return value and f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


class _ShortBytes(sa.LargeBinary):
    """Bytes that are given to the driver as they are. For SQLite, SQLAlchemy wraps each value in a `memoryview`."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        """Return the conversion of a parameter."""
        if dialect.name == "sqlite":
            return None
        return super().bind_processor(dialect)  # type: ignore[no-untyped-call]  # SQLAlchemy has no type here.


def _build_uuid_type() -> sa.Uuid[str]:
    return _TextUuid(as_uuid=False)


BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite assigns row ids only to columns whose type is exactly INTEGER."""


def _is_in(column: str, values: Iterable[str]) -> str:
    """Return the condition that a column has one of these values. A new value needs a migration."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} in ({listed})"


def _build_partial_index(name: str, *columns: str, where: str, is_unique: bool = False) -> sa.Index:
    """Return an index of the rows with a condition. A query must contain the condition in the same text."""
    condition = sa.text(where)
    return sa.Index(name, *columns, unique=is_unique, sqlite_where=condition, postgresql_where=condition)


IS_UNSETTLED = _is_in("state", UNSETTLED_STATES)
"""The condition of the index of unsettled messages. The planner uses it for this text, not for one with parameters."""

web_messages = sa.Table(
    "web_messages",
    metadata,
    sa.Column("id", _build_uuid_type(), primary_key=True),
    sa.Column("party_id", _build_uuid_type()),
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
    # Null for messages that were sent without a municipality.
    sa.Column("municipality_id", sa.Text),
    # The caller's spelling of `oep_instance`, null for the usual one.
    sa.Column("oep_instance_as_sent", sa.Text),
    # The Open-E of the case, such as `2281/external`, null for the one that all municipalities share.
    sa.Column("own_open_e", sa.Text),
    # Whether the message is one of the owner of the case, null for one of the staff.
    sa.Column("is_from_owner", sa.Boolean),
    # The request that created the message, for operators; null in rows of older versions. It has no index: request ids
    # are random, and another index page for each message would cost more than the searches of operators.
    sa.Column("request_id", sa.Text),
    sa.CheckConstraint(_is_in("state", MessageState), name="state"),
    sa.CheckConstraint(f"(created is not null) = ({_is_in('state', READABLE_STATES)})", name="readable"),
    sa.Index("ix_web_messages_party_id_created_id", "party_id", "created", "id"),
    _build_partial_index("ix_web_messages_unsettled", "sent", where=IS_UNSETTLED),
)

web_message_references = sa.Table(
    "web_message_references",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("created", UtcDateTime, primary_key=True),
    sa.Column(
        "message_id",
        _build_uuid_type(),
        sa.ForeignKey("web_messages.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    sqlite_with_rowid=False,
)

web_message_attachments = sa.Table(
    "web_message_attachments",
    metadata,
    sa.Column("id", _build_uuid_type(), primary_key=True),
    sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column(
        "message_id",
        _build_uuid_type(),
        sa.ForeignKey("web_messages.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# Messages of another service that were imported. No foreign key: a message that was deleted is not imported again.
imported_messages = sa.Table(
    "imported_messages",
    metadata,
    sa.Column("message_id", _build_uuid_type(), primary_key=True),
    # The name that the operator gave that service.
    sa.Column("source", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    # The keys of a commit are far apart in this index, so it is small: SQLite writes a page for each of them.
    sa.Column("hash", _ShortBytes, primary_key=True),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("fingerprint", _ShortBytes, nullable=False),
    # No foreign key: the key of a deleted message remains. The id contains the time of the key.
    sa.Column("message_id", _build_uuid_type(), nullable=False, index=True),
)

settlements = sa.Table(
    "settlements",
    metadata,
    sa.Column("oep_instance", sa.Text, primary_key=True),
    sa.Column("flow_instance_id", sa.Integer, primary_key=True, autoincrement=False),
    # The end of a lease, or of a backoff.
    sa.Column("due", UtcDateTime, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    # Null after a failure.
    sa.Column("answered", UtcDateTime),
    sqlite_with_rowid=False,
)

IS_UNSETTLED_TRACE = "open_e_message_id is null"
"""The condition of the index of unsettled traces, as text for the planner."""

publication_traces = sa.Table(
    "publication_traces",
    metadata,
    sa.Column("message_id", _build_uuid_type(), primary_key=True),
    sa.Column("oep_instance", sa.Text, nullable=False),
    sa.Column("flow_instance_id", sa.Integer, nullable=False),
    sa.Column("sent", UtcDateTime, nullable=False),
    sa.Column("open_e_message_id", sa.BigInteger),
    # Hashes of the content, until the trace is settled.
    sa.Column("fingerprint", sa.JSON(none_as_null=True)),
    sa.CheckConstraint("(open_e_message_id is null) = (fingerprint is not null)", name="settled"),
    sa.Index("ix_publication_traces_oep_instance_flow_instance_id", "oep_instance", "flow_instance_id"),
    _build_partial_index("ix_publication_traces_unsettled", "sent", where=IS_UNSETTLED_TRACE),
    sqlite_with_rowid=False,
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_hash", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created", UtcDateTime, nullable=False),
    sa.Column("revoked", UtcDateTime),
    sa.Column("expires", UtcDateTime),
    # Accurate to about an hour, since no request writes it.
    sa.Column("last_used", UtcDateTime),
    # When the audit recorded that the key had expired.
    sa.Column("expiry_recorded", UtcDateTime),
    _build_partial_index("uq_api_keys_name_in_use", "name", where="revoked is null", is_unique=True),
)

systems = sa.Table(
    "systems",
    metadata,
    sa.Column("id", _build_uuid_type(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("webhook_secrets", sa.JSON, nullable=False),
    sa.Column("allow_private_addresses", sa.Boolean, nullable=False),
    sa.Column("client_certificate", sa.JSON(none_as_null=True)),
    sa.Column("ca", sa.Text),
    # References by name; null for none, so that a claim has nothing to parse.
    sa.Column("headers", sa.JSON(none_as_null=True)),
    sa.Column("oauth2", sa.JSON(none_as_null=True)),
)

certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column(
        "system_id", _build_uuid_type(), sa.ForeignKey("systems.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
)

message_types = sa.Table(
    "message_types",
    metadata,
    sa.Column("entity_type", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("start_date", sa.Date),
    sa.Column("end_date", sa.Date),
)

allowed_subscriptions = sa.Table(
    "allowed_subscriptions",
    metadata,
    sa.Column("org_type", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column(
        "entity_type",
        sa.Integer,
        sa.ForeignKey("message_types.entity_type", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
)

web_message_events = sa.Table(
    "web_message_events",
    metadata,
    sa.Column(
        "number", sa.Integer, sa.CheckConstraint("number = 1", name="number"), primary_key=True, autoincrement=False
    ),
    sa.Column("org_type", sa.Integer, nullable=False),
    sa.Column("org_code", sa.Integer, nullable=False),
    sa.Column("entity_type", sa.Integer, sa.ForeignKey("message_types.entity_type"), nullable=False),
)

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True),
    sa.Column("system_id", _build_uuid_type(), sa.ForeignKey("systems.id", ondelete="CASCADE"), nullable=False),
    sa.Column("org_type", sa.Integer, nullable=False),
    sa.Column("org_code", sa.Integer, nullable=False),
    sa.Column("entity_type", sa.Integer, nullable=False),
    sa.Column("webhook_url", sa.Text, nullable=False),
    sa.Column("start_time", UtcDateTime, nullable=False),
    sa.Column("end_time", UtcDateTime),
    sa.UniqueConstraint("system_id", "org_type", "org_code", "entity_type", name="uq_subscriptions_identity"),
    sa.Index("ix_subscriptions_matching", "entity_type", "org_type", "org_code"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", _build_uuid_type(), primary_key=True),
    sa.Column("created", UtcDateTime, nullable=False, index=True),
    sa.Column("entity_type", sa.Integer, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("subscriptions", sa.Integer, nullable=False),
    sa.Column("publisher", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("trace_parent", sa.Text),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("number", BIG_ID, primary_key=True),
    sa.Column("id", _build_uuid_type(), nullable=False),
    sa.Column(
        "event_id", _build_uuid_type(), sa.ForeignKey("events.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("subscription_id", BIG_ID, sa.ForeignKey("subscriptions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("system_id", _build_uuid_type(), nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created", UtcDateTime, nullable=False),
    sa.Column("due", UtcDateTime),
    sa.Column("lease", sa.Text),
    sa.Column("started", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("urgency", sa.SmallInteger),
    sa.UniqueConstraint("id"),
    sa.CheckConstraint(_is_in("state", DeliveryState), name="state"),
    sa.CheckConstraint("state = 'waiting' or (due is null and lease is null)", name="parked"),
    sa.Index("ix_deliveries_due_of_subscription", "subscription_id", "due", "number"),
    sa.Index("ix_deliveries_of_system", "system_id", "number"),
    _build_partial_index("ix_deliveries_due", "system_id", "due", "number", where="due is not null"),
    _build_partial_index(
        "ix_deliveries_order", "subscription_id", "key", "number", where="key is not null and state = 'waiting'"
    ),
    _build_partial_index("ix_deliveries_urgent", "urgency", "due", where="urgency is not null"),
    _build_partial_index(
        "ix_deliveries_blocked", "subscription_id", "key", "number", where="due is null and state = 'waiting'"
    ),
    _build_partial_index("ix_deliveries_parked", "system_id", "number", where="state = 'parked'"),
    sqlite_autoincrement=True,
    postgresql_with={
        "autovacuum_vacuum_scale_factor": 0.01,
        "autovacuum_analyze_scale_factor": 0.05,
        "autovacuum_vacuum_cost_delay": 0,
    },
)

# The back-off of targets, which receivers request with `Retry-After`. The table keeps the name of its first version.
target_pauses = sa.Table(
    "target_pauses",
    metadata,
    sa.Column("system_id", _build_uuid_type(), sa.ForeignKey("systems.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("webhook_url", sa.Text, primary_key=True),
    sa.Column("until", UtcDateTime, nullable=False),
)

# No foreign keys: a pause holds for systems and subscriptions that are removed and return.
delivery_pauses = sa.Table(
    "delivery_pauses",
    metadata,
    sa.Column("number", BIG_ID, primary_key=True),
    sa.Column("system_id", _build_uuid_type(), nullable=False, index=True),
    # The identity of a subscription; null if the whole system is paused.
    sa.Column("org_type", sa.Integer),
    sa.Column("org_code", sa.Integer),
    sa.Column("entity_type", sa.Integer),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("operator", sa.Text, nullable=False),
    sa.CheckConstraint(
        "(org_type is null) = (org_code is null) and (org_type is null) = (entity_type is null)", name="identity"
    ),
)

# Events for operators; `subscription` is empty if the event is about the system.
operator_events = sa.Table(
    "operator_events",
    metadata,
    sa.Column("id", _build_uuid_type(), primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("system_id", _build_uuid_type(), nullable=False),
    sa.Column("subscription", sa.Text, nullable=False),
    sa.Column("created", UtcDateTime, nullable=False),
    sa.Column("since", UtcDateTime),
    sa.Column("until", UtcDateTime),
    # No call has begun, so that later events of the kind join this one.
    sa.Column("is_gathering", sa.Boolean, nullable=False),
    # The time of the next call; null once the event has arrived.
    sa.Column("due", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("sent", UtcDateTime),
    _build_partial_index(
        "uq_operator_events_gathering", "type", "system_id", "subscription", where="is_gathering", is_unique=True
    ),
)

# Systems that were reported as failing and have not recovered.
failing_systems = sa.Table(
    "failing_systems",
    metadata,
    sa.Column("system_id", _build_uuid_type(), primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("delivery", BIG_ID, sa.ForeignKey("deliveries.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("milliseconds", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("reason", sa.Text),
    sa.Column("answer", sa.Text, nullable=False),
)

# No foreign keys: a receipt remains when its event, its subscription or its system is removed.
receipts = sa.Table(
    "receipts",
    metadata,
    # Receipts are sealed by number (decision 0032).
    sa.Column("number", BIG_ID, primary_key=True),
    # The id of the delivery.
    sa.Column("id", _build_uuid_type(), nullable=False),
    sa.Column("event_id", _build_uuid_type(), nullable=False, index=True),
    sa.Column("system_id", _build_uuid_type(), nullable=False),
    sa.Column("org_type", sa.Integer, nullable=False),
    sa.Column("org_code", sa.Integer, nullable=False),
    sa.Column("entity_type", sa.Integer, nullable=False),
    sa.Column("webhook_url", sa.Text, nullable=False),
    sa.Column("accepted", UtcDateTime, nullable=False),
    sa.Column("first_attempt", UtcDateTime, nullable=False),
    sa.Column("last_attempt", UtcDateTime, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("milliseconds", sa.Integer, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    # The failed attempts before the last one, without the responses.
    sa.Column("failures", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("id"),
    sa.CheckConstraint("length(hash) = 64", name="hash"),
    sa.Index("ix_receipts_system_id_last_attempt_id", "system_id", "last_attempt", "id"),
    sa.Index("ix_receipts_last_attempt_id", "last_attempt", "id"),
    # A number is never used again.
    sqlite_autoincrement=True,
)

chains = sa.Table(
    "chains",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("head", sa.Text, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
)

read_keys = sa.Table(
    "read_keys",
    metadata,
    # The SHA-256 of a party or reference whose messages were read.
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    # Null after it was destroyed.
    sa.Column("key", sa.LargeBinary),
    sa.Column("destroyed", UtcDateTime),
    sa.CheckConstraint("(key is null) = (destroyed is not null)", name="destroyed"),
    _build_partial_index("ix_read_keys_destroyed", "destroyed", where="destroyed is not null"),
)

# How much runs have removed, until the audit has the numbers.
removal_counts = sa.Table(
    "removal_counts",
    metadata,
    # The run and the rule, as the entry in the audit names them.
    sa.Column("time", UtcDateTime, primary_key=True),
    sa.Column("caller", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("detail", sa.Text, primary_key=True),
    sa.Column("removed", sa.BigInteger, nullable=False),
    sa.Column("operation", sa.Text, nullable=False, server_default="purge"),
)

audit_entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True),
    sa.Column("chain", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    # With a key of the service (decision 0032).
    sa.Column("signature", sa.Text),
    sa.Index("ix_audit_entries_chain_number", "chain", "number"),
    sa.Index("ix_audit_entries_time_id", "time", "id"),
)

"""Store idempotency keys by a hash of their text and scope, which takes less space and fewer writes.

The time of a key is that of its message, whose id begins with it. Processes of the old version store no message with a
key after this migration: the callers get 500, nothing is stored, and they repeat the request.
"""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_OLD = "idempotency_keys_by_text"

_HASH_ON_POSTGRESQL = r"""
    substring(sha256(convert_to(caller, 'UTF8') || '\x00'
        || convert_to(operation, 'UTF8') || '\x00' || convert_to(key, 'UTF8')) for 16)
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.drop_index("ix_idempotency_keys_created", "idempotency_keys")
    op.drop_index("ix_idempotency_keys_message_id", "idempotency_keys")
    op.rename_table("idempotency_keys", _OLD)
    if connection.dialect.name == "postgresql":
        op.drop_constraint("pk_idempotency_keys", _OLD)
        hashed = _HASH_ON_POSTGRESQL
    else:
        driver: Any = connection.connection.dbapi_connection
        driver.create_function("hash_key", 3, _hash_key, deterministic=True)
        hashed = "hash_key(caller, operation, key)"
    op.create_table(
        "idempotency_keys",
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_idempotency_keys"),
    )
    # One statement, so that no row passes through the memory of this process.
    connection.exec_driver_sql(f"""
        insert into idempotency_keys (hash, caller, fingerprint, message_id)
        select {hashed}, caller, fingerprint, message_id from {_OLD} order by message_id
    """)  # noqa: S608  # Made of the texts here alone.
    op.create_index("ix_idempotency_keys_message_id", "idempotency_keys", ["message_id"])
    op.drop_table(_OLD)


def downgrade() -> None:
    """Return to the old table without its rows: a hash does not give back the text of a key."""
    op.drop_table("idempotency_keys")
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "operation", "key", name="pk_idempotency_keys"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idempotency_keys_message_id", "idempotency_keys", ["message_id"])
    op.create_index("ix_idempotency_keys_created", "idempotency_keys", ["created"])


def _hash_key(caller: str, operation: str, key: str) -> bytes:
    return hashlib.sha256(f"{caller}\0{operation}\0{key}".encode()).digest()[:16]

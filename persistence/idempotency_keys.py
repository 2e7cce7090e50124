"""Idempotency keys of callers: which message each of them stands for (decision 0025)."""

from collections.abc import Sequence

import sqlalchemy as sa

from persistence.tables import idempotency_keys

_FREE = idempotency_keys.delete().where(idempotency_keys.c.message_id.in_(sa.bindparam("message_ids", expanding=True)))


def free_keys(connection: sa.Connection, message_ids: Sequence[str]) -> None:
    """Delete the keys of messages that were certainly not published, so that callers can use them again."""
    connection.execute(_FREE, {"message_ids": list(message_ids)})

"""Idempotency keys of callers: which message was created with each of them (decision 0025)."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from domain.idempotency_keys import IdempotencyKey, KeyedMessage
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import IS_UNSETTLED, IS_UNSETTLED_TRACE, idempotency_keys, publication_traces, web_messages
from persistence.work import bulk_write, short_read, short_write

EXPIRED_AT_ONCE = 500
"""Maximum keys that one transaction deletes."""


async def find(database: Database, key: IdempotencyKey) -> KeyedMessage | None:
    """Return the message that was created with a key, of whatever content, None if the key is free."""
    return await database.read(_find, key)


async def free_expired(database: Database, key: IdempotencyKey, before: datetime) -> None:
    """Delete a key that was created before a time, unless its message is in doubt."""
    await database.write(_free_expired, key, before)


async def prune_expired(database: Database, before: datetime) -> int:
    """Delete at most `EXPIRED_AT_ONCE` keys as `free_expired` does. Return their number."""
    return await database.write(_prune_expired, before)


def free_keys(connection: sa.Connection, message_ids: Sequence[str]) -> None:
    """Delete the keys of messages that were certainly not published, so that callers can use them again."""
    connection.execute(_FREE, {"message_ids": list(message_ids)})


_IS_KEY = sa.and_(
    *(column == sa.bindparam(column.name, type_=column.type) for column in idempotency_keys.primary_key.columns)
)
# A deleted message whose outcome is not known has left a trace.
_IS_SETTLED = ~sa.or_(
    sa.exists().where(web_messages.c.id == idempotency_keys.c.message_id, sa.text(IS_UNSETTLED)),
    sa.exists().where(publication_traces.c.message_id == idempotency_keys.c.message_id, sa.text(IS_UNSETTLED_TRACE)),
)
_SELECT = PreparedStatement(
    sa.select(
        idempotency_keys.c.message_id, idempotency_keys.c.fingerprint, idempotency_keys.c.created, _IS_SETTLED
    ).where(_IS_KEY)
)
_FREE = idempotency_keys.delete().where(idempotency_keys.c.message_id.in_(sa.bindparam("message_ids", expanding=True)))
_IS_EXPIRED = idempotency_keys.c.created < sa.bindparam("before", type_=idempotency_keys.c.created.type)
_FREE_EXPIRED = idempotency_keys.delete().where(_IS_KEY, _IS_EXPIRED, _IS_SETTLED)
_PRIMARY_KEY = sa.tuple_(*idempotency_keys.primary_key.columns)
_PRUNE = idempotency_keys.delete().where(
    _PRIMARY_KEY.in_(
        sa.select(*idempotency_keys.primary_key.columns)
        .where(_IS_EXPIRED, _IS_SETTLED)
        .order_by(idempotency_keys.c.created)
        .limit(EXPIRED_AT_ONCE)
    )
)


@short_read
def _find(connection: sa.Connection, key: IdempotencyKey) -> KeyedMessage | None:
    rows = _SELECT.execute(connection, caller=key.caller, operation=key.operation, key=key.key)
    if not rows:
        return None
    message_id, fingerprint, created, is_settled = rows[0]
    return KeyedMessage(message_id, bytes(fingerprint), created, bool(is_settled))


@short_write
def _free_expired(connection: sa.Connection, key: IdempotencyKey, before: datetime) -> None:
    parameters = {"caller": key.caller, "operation": key.operation, "key": key.key, "before": before}
    connection.execute(_FREE_EXPIRED, parameters)


@bulk_write
def _prune_expired(connection: sa.Connection, before: datetime) -> int:
    return connection.execute(_PRUNE, {"before": before}).rowcount

"""Idempotency keys of callers: which message was created with each of them (decision 0025)."""

from collections.abc import Sequence

import sqlalchemy as sa

from domain.idempotency_keys import IdempotencyKey, KeyedMessage
from domain.retention import Removal
from persistence import removal_counts
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import IS_UNSETTLED, IS_UNSETTLED_TRACE, idempotency_keys, publication_traces, web_messages
from persistence.work import bulk_write, long_read, short_read, short_write

EXPIRED_AT_ONCE = 500
"""Maximum keys that one transaction deletes."""


async def find(database: Database, key: IdempotencyKey) -> KeyedMessage | None:
    """Return the message that was created with a key, of whatever content, None if the key is free."""
    return await database.read(_find, key)


async def free_expired(database: Database, key: IdempotencyKey, first_id: str) -> None:
    """Delete a key whose message has a lower id than `first_id`, unless the message is in doubt."""
    await database.write(_free_expired, key, first_id)


async def prune_expired(database: Database, first_id: str, counted: Removal | None = None) -> int:
    """Delete at most `EXPIRED_AT_ONCE` keys as `free_expired` does.

    Return their number, which is added to that of `counted`.
    """
    return await database.write(_prune_expired, first_id, counted)


async def count_expired(database: Database, first_id: str) -> int:
    """Return the number of keys that `prune_expired` would delete until there are none."""
    return await database.read(_count_expired, first_id)


def free_keys(connection: sa.Connection, message_ids: Sequence[str]) -> None:
    """Delete the keys of messages that were certainly not published, so that callers can use them again."""
    connection.execute(_FREE, {"message_ids": list(message_ids)})


def forget_contents(connection: sa.Connection, message_ids: Sequence[str]) -> None:
    """Replace the hashes of contents by zeros: a repetition with the key is rejected as one with other content."""
    connection.execute(_FORGET_CONTENTS, {"message_ids": list(message_ids), "zeros": bytes(32)})


_IS_KEY = idempotency_keys.c.hash == sa.bindparam("hash")
# A deleted message whose outcome is not known has left a trace.
_IS_SETTLED = ~sa.or_(
    sa.exists().where(web_messages.c.id == idempotency_keys.c.message_id, sa.text(IS_UNSETTLED)),
    sa.exists().where(publication_traces.c.message_id == idempotency_keys.c.message_id, sa.text(IS_UNSETTLED_TRACE)),
)
_SELECT = PreparedStatement(
    sa.select(idempotency_keys.c.message_id, idempotency_keys.c.fingerprint, _IS_SETTLED).where(_IS_KEY)
)
_FREE = idempotency_keys.delete().where(idempotency_keys.c.message_id.in_(sa.bindparam("message_ids", expanding=True)))
_FORGET_CONTENTS = (
    idempotency_keys.update()
    .where(idempotency_keys.c.message_id.in_(sa.bindparam("message_ids", expanding=True)))
    .values(fingerprint=sa.bindparam("zeros"))
)
_IS_EXPIRED = idempotency_keys.c.message_id < sa.bindparam("first_id")
_FREE_EXPIRED = idempotency_keys.delete().where(_IS_KEY, _IS_EXPIRED, _IS_SETTLED)
_PRUNE = idempotency_keys.delete().where(
    idempotency_keys.c.hash.in_(
        sa.select(idempotency_keys.c.hash)
        .where(_IS_EXPIRED, _IS_SETTLED)
        .order_by(idempotency_keys.c.message_id)
        .limit(EXPIRED_AT_ONCE)
    )
)
_COUNT_EXPIRED = sa.select(sa.func.count()).select_from(idempotency_keys).where(_IS_EXPIRED, _IS_SETTLED)


@short_read
def _find(connection: sa.Connection, key: IdempotencyKey) -> KeyedMessage | None:
    rows = _SELECT.execute(connection, hash=key.hash)
    if not rows:
        return None
    message_id, fingerprint, is_settled = rows[0]
    return KeyedMessage(message_id, bytes(fingerprint), bool(is_settled))


@short_write
def _free_expired(connection: sa.Connection, key: IdempotencyKey, first_id: str) -> None:
    connection.execute(_FREE_EXPIRED, {"hash": key.hash, "first_id": first_id})


@bulk_write
def _prune_expired(connection: sa.Connection, first_id: str, counted: Removal | None) -> int:
    return removal_counts.add(connection, counted, connection.execute(_PRUNE, {"first_id": first_id}).rowcount)


@long_read
def _count_expired(connection: sa.Connection, first_id: str) -> int:
    return connection.execute(_COUNT_EXPIRED, {"first_id": first_id}).scalar_one()

"""Store API keys and find them by hash. The audit records which were created and revoked, and which expired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.api_keys import ApiKey
from domain.audit import API_KEYS, NO_CALLER, AuditEntry, ChainHead
from domain.audit_state import describe_key
from domain.errors import Conflict, NotFound
from persistence import audit
from persistence.database import Database
from persistence.tables import api_keys as table
from persistence.work import bulk_write, short_read, short_write

USE_RESOLUTION = timedelta(hours=1)
"""Minimum time between two stored uses of a key."""


async def create(database: Database, key: ApiKey, request_id: str = "-", operator: str = NO_CALLER) -> None:
    """Store a key. Raises `Conflict` if a key with the same name is not revoked."""
    try:
        await database.write(_insert, key, request_id, operator)
    except sa.exc.IntegrityError as exc:
        raise Conflict(f"a key named '{key.name}' is in use; revoke it first") from exc


async def find(database: Database, key_hash: str) -> ApiKey | None:
    """Return the key with this hash, which may have expired, or None if it is unknown or revoked."""
    return await database.read(_find, key_hash)


async def list_all(database: Database) -> list[ApiKey]:
    """Return all keys by name, including revoked and expired ones."""
    return await database.read(_list)


async def revoke(
    database: Database, name: str, now: datetime, request_id: str = "-", operator: str = NO_CALLER
) -> None:
    """Revoke the key with this name that is not revoked. Raises `NotFound` if there is none."""
    await database.write(_revoke, name, now, request_id, operator)


async def record_first(database: Database, now: datetime, request_id: str) -> None:
    """Record the keys of versions that recorded none, if no key has been recorded yet."""
    await database.write(_record_first, now, request_id)


async def record_uses(database: Database, uses: Mapping[str, datetime]) -> None:
    """Store when keys were used, by hash. A use that is at most `USE_RESOLUTION` after the stored one is ignored."""
    await database.write(_record_uses, uses)


async def record_expired(database: Database, now: datetime, request_id: str) -> int:
    """Record in the audit each key that has expired and was not revoked, once. Return their number."""
    if not await database.read(_has_unrecorded, now):
        return 0
    return await database.write(_record_expired, now, request_id)


_FIND = table.select().where(table.c.key_hash == sa.bindparam("key_hash"), table.c.revoked.is_(None))


@short_write
def _insert(connection: sa.Connection, key: ApiKey, request_id: str, operator: str) -> None:
    head = _lock_chain(connection, key.created, request_id)
    connection.execute(
        table.insert().values(
            key_hash=key.key_hash,
            name=key.name,
            scopes=list(key.scopes),
            created=key.created,
            expires=key.expires,
        )
    )
    _append(connection, head, _Recorded("created", [key], key.created, request_id, operator))


@short_read
def _find(connection: sa.Connection, key_hash: str) -> ApiKey | None:
    row = connection.execute(_FIND, {"key_hash": key_hash}).mappings().first()
    return None if row is None else _to_api_key(row)


@short_read
def _list(connection: sa.Connection) -> list[ApiKey]:
    return list_keys(connection)


def list_keys(connection: sa.Connection) -> list[ApiKey]:
    """Return all keys by name, including revoked and expired ones."""
    rows = connection.execute(table.select().order_by(table.c.name, table.c.created)).mappings()
    return [_to_api_key(row) for row in rows]


@short_write
def _revoke(connection: sa.Connection, name: str, now: datetime, request_id: str, operator: str) -> None:
    head = _lock_chain(connection, now, request_id)
    statement = table.update().where(table.c.name == name, table.c.revoked.is_(None)).values(revoked=now)
    revoked = [_to_api_key(row) for row in connection.execute(statement.returning(table)).mappings()]
    if not revoked:
        # Roll back: a chain without entries would be invalid.
        raise NotFound(f"no key named '{name}' is in use")
    _append(connection, head, _Recorded("revoked", revoked, now, request_id, operator))


@short_write
def _record_first(connection: sa.Connection, now: datetime, request_id: str) -> None:
    # A chain without entries would be invalid.
    if any(key.revoked is None for key in list_keys(connection)):
        _lock_chain(connection, now, request_id)


_RECORD_USE = (
    table.update()
    .where(
        table.c.key_hash == sa.bindparam("used_hash"),
        sa.or_(table.c.last_used.is_(None), table.c.last_used < sa.bindparam("before", type_=table.c.last_used.type)),
    )
    .values(last_used=sa.bindparam("used"))
)


@bulk_write
def _record_uses(connection: sa.Connection, uses: Mapping[str, datetime]) -> None:
    # In one order, so that two processes cannot lock each other's rows.
    connection.execute(
        _RECORD_USE,
        [{"used_hash": each, "used": uses[each], "before": uses[each] - USE_RESOLUTION} for each in sorted(uses)],
    )


def _is_unrecorded(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.expires <= now, table.c.revoked.is_(None), table.c.expiry_recorded.is_(None))


@short_read
def _has_unrecorded(connection: sa.Connection, now: datetime) -> bool:
    return connection.execute(sa.select(sa.literal(1)).where(_is_unrecorded(now)).limit(1)).first() is not None


@short_write
def _record_expired(connection: sa.Connection, now: datetime, request_id: str) -> int:
    head = _lock_chain(connection, now, request_id)
    statement = table.update().where(_is_unrecorded(now)).values(expiry_recorded=now)
    expired = [_to_api_key(row) for row in connection.execute(statement.returning(table)).mappings()]
    if expired:
        # Otherwise another process has recorded them.
        _append(connection, head, _Recorded("expired", expired, now, request_id))
    return len(expired)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The keys of an entry of the audit, and what happened to them."""

    outcome: str
    keys: Sequence[ApiKey]
    time: datetime
    request_id: str
    caller: str = NO_CALLER


def _lock_chain(connection: sa.Connection, now: datetime, request_id: str) -> ChainHead:
    """Lock the chain of keys. If it is empty, record the keys that versions without this chain have created."""
    head = audit.lock_chain(connection, API_KEYS)
    keys = [key for key in list_keys(connection) if key.revoked is None] if head.length == 0 else []
    if not keys:
        return head
    _append(connection, head, _Recorded("found", keys, now, request_id))
    return audit.lock_chain(connection, API_KEYS)


def _append(connection: sa.Connection, head: ChainHead, recorded: _Recorded) -> None:
    # Keys that are revoked or expired are not in use from now on; all others are.
    member = recorded.outcome if recorded.outcome in {"revoked", "expired"} else "created"
    entry = AuditEntry(
        chain=API_KEYS,
        kind="change",
        time=recorded.time,
        operation="api-key",
        caller=recorded.caller,
        outcome=recorded.outcome,
        request_id=recorded.request_id,
        detail={member: [describe_key(key) for key in recorded.keys]},
    )
    audit.append(connection, API_KEYS, head, [entry])


def _to_api_key(row: sa.RowMapping) -> ApiKey:
    return ApiKey(
        key_hash=row["key_hash"],
        name=row["name"],
        scopes=tuple(row["scopes"]),
        created=row["created"],
        revoked=row["revoked"],
        expires=row["expires"],
        last_used=row["last_used"],
    )

"""Store API keys and find them by hash."""

from datetime import datetime

import sqlalchemy as sa

from domain.api_keys import ApiKey
from domain.errors import Conflict, NotFound
from persistence.database import Database
from persistence.tables import api_keys as table
from persistence.work import short_read, short_write


async def create(database: Database, key: ApiKey) -> None:
    """Store a key. Raises `Conflict` if a key with the same name is not revoked."""
    try:
        await database.write(_insert, key)
    except sa.exc.IntegrityError as exc:
        raise Conflict(f"a key named '{key.name}' is in use; revoke it first") from exc


async def find(database: Database, key_hash: str) -> ApiKey | None:
    """Return the key with this hash, which may have expired, or None if it is unknown or revoked."""
    return await database.read(_find, key_hash)


async def list_all(database: Database) -> list[ApiKey]:
    """Return all keys by name, including revoked and expired ones."""
    return await database.read(_list)


async def revoke(database: Database, name: str, now: datetime) -> None:
    """Revoke the key with this name that is not revoked. Raises `NotFound` if there is none."""
    if not await database.write(_revoke, name, now):
        raise NotFound(f"no key named '{name}' is in use")


_FIND = table.select().where(table.c.key_hash == sa.bindparam("key_hash"), table.c.revoked.is_(None))


@short_write
def _insert(connection: sa.Connection, key: ApiKey) -> None:
    connection.execute(
        table.insert().values(
            key_hash=key.key_hash,
            name=key.name,
            scopes=list(key.scopes),
            created=key.created,
            expires=key.expires,
        )
    )


@short_read
def _find(connection: sa.Connection, key_hash: str) -> ApiKey | None:
    row = connection.execute(_FIND, {"key_hash": key_hash}).mappings().first()
    return None if row is None else _to_api_key(row)


@short_read
def _list(connection: sa.Connection) -> list[ApiKey]:
    return [
        _to_api_key(row)
        for row in connection.execute(table.select().order_by(table.c.name, table.c.created)).mappings()
    ]


@short_write
def _revoke(connection: sa.Connection, name: str, now: datetime) -> bool:
    statement = table.update().where(table.c.name == name, table.c.revoked.is_(None)).values(revoked=now)
    return connection.execute(statement).rowcount > 0


def _to_api_key(row: sa.RowMapping) -> ApiKey:
    return ApiKey(
        key_hash=row["key_hash"],
        name=row["name"],
        scopes=tuple(row["scopes"]),
        created=row["created"],
        revoked=row["revoked"],
        expires=row["expires"],
    )

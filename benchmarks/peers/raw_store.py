"""The database of the Python peers: sqlite3 on the event loop or asyncpg, one transaction per message."""

import os
import sqlite3
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import asyncpg

TABLES = (
    """create table if not exists web_messages (
         id uuid primary key, party_id uuid not null, message text not null, created timestamptz not null)""",
    """create table if not exists external_references (
         message_id uuid not null references web_messages (id) on delete cascade,
         key varchar(128) not null, value varchar(128) not null, primary key (key, value, message_id))""",
    "create index if not exists web_messages_party on web_messages (party_id)",
    "create index if not exists external_references_message on external_references (message_id)",
)


class Reference(Protocol):
    key: str
    value: str


class SqliteStore:
    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            self._database.execute(f"pragma {pragma}")
        for table in TABLES:
            self._database.execute(table)

    async def create(self, party_id: uuid.UUID, message: str, references: Sequence[Reference]) -> uuid.UUID:
        id_ = uuid.uuid4()
        row = (str(id_), str(party_id), message, datetime.now(UTC).isoformat())
        self._database.execute("begin immediate")
        try:
            self._database.execute("insert into web_messages values (?, ?, ?, ?)", row)
            rows = [(str(id_), item.key, item.value) for item in references]
            self._database.executemany("insert into external_references values (?, ?, ?)", rows)
        except BaseException:
            self._database.execute("rollback")
            raise
        self._database.execute("commit")
        return id_

    async def get(self, id_: uuid.UUID) -> dict[str, Any] | None:
        row = self._database.execute("select * from web_messages where id = ?", (str(id_),)).fetchone()
        return row and self._complete(row)

    async def list(self, party_id: uuid.UUID) -> list[dict[str, Any]]:
        query = "select * from web_messages where party_id = ? order by created, id"
        return [self._complete(row) for row in self._database.execute(query, (str(party_id),)).fetchall()]

    def _complete(self, row: Sequence[Any]) -> dict[str, Any]:
        query = "select key, value from external_references where message_id = ?"
        return _to_message(row, self._database.execute(query, (row[0],)).fetchall(), row[3])


class PostgresqlStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(self, party_id: uuid.UUID, message: str, references: Sequence[Reference]) -> uuid.UUID:
        id_ = uuid.uuid4()
        async with self._pool.acquire() as connection, connection.transaction():
            row = (id_, party_id, message, datetime.now(UTC))
            await connection.execute("insert into web_messages values ($1, $2, $3, $4)", *row)
            for item in references:
                insert = "insert into external_references values ($1, $2, $3)"
                await connection.execute(insert, id_, item.key, item.value)
        return id_

    async def get(self, id_: uuid.UUID) -> dict[str, Any] | None:
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow("select * from web_messages where id = $1", id_)
            return row and await self._complete(connection, row)

    async def list(self, party_id: uuid.UUID) -> list[dict[str, Any]]:
        async with self._pool.acquire() as connection:
            query = "select * from web_messages where party_id = $1 order by created, id"
            return [await self._complete(connection, row) for row in await connection.fetch(query, party_id)]

    async def _complete(self, connection: asyncpg.Connection, row: asyncpg.Record) -> dict[str, Any]:
        query = "select key, value from external_references where message_id = $1"
        return _to_message(row, await connection.fetch(query, row[0]), row[3].isoformat())


async def open_store() -> SqliteStore | PostgresqlStore:
    """Open the database that DATABASE_URL names, and create its tables."""
    url = os.environ["DATABASE_URL"]
    if url.startswith("sqlite"):
        return SqliteStore(url.removeprefix("sqlite:///"))
    pool = await asyncpg.create_pool(url, min_size=20, max_size=20)
    for table in TABLES:
        await pool.execute(table)
    return PostgresqlStore(pool)


def _to_message(row: Sequence[Any], references: Sequence[Sequence[str]], created: str) -> dict[str, Any]:
    return {
        "id": str(row[0]),
        "partyId": str(row[1]),
        "message": row[2],
        "externalReferences": [{"key": key, "value": value} for key, value in references],
        "created": created,
    }

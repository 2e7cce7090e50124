"""Read tables directly."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from domain.web_messages import Attachment
from persistence import web_messages as stored
from persistence.database import Database
from persistence.tables import metadata
from persistence.work import short_read, short_write

_COUNT = " union all ".join(f"select '{name}', count(*) from {name}" for name in metadata.tables)


async def count_rows(database: Database) -> dict[str, int]:
    """Return the number of rows of each table that has any."""

    @short_read
    def count(connection: sa.Connection) -> dict[str, int]:
        rows = connection.exec_driver_sql(_COUNT)
        return {name: number for name, number in rows if number}

    return await database.read(count)


async def read_content(database: Database, file: Attachment) -> bytes:
    """Return the content of an attachment, its chunks joined."""
    return b"".join([piece async for piece in stored.read_attachment(database, file)])


async def execute(database: Database, statement: str) -> None:
    @short_write
    def run(connection: sa.Connection) -> None:
        connection.exec_driver_sql(statement)

    await database.write(run)


def build_event_row(created: datetime, **changes: Any) -> dict[str, Any]:
    """Return an event row of the queue."""
    row = {"id": str(uuid4()), "created": created, "entity_type": 202, "content": "{}", "subscriptions": 1}
    return row | {"publisher": "tests", "request_id": "tests"} | changes


def build_delivery_row(event: dict[str, Any], system_id: str, subscription_id: int, **changes: Any) -> dict[str, Any]:
    """Return a waiting delivery row of that event."""
    row = {"id": str(uuid4()), "event_id": event["id"], "created": event["created"], "due": event["created"]}
    row |= {"system_id": system_id, "subscription_id": subscription_id, "state": "waiting", "attempts": 0}
    return row | {"key": None, "lease": None, "started": None} | changes

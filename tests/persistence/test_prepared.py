"""Prepared statements give what SQLAlchemy gives."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence import web_messages as stored
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import web_messages as table
from persistence.work import short_read
from tests.factories import build_attachment, build_web_message
from tests.handlers.messages import create_id

pytestmark = pytest.mark.anyio

CREATED = sa.bindparam("created", type_=table.c.created.type)
QUERY = sa.select(*table.c, sa.func.count().over()).where(
    table.c.id == sa.bindparam("id"), table.c.created >= CREATED, table.c.state == "stored"
)


async def test_prepared_statement_gives_the_values_that_sqlalchemy_gives(database: Database) -> None:
    message = build_web_message(id=create_id(), message="Hej å \U0001f600", attachments=(build_attachment(),))
    await stored.store(database, message)

    @short_read
    def fetch(connection: sa.Connection, **values: Any) -> tuple[list[Any], list[Any]]:
        expected = [list(row) for row in connection.execute(QUERY, values)]
        prepared = PreparedStatement(QUERY)
        assert [list(row) for row in prepared.iterate(connection, **values)] == expected
        return prepared.execute(connection, **values), expected

    begin = datetime(2000, 1, 1, tzinfo=UTC)
    found, expected = await database.read(fetch, id=message.id, created=begin)
    assert found == expected
    assert len(found) == 1
    assert await database.read(fetch, id=create_id(), created=begin) == ([], [])


async def test_prepared_statement_that_the_database_rejects_leaves_its_connection_usable(database: Database) -> None:
    query = PreparedStatement(sa.select(sa.literal_column("no_such_column")))

    @short_read
    def fetch(connection: sa.Connection) -> object:
        return query.execute(connection)

    for _ in range(30):
        with pytest.raises(StorageFailed):
            await database.read(fetch)
    await stored.count_in_doubt(database, datetime.now(UTC))

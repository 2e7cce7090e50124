"""Idempotency keys in the database."""

import pytest
import sqlalchemy as sa

from domain.web_messages import ExternalReference
from persistence import web_messages as stored
from persistence.database import Database
from persistence.idempotency_keys import free_keys
from persistence.tables import idempotency_keys
from persistence.work import short_write
from tests.factories import NOW, web_message
from tests.persistence.rows import counts

pytestmark = pytest.mark.anyio

CASE = ExternalReference("flowInstanceId", "1068")


async def put_key(database: Database, key: str, message_id: str) -> None:
    row = {"caller": "caller", "operation": "createWebMessage", "key": key, "fingerprint": b"1"}

    @short_write
    def insert(connection: sa.Connection) -> None:
        connection.execute(idempotency_keys.insert(), row | {"message_id": message_id, "created": NOW})

    await database.write(insert)


async def test_free_keys_deletes_only_the_keys_of_these_messages(database: Database) -> None:
    messages = [web_message() for _ in range(3)]
    for number, message in enumerate(messages):
        await put_key(database, str(number), message.id)
    await database.write(short_write(free_keys), [messages[0].id, messages[2].id])
    assert await counts(database) == {"idempotency_keys": 1}
    await database.write(short_write(free_keys), [])
    await database.write(short_write(free_keys), [messages[1].id])
    assert await counts(database) == {}


async def test_drop_refused_frees_the_key(database: Database) -> None:
    message = web_message(external_references=(CASE,), created=None)
    await stored.begin_sending(database, message, NOW)
    await put_key(database, "1", message.id)
    await stored.drop_refused(database, message.id)
    assert await counts(database) == {}


async def test_drop_refused_leaves_the_key_of_a_published_message(database: Database) -> None:
    message = web_message(external_references=(CASE,), created=None)
    await stored.begin_sending(database, message, NOW)
    await put_key(database, "1", message.id)
    await stored.mark_published(database, message, 1, NOW)
    await stored.drop_refused(database, message.id)
    await stored.delete(database, message.id)
    assert await counts(database) == {"idempotency_keys": 1}

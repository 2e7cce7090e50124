"""The interface of a database."""

import asyncio

import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence import web_message_lists
from persistence import web_messages as stored
from persistence.batches import MAX_BATCH
from persistence.database import Database, DatabaseUnusable, to_json
from persistence.opening import open_database
from persistence.postgresql.database import PostgresqlDatabase
from persistence.sqlite.database import SqliteDatabase
from persistence.sqlite.errors import storage_errors
from persistence.web_message_inserts import LARGE_BYTES
from persistence.work import batched_write, bulk_write, large_write, long_write, short_read, short_write
from tests.factories import PARTY_ID, build_attachment, build_web_message
from tests.persistence.rows import count_rows, execute, read_content

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "budkavle.db",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///secret.db",
        "mysql://user:secret@host/db",
        "postgresql+psycopg://user:secret@host/db",
        "http://user:secret@host/db",
        "postgresql://user:secret@host:notaport/db",
        "postgresql//user:secret@host/db",
    ],
)
def test_open_database_refuses_invalid_urls_without_repeating_them(url: str) -> None:
    with pytest.raises(DatabaseUnusable, match="BUDKAVLE_DATABASE_URL") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:///relative.db", SqliteDatabase),
        ("sqlite:////absolute/path.db", SqliteDatabase),
        ("postgresql://user:secret@host/db", PostgresqlDatabase),
        ("postgres://host/db", PostgresqlDatabase),
        ("postgresql:///db?host=/run/postgresql", PostgresqlDatabase),
    ],
)
def test_open_database_connects_on_first_use(url: str, kind: type) -> None:
    assert isinstance(open_database(url), kind)


async def test_failed_work_writes_nothing(database: Database) -> None:
    message = build_web_message(attachments=(build_attachment(),))
    await stored.store(database, message)

    def work(connection: sa.Connection, table: str) -> None:
        connection.exec_driver_sql(f"delete from {table}")
        raise LookupError(table)

    for declare in (short_write, bulk_write, large_write, long_write):
        with pytest.raises(LookupError):
            await database.write(declare(work), "web_messages")
    assert await count_rows(database) == {
        "web_messages": 1,
        "web_message_references": 1,
        "web_message_attachments": 1,
    }


async def test_write_is_visible_to_every_later_read(database: Database) -> None:
    for _ in range(5):
        message = build_web_message(attachments=(build_attachment(b"x" * (LARGE_BYTES + 1)), build_attachment()))
        await stored.store(database, message)
        assert await stored.get(database, message.id)
        for file in message.attachments:
            assert await read_content(database, file) == file.data


async def test_many_concurrent_reads_and_writes_all_end(database: Database) -> None:
    """More calls than there are connections: none waits for another for ever."""
    messages = [
        build_web_message(attachments=(build_attachment(b"x" * size),)) for size in [10] * 60 + [LARGE_BYTES + 1] * 10
    ]

    async def store_and_read(message: object) -> None:
        await stored.store(database, message)
        await stored.get(database, message.id)
        await read_content(database, message.attachments[0])

    async with asyncio.timeout(60):
        await asyncio.gather(*(store_and_read(message) for message in messages))
    assert len(await web_message_lists.list_by_party(database, PARTY_ID, 100, None)) == 70


async def test_failed_write_does_not_affect_concurrent_ones(database: Database) -> None:
    existing = build_attachment()
    await stored.store(database, build_web_message(attachments=(existing,)))
    good = [build_web_message(attachments=(build_attachment(),)) for _ in range(30)]
    bad = [build_web_message(attachments=(build_attachment(), existing)) for _ in range(5)]
    messages = [message for index, message in enumerate(good) for message in (message, *bad[index : index + 1])]
    outcomes = await asyncio.gather(*(stored.store(database, message) for message in messages), return_exceptions=True)
    refused = [message for message, outcome in zip(messages, outcomes, strict=True) if outcome is not True]
    assert refused == bad
    assert all(isinstance(outcome, sa.exc.IntegrityError) for outcome in outcomes if outcome is not True)
    found = await web_message_lists.list_by_party(database, PARTY_ID, 100, None)
    assert {message.id for message in good} <= {message.id for message in found}
    assert await count_rows(database) == {
        "web_messages": 31,
        "web_message_references": 31,
        "web_message_attachments": 31,
    }


async def test_failed_small_write_does_not_affect_its_batch(database: Database) -> None:
    existing = build_web_message()
    await stored.store(database, existing)
    good = [build_web_message() for _ in range(30)]
    messages = [message for index, message in enumerate(good) for message in (message, *[existing][index % 10 :])]
    outcomes = await asyncio.gather(*(stored.store(database, message) for message in messages), return_exceptions=True)
    refused = [message for message, outcome in zip(messages, outcomes, strict=True) if outcome is not True]
    assert refused == [existing] * 3
    assert all(isinstance(outcome, sa.exc.IntegrityError) for outcome in outcomes if outcome is not True)
    assert await count_rows(database) == {
        "web_messages": 31,
        "web_message_references": 31,
    }


async def test_waiting_small_writes_are_batched(database: Database) -> None:
    calls = []

    @batched_write
    def count(connection: sa.Connection, items: list[int]) -> list[int]:
        calls.append(list(items))
        connection.execute(sa.text("select 1"))
        return items

    results = await asyncio.gather(*(database.write(count, number) for number in range(40)))
    assert results == list(range(40))
    assert [number for items in calls for number in items] == list(range(40))
    assert max(map(len, calls)) == MAX_BATCH
    assert len(calls) <= 40 // MAX_BATCH + 2


async def test_cancelled_write_does_not_affect_others(database: Database) -> None:
    messages = [build_web_message() for _ in range(10)]
    writes = [asyncio.create_task(stored.store(database, message)) for message in messages]
    await asyncio.sleep(0)
    writes[3].cancel()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [outcome for index, outcome in enumerate(outcomes) if index != 3] == [True] * 9
    await stored.store(database, build_web_message())
    found = {message.id for message in await web_message_lists.list_by_party(database, PARTY_ID, 100, None)}
    assert {message.id for index, message in enumerate(messages) if index != 3} <= found


async def test_large_write_gets_its_turn_among_endless_small_ones(database: Database) -> None:
    is_stored = False

    async def keep_storing() -> None:
        while not is_stored:
            await stored.store(database, build_web_message())

    small = [asyncio.create_task(keep_storing()) for _ in range(20)]
    for _ in range(20):
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            await stored.store(database, build_web_message(message="x" * (LARGE_BYTES + 1)))
    finally:
        is_stored = True
        await asyncio.gather(*small)


async def test_missing_tables_are_a_storage_failure(database: Database) -> None:
    await execute(database, "drop table web_message_references")
    with pytest.raises(StorageFailed):
        await stored.store(database, build_web_message())
    select = sa.text("select count(*) from web_messages")
    assert await database.read(short_read(lambda connection: connection.scalar(select))) == 0


async def test_close_may_be_first_and_repeated(database_url: str) -> None:
    database = open_database(database_url)
    await database.close()
    await database.close()


@pytest.mark.parametrize(
    "error",
    [
        sa.exc.OperationalError("select", {}, Exception()),
        sa.exc.InterfaceError("select", {}, Exception()),
        sa.exc.InternalError("select", {}, Exception()),
        sa.exc.DatabaseError("select", {}, Exception()),
        sa.exc.DBAPIError("select", {}, Exception()),
        sa.exc.TimeoutError(),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_storage_errors_translates_database_failures(error: Exception) -> None:
    with pytest.raises(StorageFailed) as caught, storage_errors():
        raise error
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("The database does not answer")


@pytest.mark.parametrize("error", [sa.exc.IntegrityError("insert", {}, Exception()), ValueError(), KeyError()])
def test_storage_errors_passes_other_errors(error: Exception) -> None:
    with pytest.raises(type(error)), storage_errors():
        raise error


def test_to_json_is_compact_and_readable() -> None:
    assert to_json([["å", 1]]) == '[["å",1]]'

"""Locks of other transactions delay only the events that need them."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from persistence import outbox
from persistence.opening import open_database
from persistence.waits import Waits
from tests.factories import NOW
from tests.persistence.catalogues import build_entry, prepare, sync
from tests.persistence.queues import build_event, build_publication, publish

pytestmark = pytest.mark.anyio

SECONDS = 5
"""Less than the lock timeout of the service."""

INSERT = "insert into events (id, created, entity_type, content, subscriptions, publisher, request_id)"


async def wait_for_locks(other: asyncpg.Connection, number: int) -> None:
    async with asyncio.timeout(SECONDS):
        while await other.fetchval("select count(*) from pg_locks where not granted") < number:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_locked_subscription_does_not_delay_later_events(url: str, other: asyncpg.Connection) -> None:
    database = open_database(url)
    await prepare(database)
    await sync(database, [build_entry()])
    async with other.transaction():
        await other.execute("select 1 from subscriptions for update")
        delayed = asyncio.create_task(publish(database))
        await wait_for_locks(other, 1)
        async with asyncio.timeout(SECONDS):
            assert (await publish(database, org_code=102)).is_new
        assert not delayed.done()
    assert (await delayed).subscriptions == 1
    await database.close()


async def test_processes_insert_the_same_events_without_a_deadlock(url: str, other: asyncpg.Connection) -> None:
    first, middle, last = (str(UUID(int=number)) for number in (1, 2, 3))
    # A deadlock would exceed the lock timeout before the server detects it.
    setting = f"alter database {await other.fetchval('select current_database()')}"
    await other.execute(f"{setting} set deadlock_timeout = 60000")
    databases = [open_database(url, Waits(lock_timeout=SECONDS)) for _ in range(2)]
    await prepare(databases[0])
    transaction = other.transaction()
    await transaction.start()
    await other.execute(f"{INSERT} values ($1, $2, 202, '', 0, 'other', 'request')", middle, NOW)
    publishing = [
        asyncio.create_task(outbox.publish(databases[0], build_publication(build_event(id=each))))
        for each in (first, middle, last)
    ]
    await wait_for_locks(other, 1)
    publishing += [
        asyncio.create_task(outbox.publish(databases[1], build_publication(build_event(id=each))))
        for each in (last, first)
    ]
    await wait_for_locks(other, 2)
    await transaction.rollback()
    results = await asyncio.gather(*publishing)
    assert sorted(result.is_new for result in results) == [False, False, True, True, True]
    for database in databases:
        await database.close()
    await other.execute(f"{setting} reset deadlock_timeout")

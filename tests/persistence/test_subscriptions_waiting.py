"""Callers of one system wait for each other, and for no other callers. On PostgreSQL, row by row."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.audit import CATALOGUE, AuditEntry
from persistence import audit, subscriptions
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits
from tests.factories import NOW, build_web_message
from tests.persistence.catalogues import CALLER, SYSTEM, SYSTEM_IDS, build_entries, prepare, set_of, sync

pytestmark = pytest.mark.anyio

MANY = 2 * (Waits().pool_size + Waits().long_pool_size)
"""More callers than connections."""


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = open_database(url)
    await prepare(opened)
    for system_id in SYSTEM_IDS:
        await sync(opened, build_entries(1), system_id)
    yield opened
    await opened.close()


async def count_waiting(connection: asyncpg.Connection) -> int:
    """Return the number of connections that wait for a lock."""
    return await connection.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )


async def wait_until_waiting(connection: asyncpg.Connection, count: int) -> None:
    async with asyncio.timeout(60):
        while await count_waiting(connection) != count:
            pass


async def hold(connection: asyncpg.Connection, chain: str) -> None:
    await connection.execute("begin")
    await connection.fetch("select 1 from chains where name = $1 for update", chain)


def build_refused_entry() -> AuditEntry:
    return AuditEntry(SYSTEM, "call", NOW, "syncWebhookAbonnementer", CALLER.name, "refused", "r-1", {"status": 400})


async def test_callers_of_a_locked_system_delay_no_others(
    database: Database, other: asyncpg.Connection, url: str
) -> None:
    watcher = await asyncpg.connect(url)
    await hold(other, SYSTEM)
    held = [asyncio.create_task(sync(database, build_entries(n))) for n in range(MANY)]
    held += [asyncio.create_task(audit.record(database, build_refused_entry())) for _ in range(MANY)]
    await wait_until_waiting(watcher, 1)
    async with asyncio.timeout(60):
        # Other callers of the system wait only for their turn.
        await asyncio.gather(*(sync(database, build_entries(3), system_id) for system_id in SYSTEM_IDS[1:]))
        await subscriptions.list_subscriptions(database, SYSTEM)
        await stored.store(database, build_web_message())
    assert await count_waiting(watcher) == 1
    assert not any(task.done() for task in held)
    await other.execute("commit")
    async with asyncio.timeout(60):
        await asyncio.gather(*held)
    found = await subscriptions.list_subscriptions(database, SYSTEM)
    assert found in [set_of(build_entries(n)) for n in range(MANY)]
    assert (await audit.verify(database))[1] is None
    await watcher.close()


async def test_changing_catalogue_and_sync_wait_for_each_other(
    database: Database, other: asyncpg.Connection, url: str
) -> None:
    watcher = await asyncpg.connect(url)
    await hold(other, CATALOGUE)
    await other.execute("delete from message_types")
    task = asyncio.create_task(sync(database, build_entries(3)))
    await wait_until_waiting(watcher, 1)
    await other.execute("commit")
    with pytest.raises(subscriptions.SyncRefused):
        await task
    await hold(other, SYSTEM)
    task = asyncio.create_task(sync(database, build_entries(1)))
    await wait_until_waiting(watcher, 1)
    # The sync has read the catalogue by now.
    with pytest.raises(asyncpg.LockNotAvailableError):
        await watcher.fetch("select 1 from chains where name = 'catalogue' for update nowait")
    await watcher.fetch("select 1 from chains where name = 'catalogue' for share nowait")
    await other.execute("commit")
    assert (await task).unchanged == 1
    await watcher.close()


async def test_cancelled_caller_leaves_no_lock(database: Database, other: asyncpg.Connection, url: str) -> None:
    watcher = await asyncpg.connect(url)
    await hold(other, SYSTEM)
    first, second = (asyncio.create_task(sync(database, build_entries(n))) for n in (2, 3))
    await wait_until_waiting(watcher, 1)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    # It left no statement that would be executed later.
    assert await count_waiting(watcher) == 0
    await other.execute("commit")
    async with asyncio.timeout(60):
        assert (await sync(database, build_entries(4))).created == 3
    await watcher.close()

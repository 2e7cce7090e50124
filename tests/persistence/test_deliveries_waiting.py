"""Lock waits while a sync removes a subscription with its deliveries. On PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from domain.deliveries import AttemptOutcome
from domain.errors import NotFound
from persistence import deliveries
from persistence.database import Database
from persistence.deliveries import TrialEvent
from persistence.opening import open_database
from persistence.queue import claims
from tests.persistence.catalogues import SYSTEM, build_entry, prepare, sync
from tests.persistence.queues import (
    build_action,
    build_event,
    build_lease,
    build_publication,
    build_settled,
    claim,
    publish,
)
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio

DELETE = "delete from subscriptions"
WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Yield a database with two parked deliveries."""
    opened = open_database(url)
    await prepare(opened)
    await sync(opened, [build_entry()])
    for _ in range(2):
        await publish(opened)
    await claims.settle(
        opened, build_lease(), [build_settled(item, AttemptOutcome.PARK) for item in await claim(opened)]
    )
    yield opened
    await opened.close()


async def list_parked(database: Database) -> list[str]:
    return [item.id for item in await deliveries.list_page(database, SYSTEM, None, 0, 10)]


async def test_replay_and_drop_skip_deliveries_that_are_being_deleted(
    database: Database, other: asyncpg.Connection
) -> None:
    ids = await list_parked(database)
    transaction = other.transaction()
    await transaction.start()
    await other.execute(DELETE)
    async with asyncio.timeout(60):
        assert await deliveries.replay(database, ids, build_action(SYSTEM)) == set()
        assert await deliveries.drop(database, ids, build_action(SYSTEM)) == set()
    await transaction.rollback()
    assert await deliveries.replay(database, ids[:1], build_action(SYSTEM)) == {ids[0]}
    assert await deliveries.drop(database, ids, build_action(SYSTEM)) == set(ids)


async def test_test_message_waits_for_the_sync_that_removes_its_subscription(
    database: Database, other: asyncpg.Connection
) -> None:
    transaction = other.transaction()
    await transaction.start()
    await other.execute(DELETE)
    trial = TrialEvent(build_publication(build_event()), SYSTEM, str(uuid4()))
    sending = asyncio.create_task(deliveries.publish_test(database, trial, build_action(SYSTEM)))
    async with asyncio.timeout(60):
        while not await other.fetchval(WAITING):
            pass
        await transaction.commit()
        with pytest.raises(NotFound):
            await sending
    assert (await count_rows(database))["events"] == 2
    assert "deliveries" not in await count_rows(database)

"""The depth of the queue, for metrics."""

import asyncio
from datetime import timedelta

import pytest

from domain.deliveries import AttemptOutcome, DeliveryState
from persistence.database import Database
from persistence.queue import claims
from persistence.queue.depth import Depth, count_dead_rows, list_depths
from persistence.sqlite.database import SqliteDatabase
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import LEASE, SECOND, build_lease, build_settled, claim, publish
from tests.persistence.rows import execute

pytestmark = pytest.mark.anyio

FIRST, SECOND_SYSTEM = SYSTEM_IDS[:2]
WAITING, PARKED = DeliveryState.WAITING, DeliveryState.PARKED
MINUTE = timedelta(minutes=1)


async def test_list_depths_returns_each_system(database: Database) -> None:
    await prepare(database)
    for system_id in (FIRST, SECOND_SYSTEM):
        await sync(database, [build_entry()], system_id)
    await publish(database)
    await publish(database, created=NOW + MINUTE)
    of_first = next(item for item in await claim(database) if item.receiver.system_id == FIRST)
    await claims.settle(database, build_lease(), [build_settled(of_first, AttemptOutcome.PARK)])
    found = {depth.system_id: depth for depth in await list_depths(database, NOW + MINUTE)}
    assert list(found) == SYSTEM_IDS
    none = dict.fromkeys(DeliveryState, 0)
    one_each, two_wait = none | {WAITING: 1, PARKED: 1}, none | {WAITING: 2}
    assert found[FIRST] == Depth(FIRST, one_each, NOW + MINUTE, 0)
    assert found[SECOND_SYSTEM] == Depth(SECOND_SYSTEM, two_wait, NOW, 0)
    assert found[SYSTEM_IDS[2]] == Depth(SYSTEM_IDS[2], none, None, 0)


async def test_list_depths_counts_deliveries_overdue_by_more_than_a_minute(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])

    async def overdue(after: timedelta) -> int:
        return (await list_depths(database, NOW + after))[0].overdue

    for _ in range(2):
        await publish(database, identification_type=1, identification="9999999901")
    assert (await overdue(MINUTE), await overdue(MINUTE + SECOND)) == (0, 2)
    (first,) = await claim(database)
    # The other one waits behind it; this one has a minute more than its lease.
    assert (await overdue(LEASE + MINUTE), await overdue(LEASE + MINUTE + SECOND)) == (0, 1)
    await claims.settle(database, build_lease(), [build_settled(first, AttemptOutcome.AGAIN, NOW + timedelta(hours=1))])
    assert await overdue(timedelta(minutes=61)) == 0


async def test_count_dead_rows_counts_rows_that_left_the_queue(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    await publish(database)
    (claimed,) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(claimed)])
    if isinstance(database, SqliteDatabase):
        assert await count_dead_rows(database) is None
        return
    async with asyncio.timeout(60):
        # Sessions report their statistics once a second.
        while not await count_dead_rows(database):
            await execute(database, "select pg_sleep(0.2)")

"""No operation of the queue waits for a row that another transaction has locked. On PostgreSQL, row by row."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.deliveries import AttemptOutcome, determine_state_after
from persistence import tables
from persistence.database import Database
from persistence.opening import open_database
from persistence.queue import claims
from tests.factories import NOW
from tests.persistence.catalogues import build_entry, prepare, sync
from tests.persistence.queues import build_lease, build_settled, claim, list_rows, publish

pytestmark = pytest.mark.anyio

PERSON = {"identification_type": 1, "identification": "9999999901"}
HOLD = "select number from deliveries order by number limit 1 for update"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = open_database(url)
    await prepare(opened)
    await sync(opened, [build_entry()])
    yield opened
    await opened.close()


@pytest.mark.parametrize("outcome", list(AttemptOutcome))
async def test_settle_reports_rows_locked_by_others(
    database: Database, other: asyncpg.Connection, outcome: AttemptOutcome
) -> None:
    await publish(database)
    await publish(database)
    first, second = await claim(database)
    await other.execute("begin")
    await other.execute(HOLD)
    results = [build_settled(item, outcome, NOW) for item in (first, second)]
    async with asyncio.timeout(30):
        assert await claims.settle(database, build_lease(), results) == {first.number}
        await other.execute("rollback")
        assert await claims.settle(database, build_lease(), results) == set()
    left = await list_rows(database, tables.deliveries)
    assert [row["attempts"] for row in left] == ([] if determine_state_after(outcome) is None else [1, 1])


async def test_claim_and_release_skip_locked_rows(database: Database, other: asyncpg.Connection) -> None:
    await publish(database)
    await publish(database)
    await other.execute("begin")
    await other.execute(HOLD)
    async with asyncio.timeout(30):
        (second,) = await claim(database)
        await other.execute("rollback")
        (first,) = await claim(database)
        await other.execute("begin")
        await other.execute(HOLD)
        assert await claims.release(database, build_lease(), [first.number, second.number]) == {first.number}
        await other.execute("rollback")
        assert await claims.release(database, build_lease(), [first.number]) == set()
        assert [item.number for item in await claim(database, "another")] == [first.number, second.number]


async def test_delivery_behind_one_that_is_being_settled_is_claimed_later(
    database: Database, other: asyncpg.Connection
) -> None:
    await publish(database, **PERSON)
    (first,) = await claim(database)
    await publish(database, **PERSON)
    await other.execute("begin")
    await other.execute("delete from deliveries where number = $1", first.number)
    async with asyncio.timeout(30):
        # Setting it aside now would leave it for ever, because the deletion of the first one cannot see it.
        assert await claim(database) == []
        await other.execute("commit")
        (second,) = await claim(database)
    assert second.number > first.number

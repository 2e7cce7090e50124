"""No order of the statements of two transactions may leave a key without a delivery that is due. On PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from domain.deliveries import Attempt, AttemptOutcome, DeliveredRequest, Reason
from persistence import deliveries, subscriptions
from persistence.opening import open_database
from persistence.queue import claims, housekeeping
from persistence.queue.claims import SettledAttempt
from persistence.subscriptions import SyncCall
from tests.factories import NOW
from tests.persistence.catalogues import CALLER, SYSTEM, build_entry, prepare, sync
from tests.persistence.interleaving import Interleaving, SteppedDatabase, Work, run_all
from tests.persistence.queues import BODY_HASH, LEASE, SECOND, build_action, build_lease, claim_due, publish
from tests.postgresql import PostgresqlServer

pytestmark = pytest.mark.anyio

DUE, LEASED, ASIDE, PARKED = "due", "leased", "aside", "parked"

LANES = {
    # The first is being sent, and the next two were set aside behind it.
    "on its way": [LEASED, ASIDE, DUE, DUE],
    # The first was parked and replayed while the second was being sent.
    "replayed": [DUE, LEASED, ASIDE, DUE],
    "parked": [PARKED, LEASED, ASIDE, DUE],
    # A worker died, and another one has since claimed the first delivery of the key.
    "two on their way": [LEASED, LEASED, ASIDE, ASIDE],
}


def _build_settled(place: int, outcome: AttemptOutcome) -> SettledAttempt:
    attempt = Attempt(1, NOW, 5, 503, Reason.HTTP, "")
    due = NOW + 10 * SECOND if outcome is AttemptOutcome.AGAIN else None
    delivered = DeliveredRequest("/webhook", BODY_HASH) if outcome is AttemptOutcome.DONE else None
    return SettledAttempt(place, outcome, attempt, due, delivered)


def _settle(places: Sequence[int], outcome: AttemptOutcome) -> Work:
    async def work(database: SteppedDatabase) -> None:
        await claims.settle(database, build_lease("holder"), [_build_settled(place, outcome) for place in places])

    return work


async def _claim(database: SteppedDatabase) -> None:
    await claim_due(database, build_lease("other"))


def _drop(*places: int) -> Work:
    async def work(database: SteppedDatabase) -> None:
        # As an erasure, without the lock of the audit that would serialise two of them.
        await database.write(deliveries.drop_stored, [_build_id(place) for place in places], NOW)

    return work


def _replay(*places: int) -> Work:
    async def work(database: SteppedDatabase) -> None:
        await deliveries.replay(database, [_build_id(place) for place in places], build_action(SYSTEM))

    return work


def _sync(*, is_rolled_back: bool) -> Work:
    async def work(database: SteppedDatabase) -> None:
        database.is_rolled_back = is_rolled_back
        try:
            await subscriptions.sync(database, SyncCall(SYSTEM, [], NOW, CALLER, "sync"))
        finally:
            database.is_rolled_back = False

    return work


async def _release(database: SteppedDatabase) -> None:
    await housekeeping.release_stuck(database, NOW)


WORKS: dict[str, Work] = {
    "claim": _claim,
    "settle 1": _settle([1], AttemptOutcome.DONE),
    "settle 2": _settle([2], AttemptOutcome.DONE),
    "park 1": _settle([1], AttemptOutcome.PARK),
    "park 2": _settle([2], AttemptOutcome.PARK),
    "fail 1": _settle([1], AttemptOutcome.AGAIN),
    "fail 2": _settle([2], AttemptOutcome.AGAIN),
    "drop 1": _drop(1),
    "drop 2": _drop(2),
    "drop 2 and 3": _drop(2, 3),
    "replay 1": _replay(1),
    "sync": _sync(is_rolled_back=False),
    "sync that fails": _sync(is_rolled_back=True),
    "release": _release,
}

PAIRS = [
    *(("on its way", "settle 1", other) for other in ("claim", "drop 2", "drop 2 and 3", "sync that fails", "release")),
    *(("on its way", "park 1", other) for other in ("claim", "drop 2", "sync that fails", "sync")),
    *(("on its way", "fail 1", other) for other in ("claim", "drop 1", "drop 2 and 3")),
    *(("on its way", "drop 1", other) for other in ("claim", "drop 2", "drop 2 and 3", "sync that fails")),
    ("on its way", "claim", "claim"),
    *(("replayed", "settle 2", other) for other in ("claim", "drop 1", "sync that fails")),
    *(("replayed", "park 2", other) for other in ("claim", "drop 1", "replay 1")),
    ("replayed", "fail 2", "claim"),
    *(("parked", "replay 1", other) for other in ("claim", "settle 2", "park 2", "fail 2", "drop 2", "drop 2 and 3")),
    *(("two on their way", "settle 1", other) for other in ("settle 2", "park 2", "fail 2", "drop 2", "claim")),
    *(("two on their way", "park 1", other) for other in ("settle 2", "park 2", "claim")),
]


def _build_id(place: int) -> str:
    return f"{place:08x}-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def url(postgresql_server: PostgresqlServer) -> str:
    return postgresql_server.create_migrated()


@pytest.fixture
async def interleaving(url: str) -> AsyncIterator[Interleaving]:
    async with Interleaving(url).open() as opened:
        yield opened


@pytest.fixture
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(url)
    yield opened
    await opened.close()


async def _prepare(url: str, connection: asyncpg.Connection) -> None:
    """Store a system with a subscription and an event, unless another test has done so."""
    if await connection.fetchval("select count(*) from systems"):
        return
    database = open_database(url)
    try:
        await prepare(database)
        await sync(database, [build_entry()])
        await publish(database)
    finally:
        await database.close()


async def _fill(connection: asyncpg.Connection, lane: Sequence[str]) -> None:
    """Store deliveries of one key, numbered from 1, on a subscription."""
    await connection.execute("delete from attempts; delete from deliveries; delete from subscriptions")
    # Each deletion by a sync locks the subscription too.
    subscription = await connection.fetchval(
        """insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time)
        values ($1, 1, 101, 202, '/a', $2) returning id""",
        SYSTEM,
        NOW,
    )
    event = await connection.fetchval("select id from events")
    rows = []
    for place, state in enumerate(lane, 1):
        due = {DUE: NOW, LEASED: NOW + LEASE, ASIDE: None, PARKED: None}[state]
        holder = "holder" if state is LEASED else None
        state_name = "parked" if state is PARKED else "waiting"
        rows.append((place, _build_id(place), event, subscription, SYSTEM, "key", state_name, NOW, due, holder, 0))
    await connection.executemany(
        """insert into deliveries
        (number, id, event_id, subscription_id, system_id, key, state, created, due, lease, attempts)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        rows,
    )


async def _list_remaining(connection: asyncpg.Connection) -> list[Any]:
    return await connection.fetch("select number, state, due, lease from deliveries order by number")


@pytest.mark.parametrize(("lane", "first", "second"), PAIRS, ids=[": ".join(pair) for pair in PAIRS])
async def test_no_order_of_statements_leaves_a_key_without_a_due_delivery(
    interleaving: Interleaving, url: str, connection: asyncpg.Connection, lane: str, first: str, second: str
) -> None:
    await _prepare(url, connection)
    works = [WORKS[first], WORKS[second]]

    async def run(choices: Sequence[int]) -> list[int]:
        await _fill(connection, LANES[lane])
        path = await interleaving.run(works, choices)
        left = await _list_remaining(connection)
        waiting = [row for row in left if row["state"] == "waiting"]
        assert not waiting or waiting[0]["due"] is not None, (path, left)
        return path

    async with asyncio.timeout(600):
        # Each work has at least two steps.
        assert await run_all(run) >= 3

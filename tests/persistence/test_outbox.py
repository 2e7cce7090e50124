"""The outbox: an event is accepted with all its deliveries, or not at all."""

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from domain.errors import Conflict, UnknownType
from domain.events import build_order_key
from persistence import outbox, tables
from persistence.database import Database
from persistence.outbox import PublishResult
from persistence.sqlite.database import SqliteDatabase
from persistence.work import short_write
from tests.factories import NOW
from tests.persistence.catalogues import END, START, SYSTEM, SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import build_event, build_publication, list_rows, publish
from tests.persistence.rows import count_rows, execute

pytestmark = pytest.mark.anyio


async def test_publish_creates_a_delivery_for_each_matching_subscription(database: Database) -> None:
    await prepare(database)
    for system_id in SYSTEM_IDS[:3]:
        await sync(database, [build_entry(0), build_entry(1, entity_type=203), build_entry(2, org_code=102)], system_id)
    about = build_event(identification_type=1, identification="9999999901")
    published = await outbox.publish(database, build_publication(about))
    assert published == PublishResult(about.id, 3, is_new=True)
    found = await list_rows(database, tables.deliveries)
    assert {row["system_id"] for row in found} == set(SYSTEM_IDS[:3])
    assert all(row["due"] == row["created"] == NOW and row["state"] == "waiting" for row in found)
    assert {row["key"] for row in found} == {build_order_key(about)}
    assert len({row["id"] for row in found}) == 3


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (START - timedelta(milliseconds=1), 0),
        (START, 1),
        (END, 1),
        (END + timedelta(milliseconds=1), 0),
    ],
)
async def test_publish_matches_valid_subscriptions_including_both_ends(
    database: Database, moment: datetime, number: int
) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    assert (await publish(database, created=moment)).subscriptions == number


@pytest.mark.parametrize("changes", [{"org_code": 102}, {"org_type": 2}, {"entity_type": 203}])
async def test_publish_of_an_event_without_subscribers_is_accepted(database: Database, changes: dict[str, Any]) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    published = await publish(database, **changes)
    assert (published.subscriptions, published.is_new) == (0, True)
    assert (await count_rows(database)).get("deliveries", 0) == 0


async def test_publish_of_a_repeated_event_returns_the_same_and_writes_nothing(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    published = build_event(body={"b": 1, "a": [1, 2]})
    first = await outbox.publish(database, build_publication(published))
    await sync(database, [build_entry()], SYSTEM_IDS[1])
    before = await count_rows(database)
    again = replace(published, created=NOW + timedelta(days=1), body={"a": [1, 2], "b": 1})
    assert await outbox.publish(database, build_publication(again)) == replace(first, is_new=False)
    assert await count_rows(database) == before


@pytest.mark.parametrize("changes", [{"change": 2}, {"body": {}}, {"external_id": SYSTEM}, {"org_code": 102}])
async def test_publish_of_another_event_with_the_same_id_is_a_conflict(
    database: Database, changes: dict[str, Any]
) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    published = build_event()
    await outbox.publish(database, build_publication(published))
    before = await count_rows(database)
    with pytest.raises(Conflict):
        await outbox.publish(database, build_publication(replace(published, **changes)))
    assert await count_rows(database) == before


async def test_publish_refuses_an_unknown_or_ended_type(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    with pytest.raises(UnknownType):
        await publish(database, entity_type=987)
    await execute(database, "update message_types set end_date = '2026-03-01' where entity_type = 202")
    last = datetime(2026, 3, 1, 22, 59, 59, tzinfo=UTC)
    assert (await publish(database, created=last)).is_new
    with pytest.raises(UnknownType):
        await publish(database, created=last + timedelta(seconds=1))
    assert date(2026, 3, 1) == last.date()


async def test_concurrent_identical_events_are_accepted_once(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    published = build_publication(build_event())
    responses = await asyncio.gather(*(outbox.publish(database, published) for _ in range(15)))
    assert sorted(response.is_new for response in responses) == [False] * 14 + [True]
    assert {response.subscriptions for response in responses} == {1}
    found = await count_rows(database)
    assert (found["events"], found["deliveries"]) == (1, 1)


async def test_concurrent_events_get_their_own_results(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    first, second = build_event(), build_event(org_code=102)
    events = [first, second, first, replace(first, body={"other": 1}), build_event(entity_type=99), second]
    outcomes = await asyncio.gather(
        *(outbox.publish(database, build_publication(each)) for each in events), return_exceptions=True
    )
    assert outcomes[0] == PublishResult(first.id, 1, is_new=True)
    assert outcomes[1] == PublishResult(second.id, 0, is_new=True)
    assert outcomes[2] == PublishResult(first.id, 1, is_new=False)
    assert isinstance(outcomes[3], Conflict)
    assert isinstance(outcomes[4], UnknownType)
    assert outcomes[5] == PublishResult(second.id, 0, is_new=False)
    assert await count_rows(database) | {"events": 2, "deliveries": 1} == await count_rows(database)


async def test_event_of_an_unknown_type_does_not_reject_another_with_its_id(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    valid = build_event()
    outcomes = await asyncio.gather(
        *(outbox.publish(database, build_publication(each)) for each in (replace(valid, entity_type=99), valid)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], UnknownType | Conflict)
    assert outcomes[1] == PublishResult(valid.id, 1, is_new=True)


async def test_concurrent_events_are_delivered_in_the_order_of_their_arrival(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    events = [build_event(external_id=SYSTEM) for _ in range(10)]
    await asyncio.gather(*(outbox.publish(database, build_publication(each)) for each in events))
    found = sorted(await list_rows(database, tables.deliveries), key=lambda row: row["number"])
    assert [row["event_id"] for row in found] == [each.id for each in events]


async def test_events_during_syncs_neither_fail_nor_leave_orphans(database: Database) -> None:
    await prepare(database)

    async def syncs() -> None:
        for place in range(20):
            await sync(database, [build_entry()] if place % 2 else [build_entry(org_code=102)])

    async def publishes() -> None:
        for _ in range(25):
            await publish(database)

    await asyncio.gather(syncs(), *(publishes() for _ in range(4)))
    found = await count_rows(database)
    assert found["events"] == 100
    # All fanned-out deliveries belong to the subscription that exists in the end.
    current = {row["id"] for row in await list_rows(database, tables.subscriptions)}
    assert {row["subscription_id"] for row in await list_rows(database, tables.deliveries)} <= current


MANY = 3000
"""So many deliveries take the database longer than a busy machine keeps the event loop from running."""


async def subscribe_systems(database: Database, number: int) -> None:
    """Create systems with one subscription each."""
    system = {"name": "many", "base_url": "https://many.test", "webhook_secrets": [], "allow_private_addresses": False}
    ids = [str(uuid.uuid4()) for _ in range(number)]
    row = {"org_type": 1, "org_code": 101, "entity_type": 202, "webhook_url": "/a", "start_time": START}

    @short_write
    def fill(connection: sa.Connection) -> None:
        connection.execute(tables.systems.insert(), [{"id": id_, **system} for id_ in ids])
        connection.execute(tables.subscriptions.insert(), [{"system_id": id_, **row} for id_ in ids])

    await database.write(fill)


@pytest.mark.parametrize("number", [outbox.WIDE, outbox.WIDE + 1])
async def test_concurrent_events_with_many_subscribers_get_their_own_results(database: Database, number: int) -> None:
    await prepare(database)
    await subscribe_systems(database, number)
    first, second, third = build_event(), build_event(org_code=102), build_event()
    events = [first, second, first, replace(first, body={"other": 1}), build_event(entity_type=99), third]
    outcomes = await asyncio.gather(
        *(outbox.publish(database, build_publication(each)) for each in events), return_exceptions=True
    )
    assert outcomes[:3] == [
        PublishResult(first.id, number, is_new=True),
        PublishResult(second.id, 0, is_new=True),
        PublishResult(first.id, number, is_new=False),
    ]
    assert isinstance(outcomes[3], Conflict)
    assert isinstance(outcomes[4], UnknownType)
    assert outcomes[5] == PublishResult(third.id, number, is_new=True)
    assert await outbox.publish(database, build_publication(third)) == PublishResult(third.id, number, is_new=False)
    found = await list_rows(database, tables.deliveries)
    assert Counter(row["event_id"] for row in found) == {first.id: number, third.id: number}


async def test_event_that_cannot_be_stored_fails_alone(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    events = [build_event(), build_event(version="\ud800"), build_event()]
    outcomes = await asyncio.gather(
        *(outbox.publish(database, build_publication(each)) for each in events), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if isinstance(outcome, PublishResult)] == [
        PublishResult(each.id, 1, is_new=True) for each in (events[0], events[2])
    ]
    assert isinstance(outcomes[1], Exception)
    assert {row["event_id"] for row in await list_rows(database, tables.deliveries)} == {events[0].id, events[2].id}


async def test_ids_of_deliveries_on_sqlite_begin_with_the_time(database: Database) -> None:
    await prepare(database)
    await subscribe_systems(database, 3)
    before = time.time_ns() // 1_000_000
    await publish(database)
    after = time.time_ns() // 1_000_000
    ids = [uuid.UUID(row["id"]) for row in await list_rows(database, tables.deliveries)]
    assert len(set(ids)) == 3
    if isinstance(database, SqliteDatabase):
        assert {(id_.version, id_.variant) for id_ in ids} == {(7, uuid.RFC_4122)}
        # SQLite rounds the time to a millisecond.
        assert all(before - 1 <= id_.int >> 80 <= after + 1 for id_ in ids)


async def test_publish_to_many_subscribers_does_not_block_the_event_loop(database: Database) -> None:
    await prepare(database)
    await subscribe_systems(database, MANY)
    publishing = asyncio.create_task(outbox.publish(database, build_publication(build_event())))
    turns = 0
    while not publishing.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await publishing).subscriptions == MANY
    assert (await count_rows(database))["deliveries"] == MANY
    # Written on the loop, it takes a few turns; written in a thread, the loop turns all the time.
    assert turns > 50

"""Events for operators: bounded, gathered, claimed by one process, and dropped after a day."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from domain.deliveries import AttemptOutcome, ClaimedDelivery
from domain.operator_webhook import MAX_PARKED, OperatorEventType
from domain.subscriptions import Identity
from persistence import delivery_pauses, failing_systems, operator_events, tables
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.operator_events import GATHERING, GIVEN_UP_AFTER, PARKED_EVERY, ClaimedEvent
from persistence.queue import claims
from tests.factories import NOW
from tests.handlers.messages import create_id
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, build_entry, prepare, queue_deliveries, sync
from tests.persistence.queues import SECOND, build_lease, build_settled, claim, list_rows, publish

pytestmark = pytest.mark.anyio

OTHER = SYSTEM_IDS[1]
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FAILING, RECOVERED, PARKED, PAUSED, RESUMED = OperatorEventType


@pytest.fixture
async def filled(database: Database) -> Database:
    await prepare(database)
    await sync(database, [build_entry()])
    return database


async def park(database: Database, number: int = 1, after: timedelta = timedelta()) -> None:
    """Settle that number of deliveries as parked, each in a transaction of its own."""
    for _ in range(number):
        await publish(database, created=NOW + after)
    for item in await claim(database, now=NOW + after):
        lease = build_lease(now=NOW + after)
        await claims.settle(database, lease, [build_settled(item, AttemptOutcome.PARK)], create_id)


async def fail(database: Database, after: timedelta = timedelta()) -> int:
    """Publish a delivery and let its first attempt fail. Return its number."""
    await publish(database, created=NOW + after)
    [item] = await claim(database, now=NOW + after)
    settled = build_settled(item, AttemptOutcome.AGAIN, NOW + after + HOUR)
    await claims.settle(database, build_lease(now=NOW + after), [settled], create_id)
    return item.number


async def fail_again(database: Database, after: timedelta) -> None:
    [item] = await claim(database, now=NOW + after)
    settled = build_settled(item, AttemptOutcome.AGAIN, NOW + after)
    object.__setattr__(settled.attempt, "time", NOW + after)
    await claims.settle(database, build_lease(now=NOW + after), [settled], create_id)


async def deliver(database: Database, after: timedelta) -> None:
    await publish(database, created=NOW + after)
    [item] = await claim(database, now=NOW + after)
    settled = build_settled(item)
    object.__setattr__(settled.attempt, "time", NOW + after)
    await claims.settle(database, build_lease(now=NOW + after), [settled], create_id)


async def take(database: Database, after: timedelta = GATHERING, *, is_sent: bool = True) -> Sequence[ClaimedEvent]:
    """Claim what is due for a minute, and mark it as sent."""
    now = NOW + after
    claimed = await operator_events.claim(database, now, now + MINUTE, 10)
    for item in claimed if is_sent else ():
        await operator_events.mark_sent(database, item.event.id, now)
    return claimed


async def test_many_parked_deliveries_are_one_event(filled: Database) -> None:
    await park(filled, 5)
    assert await take(filled, GATHERING - SECOND) == []
    [item] = await take(filled)
    assert (item.event.type, item.event.system_id, item.event.created) == (PARKED, SYSTEM, NOW)
    assert (item.system_name, item.attempts) == (SYSTEM, 1)
    assert await operator_events.count_parked(filled, SYSTEM) == 5
    assert await take(filled, HOUR) == []


async def test_parked_deliveries_after_a_call_are_an_event_a_quarter_of_an_hour_later(filled: Database) -> None:
    await park(filled)
    [first] = await take(filled)
    await park(filled, 3, MINUTE)
    assert await take(filled, GATHERING + PARKED_EVERY - SECOND) == []
    [second] = await take(filled, GATHERING + PARKED_EVERY)
    assert (second.event.created, second.event.id == first.event.id) == (NOW + MINUTE, False)


async def test_parked_during_a_call_is_another_event(filled: Database) -> None:
    await park(filled)
    [first] = await take(filled, is_sent=False)
    await park(filled, 1, MINUTE)
    await operator_events.mark_sent(filled, first.event.id, NOW + MINUTE)
    assert len(await take(filled, MINUTE + PARKED_EVERY)) == 1


async def test_concurrent_workers_store_and_claim_an_event_once(filled: Database) -> None:
    for _ in range(8):
        await publish(filled)

    async def settle(item: ClaimedDelivery) -> None:
        # Another transaction may have locked the subscription.
        while await claims.settle(filled, build_lease(), [build_settled(item, AttemptOutcome.PARK)], create_id):
            pass

    await asyncio.gather(*(settle(item) for item in await claim(filled)))
    claimed = await asyncio.gather(*(take(filled, is_sent=False) for _ in range(8)))
    assert sum(map(len, claimed)) == 1


async def test_unreachable_operator_gets_no_growing_list(filled: Database) -> None:
    """Two pending events of a kind at most: one that is retried, and one that gathers what follows."""
    for minutes in range(30):
        await park(filled, 2, minutes * MINUTE)
        assert len(await take(filled, minutes * MINUTE + GATHERING, is_sent=False)) <= 1
    assert len(await list_rows(filled, tables.operator_events)) == 2


async def test_settle_without_a_webhook_stores_no_event(filled: Database) -> None:
    await publish(filled)
    settled = [build_settled(item, AttemptOutcome.PARK) for item in await claim(filled)]
    await claims.settle(filled, build_lease(), settled)
    assert await list_rows(filled, tables.operator_events) == []


async def test_claimed_event_is_due_again_at_the_end_of_its_claim(filled: Database) -> None:
    await park(filled)
    [first] = await take(filled, is_sent=False)
    assert await take(filled, GATHERING + MINUTE - SECOND) == []
    [again] = await take(filled, GATHERING + MINUTE, is_sent=False)
    assert (again.event.id, again.attempts) == (first.event.id, 2)
    await operator_events.postpone(filled, first.event.id, NOW + HOUR)
    assert await take(filled, HOUR - SECOND) == []
    assert len(await take(filled, HOUR)) == 1


async def test_prune_drops_sent_events_and_those_of_the_day_before(filled: Database) -> None:
    await park(filled)
    assert await operator_events.prune(filled, NOW + GIVEN_UP_AFTER) == 0
    assert await operator_events.prune(filled, NOW + GIVEN_UP_AFTER + SECOND) == 1
    await park(filled)
    await take(filled)
    assert await operator_events.prune(filled, NOW + GATHERING + PARKED_EVERY + SECOND) == 0
    assert await list_rows(filled, tables.operator_events) == []


async def test_count_parked_is_bounded(filled: Database) -> None:
    await queue_deliveries(filled, SYSTEM, MAX_PARKED + 1, state="parked", due=None)
    assert await operator_events.count_parked(filled, SYSTEM) == MAX_PARKED


async def test_system_fails_since_the_first_attempt_after_its_last_success(filled: Database) -> None:
    number = await fail(filled)
    assert await failing_systems.find_failing(filled, {SYSTEM: number}, NOW) == {SYSTEM: NOW}
    await deliver(filled, MINUTE)
    # Another worker may have delivered that, while nothing has failed since.
    assert await failing_systems.find_failing(filled, {SYSTEM: number}, NOW) == {}
    for hours in (2, 3):
        await fail_again(filled, hours * HOUR)
        assert await failing_systems.find_failing(filled, {SYSTEM: number}, NOW) == {SYSTEM: NOW + 2 * HOUR}
    assert await failing_systems.find_failing(filled, {SYSTEM: number + 2}, NOW) == {}


@pytest.mark.parametrize("identity", [None, Identity(1, 101, 202)], ids=["system", "subscription"])
async def test_paused_delivery_makes_no_system_fail(filled: Database, identity: Identity | None) -> None:
    number = await fail(filled)
    await delivery_pauses.pause(filled, build_command(identity), NOW + HOUR)
    assert await failing_systems.find_failing(filled, {SYSTEM: number}, NOW) == {}
    assert await failing_systems.find_failing(filled, {SYSTEM: number}, NOW + HOUR) == {SYSTEM: NOW}


async def test_failing_and_recovered_are_reported_once_per_episode(filled: Database) -> None:
    await fail(filled)
    assert await failing_systems.report_failing(filled, {SYSTEM: NOW}, NOW, create_id) == {SYSTEM}
    assert await failing_systems.report_failing(filled, {SYSTEM: NOW}, NOW + MINUTE, create_id) == set()
    assert await failing_systems.report_recovered(filled, NOW + MINUTE, create_id) == set()
    await deliver(filled, MINUTE)
    assert await failing_systems.report_recovered(filled, NOW + 2 * MINUTE, create_id) == {SYSTEM}
    assert await failing_systems.report_recovered(filled, NOW + 2 * MINUTE, create_id) == set()
    found = [(item.event.type, item.event.created, item.event.since) for item in await take(filled, HOUR)]
    assert found == [(FAILING, NOW, NOW), (RECOVERED, NOW + 2 * MINUTE, NOW)]
    later = NOW + HOUR
    assert await failing_systems.report_failing(filled, {SYSTEM: later}, later, create_id) == {SYSTEM}


def build_command(identity: Identity | None = None, after: timedelta = timedelta()) -> Command:
    return Command(SYSTEM, identity, "operator", NOW + after, "request", create_id())


async def test_pauses_are_events(filled: Database) -> None:
    identity = Identity(1, 101, 202)
    await delivery_pauses.pause(filled, build_command(identity), NOW + HOUR)
    # The same event while it is pending, with the latest values.
    await delivery_pauses.pause(filled, build_command(identity, SECOND), NOW + 2 * HOUR)
    [paused] = await take(filled)
    assert (paused.event.type, paused.event.identity, paused.event.since) == (PAUSED, identity, NOW)
    assert (paused.event.created, paused.event.until) == (NOW + SECOND, NOW + 2 * HOUR)
    await delivery_pauses.resume(filled, build_command(identity, MINUTE))
    await delivery_pauses.pause(filled, build_command(), NOW + HOUR)
    await delivery_pauses.remove_ended(filled, NOW + 3 * HOUR, create_id)
    found = [(item.event.type, item.event.identity, item.event.created) for item in await take(filled, 3 * HOUR)]
    assert found == [(PAUSED, None, NOW), (RESUMED, identity, NOW + MINUTE), (RESUMED, None, NOW + HOUR)]

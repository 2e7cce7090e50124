"""The queue for callers and operators: pages, single deliveries, replays, drops and test messages."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.deliveries import Attempt, AttemptOutcome, DeliveryState, NotReplayed, Obstacle, QueuedDelivery, Reason
from domain.errors import NotFound
from domain.events import NO_OBJECT, write_content
from persistence import audit, deliveries, outbox, tables
from persistence.database import Database
from persistence.deliveries import TrialEvent
from persistence.queue import claims
from persistence.queue.claims import SettledAttempt
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import (
    LEASE,
    SECOND,
    build_action,
    build_event,
    build_lease,
    build_publication,
    build_settled,
    claim,
    list_rows,
    publish,
)
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio

KEYED = {"identification_type": 1, "identification": "9999999901"}


@pytest.fixture
async def subscribed(database: Database) -> Database:
    """Return two systems with the same subscription."""
    await prepare(database)
    for system_id in SYSTEM_IDS[:2]:
        await sync(database, [build_entry(webhook_url=f"/{system_id}")], system_id)
    return database


async def settle_all(database: Database, outcome: AttemptOutcome, **options: Any) -> None:
    """Claim everything that is claimable, and settle it with that result."""
    claimed = await claim(database, **options)
    due = NOW + SECOND if outcome is AttemptOutcome.AGAIN else None
    await claims.settle(database, build_lease(), [build_settled(item, outcome, due) for item in claimed])


async def replay(database: Database, ids: list[str], time: datetime = NOW) -> set[str]:
    """Replay deliveries of both systems."""
    one, other = SYSTEM_IDS[:2]
    replayed = await deliveries.replay(database, ids, build_action(one, time=time))
    return replayed | await deliveries.replay(database, ids, build_action(other, time=time))


async def list_deliveries(database: Database, **changes: Any) -> list[QueuedDelivery]:
    values = {"system_id": None, "state": None, "after": 0, "limit": 1000} | changes
    return await deliveries.list_page(database, **values)


async def list_ids(database: Database, system_id: str | None = None) -> list[str]:
    return [item.id for item in await list_deliveries(database, system_id=system_id)]


async def test_list_page_returns_each_delivery_with_its_state(subscribed: Database) -> None:
    first, second = [await publish(subscribed, **KEYED) for _ in range(2)]
    fresh = await list_deliveries(subscribed, system_id=SYSTEM)
    (item, behind) = fresh
    assert (item.event_id, behind.event_id) == (first.event_id, second.event_id)
    assert item == QueuedDelivery(
        number=item.number,
        id=item.id,
        event_id=first.event_id,
        system_id=SYSTEM,
        org_type=1,
        org_code=101,
        entity_type=202,
        webhook_url=f"/{SYSTEM}",
        state=DeliveryState.WAITING,
        attempts=0,
        created=NOW,
        due=NOW,
        is_held=False,
        reason=None,
        status=None,
    )
    assert len(item.id) == 36

    claimed = await claim(subscribed)
    item, behind = await list_deliveries(subscribed, system_id=SYSTEM)
    assert (item.is_held, item.due, behind.is_held, behind.due) == (True, build_lease().until, False, None)
    await claims.settle(
        subscribed, build_lease(), [build_settled(each, AttemptOutcome.AGAIN, NOW + SECOND) for each in claimed]
    )
    item, behind = await list_deliveries(subscribed, system_id=SYSTEM)
    assert (item.is_held, item.due, item.attempts, item.reason, item.status) == (
        False,
        NOW + SECOND,
        1,
        Reason.HTTP,
        503,
    )
    assert (item.detail, item.blocked_by, behind.detail, behind.blocked_by) == (None, None, None, item.id)


async def test_list_page_returns_failures_and_obstacles(subscribed: Database) -> None:
    for _ in range(3):
        await publish(subscribed, **KEYED)
    await publish(subscribed)
    for item in await claim(subscribed):
        attempt = Attempt(1, NOW, 20, None, Reason.SETUP, "env:NOT_SET is not set")
        await claims.settle(
            subscribed, build_lease(), [SettledAttempt(item.number, AttemptOutcome.AGAIN, attempt, NOW + SECOND)]
        )
    for system_id in SYSTEM_IDS[:2]:
        first, second, third, other = await list_deliveries(subscribed, system_id=system_id)
        assert (first.detail, first.blocked_by) == ("env:NOT_SET is not set", None)
        assert [(item.detail, item.blocked_by) for item in (second, third)] == [(None, first.id)] * 2
        assert (other.detail, other.blocked_by) == ("env:NOT_SET is not set", None)
        assert await deliveries.get(subscribed, third.id) == third


async def test_list_page_continues_after_a_removed_delivery(subscribed: Database) -> None:
    for _ in range(5):
        await publish(subscribed)
    everything = await list_deliveries(subscribed)
    assert len(everything) == 10
    assert [item.number for item in everything] == sorted(item.number for item in everything)
    seen = await list_deliveries(subscribed, limit=3)
    last = seen[-1]
    assert await deliveries.drop(subscribed, [last.id], build_action(last.system_id)) == {last.id}
    seen += await list_deliveries(subscribed, after=seen[-1].number, limit=100)
    assert seen == everything
    assert [item.system_id for item in await list_deliveries(subscribed, system_id=SYSTEM, limit=2)] == [SYSTEM] * 2


async def test_list_page_filters_by_state(subscribed: Database) -> None:
    await publish(subscribed)
    await settle_all(subscribed, AttemptOutcome.PARK)
    await publish(subscribed)
    assert [item.attempts for item in await list_deliveries(subscribed, state=DeliveryState.PARKED)] == [1, 1]
    assert [item.attempts for item in await list_deliveries(subscribed, state=DeliveryState.WAITING)] == [0, 0]
    assert {item.due for item in await list_deliveries(subscribed, state=DeliveryState.PARKED)} == {None}


async def test_get_returns_a_delivery_with_its_attempts(subscribed: Database) -> None:
    await publish(subscribed)
    await settle_all(subscribed, AttemptOutcome.AGAIN)
    await settle_all(subscribed, AttemptOutcome.PARK, now=NOW + SECOND)
    one = (await list_deliveries(subscribed))[0]
    assert await deliveries.get(subscribed, one.id) == one
    assert (one.attempts, one.status) == (2, 404)
    assert await deliveries.list_attempts(subscribed, one.number) == [
        Attempt(1, NOW, 20, 503, Reason.HTTP, "answer"),
        Attempt(2, NOW, 20, 404, Reason.HTTP, "answer"),
    ]
    with pytest.raises(NotFound):
        await deliveries.get(subscribed, str(uuid4()))


async def test_replay_sends_parked_and_waiting_deliveries_and_explains_skipped_ones(subscribed: Database) -> None:
    await publish(subscribed)
    await settle_all(subscribed, AttemptOutcome.PARK)
    await publish(subscribed)
    later = NOW + timedelta(hours=1)
    await claims.settle(
        subscribed,
        build_lease(),
        [build_settled(item, AttemptOutcome.AGAIN, later + LEASE) for item in await claim(subscribed)],
    )
    await publish(subscribed, **KEYED)
    await publish(subscribed, **KEYED)
    held = {item.id for item in await claim(subscribed, now=later)}
    assert len(held) == 2
    found = {item.id: item for item in await list_deliveries(subscribed)}
    unknown = str(uuid4())
    sent = await replay(subscribed, [*found, unknown], later)
    left = await deliveries.list_not_replayed(subscribed, found.keys() - sent | {unknown}, later)
    assert len(sent) == 4
    after = {item.id: item for item in await list_deliveries(subscribed)}
    assert {(after[id_].state, after[id_].due) for id_ in sent} == {(DeliveryState.WAITING, later)}
    assert left[unknown] == NotReplayed(unknown, Obstacle.UNKNOWN)
    assert {id_: left[id_] for id_ in held} == {
        id_: NotReplayed(id_, Obstacle.UNDER_WAY, until=later + LEASE) for id_ in held
    }
    blocked = left.keys() - held - {unknown}
    assert {(left[id_].obstacle, left[id_].blocked_by in held) for id_ in blocked} == {(Obstacle.BLOCKED, True)}
    assert len(blocked) == 2
    assert {row["urgency"] for row in await list_rows(subscribed, tables.deliveries) if row["id"] in sent} == {1}
    # Only once: the next attempt is an ordinary one.
    claimed = await claim(subscribed, now=later)
    await claims.settle(
        subscribed, build_lease(), [build_settled(item, AttemptOutcome.AGAIN, later) for item in claimed]
    )
    assert {row["urgency"] for row in await list_rows(subscribed, tables.deliveries)} == {None}


async def test_list_left_contains_no_delivery_of_another_system(subscribed: Database) -> None:
    await publish(subscribed)
    (id_,) = await list_ids(subscribed, SYSTEM_IDS[1])
    assert (await deliveries.list_not_replayed(subscribed, [id_], NOW, SYSTEM))[id_].obstacle is Obstacle.UNKNOWN


@pytest.mark.parametrize("change", [deliveries.replay, deliveries.drop])
async def test_change_of_a_system_does_not_change_others(subscribed: Database, change: Any) -> None:
    await publish(subscribed)
    await settle_all(subscribed, AttemptOutcome.PARK)
    own = set(await list_ids(subscribed, SYSTEM))
    assert await change(subscribed, await list_ids(subscribed), build_action(SYSTEM)) == own
    assert {item.system_id for item in await list_deliveries(subscribed, state=DeliveryState.PARKED)} == {SYSTEM_IDS[1]}


@pytest.mark.parametrize("change", [deliveries.replay, deliveries.drop])
async def test_change_is_recorded_with_its_number_unless_nothing_changed(subscribed: Database, change: Any) -> None:
    entry, unrecorded = build_action(SYSTEM, "some operation"), build_action(str(uuid4()))
    await publish(subscribed)
    await settle_all(subscribed, AttemptOutcome.PARK)
    ids = await list_ids(subscribed)
    assert len(await change(subscribed, ids, entry)) == 1
    [recorded] = await audit.list_latest(subscribed, SYSTEM, 1)
    assert (recorded.entry, recorded.detail) == (replace(entry, detail={"deliveries": 1}), '{"deliveries":1}')
    assert await change(subscribed, ids, unrecorded) == set()
    heads, broken = await audit.verify(subscribed)
    assert (unrecorded.chain in heads, broken) == (False, None)


async def test_replay_keeps_the_order(subscribed: Database) -> None:
    first = await publish(subscribed, **KEYED)
    await settle_all(subscribed, AttemptOutcome.PARK)
    second = await publish(subscribed, **KEYED)
    assert await replay(subscribed, await list_ids(subscribed))
    claimed = await claim(subscribed)
    assert {item.event_id for item in claimed} == {first.event_id}
    await claims.settle(subscribed, build_lease(), [build_settled(item) for item in claimed])
    assert {item.event_id for item in await claim(subscribed)} == {second.event_id}


async def test_drop_removes_and_unblocks_the_next(subscribed: Database) -> None:
    for _ in range(3):
        await publish(subscribed, **KEYED)
    await claim(subscribed)
    first, second, third = await list_ids(subscribed, SYSTEM)
    assert {item.due for item in await list_deliveries(subscribed, system_id=SYSTEM)} == {build_lease().until, None}
    action = build_action(SYSTEM, time=NOW + SECOND)
    assert await deliveries.drop(subscribed, [first, second, str(uuid4())], action) == {first, second}
    (left,) = await list_deliveries(subscribed, system_id=SYSTEM)
    assert (left.id, left.due) == (third, NOW + SECOND)


async def test_drop_removes_the_attempts(subscribed: Database) -> None:
    await publish(subscribed)
    await settle_all(subscribed, AttemptOutcome.PARK)
    assert (await count_rows(subscribed))["attempts"] == 2
    await deliveries.drop(subscribed, await list_ids(subscribed), build_action(SYSTEM))
    counts = await count_rows(subscribed)
    assert (counts["deliveries"], counts["attempts"]) == (1, 1)


def build_trial(**changes: Any) -> TrialEvent:
    trial = build_event(external_id=NO_OBJECT, body={"testbesked": True}, **changes)
    return TrialEvent(build_publication(trial), SYSTEM, str(uuid4()))


async def test_publish_test_queues_one_delivery_for_any_dates(subscribed: Database) -> None:
    await sync(subscribed, [build_entry(start=NOW + timedelta(days=1), end=None)])
    trial = build_trial()
    await deliveries.publish_test(subscribed, trial, build_action(SYSTEM))
    (item,) = await list_deliveries(subscribed)
    assert (item.id, item.system_id, item.due, item.state) == (trial.delivery_id, SYSTEM, NOW, DeliveryState.WAITING)
    (row,) = await list_rows(subscribed, tables.events)
    assert row["content"] == write_content(trial.publication.event)
    assert (row["subscriptions"], row["publisher"], row["request_id"]) == (1, "publisher", "request")
    (latest,) = await audit.list_latest(subscribed, SYSTEM, 1)
    assert latest.entry == build_action(SYSTEM)
    (claimed,) = await claim(subscribed)
    assert (claimed.id, claimed.event_id) == (trial.delivery_id, trial.publication.event.id)
    # The test event can be published again like any other event.
    assert not (await outbox.publish(subscribed, trial.publication)).is_new


@pytest.mark.parametrize("changes", [{"org_code": 102}, {"org_type": 2}, {"entity_type": 203}])
async def test_publish_test_requires_that_subscription(subscribed: Database, changes: dict[str, Any]) -> None:
    before = await count_rows(subscribed)
    with pytest.raises(NotFound):
        await deliveries.publish_test(subscribed, build_trial(**changes), build_action(SYSTEM))
    assert await count_rows(subscribed) == before

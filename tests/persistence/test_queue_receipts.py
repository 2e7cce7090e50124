"""Receipts of delivered deliveries on each database."""

from datetime import timedelta

import pytest

from domain.deliveries import MAX_ATTEMPTS, Attempt, AttemptOutcome, DeliveredRequest, Reason
from persistence import tables
from persistence.database import Database
from persistence.queue import claims, receipts
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, build_entry, prepare, sync
from tests.persistence.queues import BODY_HASH, LEASE, SECOND, build_lease, build_settled, claim, list_rows, publish
from tests.persistence.rows import count_rows, execute

pytestmark = pytest.mark.anyio


async def _subscribe(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])


async def test_settled_delivery_leaves_a_receipt(database: Database) -> None:
    await _subscribe(database)
    published = await publish(database, created=NOW - SECOND)
    (claimed,) = await claim(database)
    assert await claims.settle(database, build_lease(), [build_settled(claimed)]) == set()
    (receipt,) = await list_rows(database, tables.receipts)
    assert receipt == {
        "number": 1,
        "id": claimed.id,
        "event_id": published.event_id,
        "system_id": SYSTEM,
        "org_type": 1,
        "org_code": 101,
        "entity_type": 202,
        "webhook_url": claimed.webhook_url,
        "accepted": NOW - SECOND,
        "first_attempt": NOW,
        "last_attempt": NOW,
        "attempts": 1,
        "status": 200,
        "milliseconds": 20,
        "hash": BODY_HASH,
        "failures": None,
    }
    assert (await count_rows(database)).get("deliveries", 0) == 0


async def test_receipt_contains_the_first_attempt_and_the_failures_without_responses(database: Database) -> None:
    await _subscribe(database)
    await publish(database)
    number = MAX_ATTEMPTS + 3
    for place in range(number):
        (claimed,) = await claim(database)
        failed = build_settled(claimed, AttemptOutcome.AGAIN, NOW)
        await claims.settle(database, build_lease(), [failed])
        if place == 0:
            await execute(database, "update attempts set time = '2020-01-01 00:00:00.000000'")
    (claimed,) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(claimed)])
    (receipt,) = await list_rows(database, tables.receipts)
    assert (receipt["attempts"], receipt["first_attempt"].year, receipt["last_attempt"]) == (number + 1, 2020, NOW)
    assert receipt["failures"][0] == [1, "2020-01-01 00:00:00.000000", 20, 503, "http"]
    assert [failure[0] for failure in receipt["failures"]] == [1, *range(4, number + 1)]
    assert receipt["failures"][1][1] == NOW.strftime("%Y-%m-%d %H:%M:%S.%f")


@pytest.mark.parametrize("outcome", [AttemptOutcome.AGAIN, AttemptOutcome.PARK])
async def test_undelivered_delivery_has_no_receipt(database: Database, outcome: AttemptOutcome) -> None:
    await _subscribe(database)
    await publish(database)
    (claimed,) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(claimed, outcome, NOW)])
    assert await list_rows(database, tables.receipts) == []


async def test_result_of_a_lost_lease_leaves_no_receipt(database: Database) -> None:
    await _subscribe(database)
    await publish(database)
    (claimed,) = await claim(database)
    (reclaimed,) = await claim(database, "other", now=NOW + LEASE)
    await claims.settle(database, build_lease(), [build_settled(claimed)])
    assert await list_rows(database, tables.receipts) == []
    await claims.settle(database, build_lease("other"), [build_settled(reclaimed)])
    # The database may have committed a transaction whose response was lost: it is repeated.
    await claims.settle(database, build_lease("other"), [build_settled(reclaimed)])
    assert len(await list_rows(database, tables.receipts)) == 1


async def test_receipt_remains_when_the_system_is_removed(database: Database) -> None:
    await _subscribe(database)
    await publish(database)
    (claimed,) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(claimed)])
    await execute(database, "delete from systems")
    await execute(database, "delete from events")
    assert len(await list_rows(database, tables.receipts)) == 1


async def test_old_receipts_are_deleted_in_batches_oldest_first(database: Database) -> None:
    await _subscribe(database)
    for number in range(5):
        await publish(database)
        (claimed,) = await claim(database)
        await claims.settle(database, build_lease(), [build_settled(claimed)])
        old = f"'2020-01-0{5 - number} 00:00:00.000000'"
        await execute(database, f"update receipts set last_attempt = {old} where last_attempt > '2021-01-01'")
    before = NOW.replace(year=2020, month=1, day=4, hour=0, minute=0, second=0, microsecond=0)
    assert await receipts.prune_receipts(database, before, 2) == 2
    assert sorted(row["last_attempt"].day for row in await list_rows(database, tables.receipts)) == [3, 4, 5]
    assert await receipts.prune_receipts(database, before, 2) == 1
    assert await receipts.prune_receipts(database, before + timedelta(days=1), 2) == 1
    assert [row["last_attempt"].day for row in await list_rows(database, tables.receipts)] == [5]


def test_outcome_and_receipt_match() -> None:
    attempt = Attempt(1, NOW, 20, 200, Reason.HTTP, "")
    request = DeliveredRequest("/webhook", BODY_HASH)
    for outcome in AttemptOutcome:
        is_done = outcome is AttemptOutcome.DONE
        assert claims.SettledAttempt(1, outcome, attempt, delivered=request if is_done else None).outcome is outcome
        with pytest.raises(ValueError, match="accepted request"):
            claims.SettledAttempt(1, outcome, attempt, delivered=None if is_done else request)

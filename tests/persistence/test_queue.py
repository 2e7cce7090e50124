"""The queue for workers: order, leases, and results of attempts."""

import asyncio
from typing import Any

import pytest

from domain.catalogue import ClientAuthentication, TokenClient
from domain.deliveries import MAX_ATTEMPTS, AttemptOutcome
from persistence import tables
from persistence.database import Database
from persistence.queue import claims, housekeeping
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import LEASE, SECOND, build_lease, build_settled, claim, list_rows, publish
from tests.persistence.rows import count_rows, execute

pytestmark = pytest.mark.anyio

PERSON: dict[str, Any] = {"identification_type": 1, "identification": "9999999901"}


async def prepare_systems(database: Database, systems: int = 1) -> None:
    await prepare(database)
    for system_id in SYSTEM_IDS[:systems]:
        await sync(database, [build_entry()], system_id)


async def claim_numbers(database: Database, holder: str = "worker", **options: Any) -> list[int]:
    return [item.number for item in await claim(database, holder, **options)]


async def test_claim_returns_what_a_call_needs(database: Database) -> None:
    await prepare_systems(database)
    await execute(
        database,
        """update systems set webhook_secrets = '["env:B","env:A"]', allow_private_addresses = true, ca = 'file:/ca',
        client_certificate = '{"certificate":"file:/c","key":"file:/k"}', headers = '{"X-Api-Key":"env:C"}',
        oauth2 = '{"token_url":"https://t","client_id":"i","client_secret":"env:D","scope":null,"audience":null,
        "resource":null,"authentication":"client_secret_post"}'""",
    )
    published = await publish(database, **PERSON, body={"a": 1})
    (claimed,) = await claim(database)
    (row,) = await list_rows(database, tables.deliveries)
    assert (claimed.number, claimed.id, claimed.event_id) == (row["number"], row["id"], published.event_id)
    assert (claimed.webhook_url, claimed.entity_name, claimed.created, claimed.attempts) == ("/a", "A", NOW, 0)
    receiver = claimed.receiver
    assert (receiver.system_id, receiver.base_url) == (SYSTEM, "https://receiver.example")
    assert receiver.webhook_secrets == ("env:B", "env:A")
    assert (receiver.allow_private_addresses, receiver.ca) == (True, "file:/ca")
    assert (receiver.certificate, receiver.key) == ("file:/c", "file:/k")
    assert receiver.headers == (("X-Api-Key", "env:C"),)
    assert receiver.oauth2 == TokenClient("https://t", "i", "env:D", authentication=ClientAuthentication.POST)
    assert '"body":{"a":1}' in claimed.content


async def test_claimed_delivery_is_exclusive_until_the_lease_ends(database: Database) -> None:
    await prepare_systems(database)
    await publish(database)
    assert len(await claim_numbers(database)) == 1
    assert await claim_numbers(database, "other") == []
    assert await claim_numbers(database, "other", now=NOW + LEASE - SECOND) == []
    assert len(await claim_numbers(database, "other", now=NOW + LEASE)) == 1
    # The first holder has lost the delivery.
    await claims.release(database, build_lease(), [1])
    assert await claim_numbers(database, "third", now=NOW + LEASE) == []


async def test_concurrent_claims_are_disjoint(database: Database) -> None:
    await prepare_systems(database, 3)
    for _ in range(20):
        await publish(database)
    found = await asyncio.gather(*(claim_numbers(database, str(place), most=10) for place in range(8)))
    claimed = [number for part in found for number in part]
    assert len(claimed) == len(set(claimed))
    assert len(claimed) + len(await claim_numbers(database)) == 60


async def test_claim_respects_its_limit(database: Database) -> None:
    await prepare_systems(database, 4)
    for _ in range(5):
        await publish(database)
    room = dict(zip(SYSTEM_IDS, (0, 1, 3, 3), strict=False))
    found = [item.receiver.system_id for item in await claim(database, most=9, of=room)]
    assert {id_: found.count(id_) for id_ in SYSTEM_IDS[:4]} == room
    assert len(await claim(database, most=2)) == 2
    assert await claim(database, most=5, of={}) == []


async def test_one_delivery_per_key_is_sent_at_a_time_in_order(database: Database) -> None:
    await prepare_systems(database)
    for _ in range(3):
        await publish(database, **PERSON)
    order = []
    for _ in range(3):
        (claimed,) = await claim(database)
        assert await claim(database, "other") == []
        order.append(claimed.number)
        assert await claims.settle(database, build_lease(), [build_settled(claimed)]) == set()
    assert order == sorted(order)
    assert await claim(database) == []
    assert (await count_rows(database)).get("deliveries", 0) == 0


async def test_events_without_a_key_and_of_other_subscriptions_are_concurrent(database: Database) -> None:
    await prepare_systems(database, 2)
    await publish(database, **PERSON)
    await publish(database)
    await publish(database)
    assert len(await claim(database)) == 6


async def test_retried_delivery_blocks_only_its_key(database: Database) -> None:
    await prepare_systems(database)
    for _ in range(3):
        await publish(database, **PERSON)
    await publish(database, identification_type=1, identification="9999999902")
    first, other = await claim(database)
    later = NOW + 10 * SECOND
    await claims.settle(
        database, build_lease(), [build_settled(first, AttemptOutcome.AGAIN, later), build_settled(other)]
    )
    assert await claim(database, now=later - SECOND) == []
    (again,) = await claim(database, now=later)
    assert (again.number, again.attempts) == (first.number, 1)
    await claims.settle(database, build_lease(now=later), [build_settled(again)])
    (second,) = await claim(database, now=later)
    assert second.number > first.number


async def test_parked_delivery_unblocks_the_next_of_its_key(database: Database) -> None:
    await prepare_systems(database)
    await publish(database, **PERSON)
    await publish(database, **PERSON)
    (first,) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(first, AttemptOutcome.PARK)])
    (second,) = await claim(database)
    assert second.number > first.number
    parked, _ = await list_rows(database, tables.deliveries)
    assert (parked["state"], parked["due"], parked["lease"], parked["attempts"]) == ("parked", None, None, 1)


async def test_replayed_delivery_waits_only_for_a_running_one_of_its_key(database: Database) -> None:
    await prepare_systems(database)
    for _ in range(3):
        await publish(database, **PERSON)
    (first,) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(first, AttemptOutcome.PARK)])
    (second,) = await claim(database)
    await execute(database, f"update deliveries set state = 'waiting', due = created where number = {first.number}")
    assert await claim(database) == []
    await claims.settle(database, build_lease(), [build_settled(second)])
    (replayed,) = await claim(database)
    assert replayed.number == first.number


async def test_blocked_deliveries_of_a_key_are_not_scanned_again(database: Database) -> None:
    await prepare_systems(database, 2)
    for _ in range(150):
        await publish(database, **PERSON)
    seen = []
    for _ in range(12):
        seen += await claim(database, most=10, of=dict.fromkeys(SYSTEM_IDS, 2))
    assert len(seen) == 2
    waiting = [row for row in await list_rows(database, tables.deliveries) if row["due"] is not None]
    assert {row["number"] for row in waiting} == {item.number for item in seen}


async def test_stuck_deliveries_are_released(database: Database) -> None:
    await prepare_systems(database)
    for _ in range(3):
        await publish(database, **PERSON)
    await execute(database, "update deliveries set due = null")
    assert await claim(database) == []
    assert await housekeeping.release_stuck(database, NOW) == 1
    assert len(await claim(database)) == 1
    assert await housekeeping.release_stuck(database, NOW) == 0


async def test_settle_drops_results_of_deleted_deliveries(database: Database) -> None:
    await prepare_systems(database)
    await publish(database)
    await publish(database)
    first, second = await claim(database)
    await sync(database, [])
    results = [build_settled(first), build_settled(second, AttemptOutcome.AGAIN, NOW)]
    assert await claims.settle(database, build_lease(), results) == set()
    assert (await count_rows(database)).get("attempts", 0) == 0


@pytest.mark.parametrize("outcome", list(AttemptOutcome))
async def test_result_of_a_lost_lease_is_dropped(database: Database, outcome: AttemptOutcome) -> None:
    await prepare_systems(database)
    await publish(database)
    (claimed,) = await claim(database)
    (reclaimed,) = await claim(database, "other", now=NOW + LEASE)
    assert await claims.settle(database, build_lease(), [build_settled(claimed, outcome, NOW)]) == set()
    (row,) = await list_rows(database, tables.deliveries)
    assert (row["state"], row["lease"], row["attempts"]) == ("waiting", "other", 0)
    await claims.settle(database, build_lease("other"), [build_settled(reclaimed)])
    assert (await count_rows(database)).get("deliveries", 0) == 0


async def test_first_and_latest_attempts_are_kept(database: Database) -> None:
    await prepare_systems(database)
    await publish(database)
    for _ in range(MAX_ATTEMPTS + 3):
        (claimed,) = await claim(database)
        await claims.settle(database, build_lease(), [build_settled(claimed, AttemptOutcome.AGAIN, NOW)])
    attempts = await list_rows(database, tables.attempts)
    assert [row["number"] for row in attempts] == [1, *range(4, MAX_ATTEMPTS + 4)]
    oldest = attempts[0]
    assert (oldest["status"], oldest["reason"], oldest["answer"], oldest["time"]) == (503, "http", "answer", NOW)

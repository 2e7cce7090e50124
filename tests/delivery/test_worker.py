"""The worker, with real receivers and on each database."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from delivery.calls import Calls
from delivery.worker import Limits, Worker
from domain.deliveries import Reason
from persistence import subscriptions, tables
from persistence.database import Database
from persistence.subscriptions import Sync
from tests.delivery.receiving import OK, Recorder, at
from tests.factories import NOW
from tests.open_e.peers import Peer, answer, read_request
from tests.persistence.catalogues import CALLER, SYSTEM, SYSTEM_IDS, entry, prepare, sync
from tests.persistence.queues import publish, rows
from tests.persistence.rows import counts

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
LIMITS = Limits(concurrency=50, receiver_concurrency=20)
PERSON: dict[str, Any] = {"identification_type": 1, "identification": "0101010101"}
StartPeer = Callable[[Any], Peer]


async def subscribe(database: Database, *bases: str) -> None:
    """Systems with these base URLs, each with one subscription."""
    await prepare(database)

    def place(connection: sa.Connection) -> None:
        for system_id, base in zip(SYSTEM_IDS, bases, strict=False):
            change = tables.systems.update().where(tables.systems.c.id == system_id)
            connection.execute(change.values(base_url=base, allow_private_addresses=True))

    await database.write(place)
    for system_id, _ in zip(SYSTEM_IDS, bases, strict=False):
        await sync(database, [entry()], system_id)


@asynccontextmanager
async def working(
    database: Database, holder: str = "worker", now: datetime = NOW, limits: Limits = LIMITS, **options: Any
) -> AsyncIterator[Worker]:
    calls = Calls(**options)
    worker = Worker(database, calls, limits, holder=holder, now=lambda: now, chance=lambda: 0.5)
    try:
        yield worker
    finally:
        await calls.close()


async def work(database: Database, now: datetime = NOW) -> int:
    """Delivers what is due then; returns how many attempts there were."""
    async with working(database, now=now) as worker:
        attempts = 0
        while started := await worker.run_once(now):
            attempts += started
            await worker.finish()
        return attempts


async def deliveries(database: Database) -> list[Any]:
    return await rows(database, tables.deliveries)


async def test_what_arrives_is_gone_from_the_queue(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, at(peer(recorder)))
    for _ in range(3):
        await publish(database)
    ids = {row["id"] for row in await deliveries(database)}
    assert await work(database) == 3
    assert len(recorder.requests) == 3
    assert {recorder.headers(index)["webhook-id"] for index in range(3)} == ids
    assert (await counts(database)).get("deliveries", 0) == 0


async def test_what_fails_comes_again_when_the_formula_says(database: Database, peer: StartPeer) -> None:
    recorder = Recorder(answer(b"not now", "503 Busy"))
    await subscribe(database, at(peer(recorder)))
    await publish(database)
    now = NOW
    for number, wait in enumerate((1, 3, 7, 15), 1):
        assert await work(database, now) == 1
        (row,) = await deliveries(database)
        now += wait * SECOND
        assert (row["attempts"], row["due"], row["lease"], row["state"]) == (number, now, None, "waiting")
        assert await work(database, now - timedelta(milliseconds=1)) == 0
    kept = await rows(database, tables.attempts)
    assert [(item["number"], item["status"], item["reason"], item["answer"]) for item in kept] == [
        (number, 503, "http", "not now") for number in range(1, 5)
    ]
    assert kept[1]["time"] == NOW + SECOND
    assert len(recorder.requests) == 4


async def test_a_receiver_that_asks_for_it_is_left_alone_for_longer(database: Database, peer: StartPeer) -> None:
    said = answer(b"", "429 Slow down", "Retry-After: 120\r\n")
    await subscribe(database, at(peer(Recorder(said))))
    await publish(database)
    await work(database)
    (row,) = await deliveries(database)
    assert row["due"] == NOW + 120 * SECOND


async def test_what_is_refused_is_parked_and_the_next_of_its_key_goes(database: Database, peer: StartPeer) -> None:
    recorder = Recorder(answer(b"unknown", "404 Not Found"))
    await subscribe(database, at(peer(recorder)))
    await publish(database, **PERSON)
    await publish(database, **PERSON)
    assert await work(database) == 2
    parked = await deliveries(database)
    assert [(row["state"], row["due"]) for row in parked] == [("parked", None)] * 2
    assert await work(database, NOW + timedelta(days=1)) == 0


async def test_an_address_that_may_not_be_called_is_parked(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, at(peer(recorder)))
    await database.write(lambda c: c.execute(tables.systems.update().values(allow_private_addresses=False)))
    await publish(database)
    assert await work(database) == 1
    (row,) = await deliveries(database)
    (attempt,) = await rows(database, tables.attempts)
    assert (row["state"], attempt["reason"], attempt["status"]) == ("parked", Reason.ADDRESS, None)
    assert recorder.requests == []


async def test_a_receiver_that_is_not_there_is_tried_again(database: Database, peer: StartPeer) -> None:
    server = peer(Recorder())
    server.close()
    await subscribe(database, at(server))
    await publish(database)
    await work(database)
    (row,) = await deliveries(database)
    (attempt,) = await rows(database, tables.attempts)
    assert (row["state"], row["due"], attempt["reason"]) == ("waiting", NOW + SECOND, Reason.CONNECT)


async def test_events_of_one_key_arrive_in_their_order_whatever_fails(database: Database, peer: StartPeer) -> None:
    seen: list[str] = []

    def serve(connection: Any, _: int) -> None:
        while True:
            _, body = read_request(connection)
            version = body.decode().partition('"versionIdentifier":"')[2].partition('"')[0]
            seen.append(version)
            # Each second attempt is taken.
            connection.sendall(OK if seen.count(version) == 2 else answer(b"", "500 Oh"))

    await subscribe(database, at(peer(serve)))
    for number in range(4):
        await publish(database, version=str(number), **PERSON)
    for place in range(10):
        await work(database, NOW + 2 * place * SECOND)
    assert seen == ["0", "0", "1", "1", "2", "2", "3", "3"]


async def test_what_a_dead_worker_held_goes_to_another_when_the_lease_ends(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, at(peer(recorder)))
    await publish(database)
    async with working(database, "dead") as dead:
        # It dies before the call gets out.
        assert await dead.run_once(NOW) == 1
        dead._under_way.popitem()[1].cancel()
    assert await work(database, NOW + LIMITS.lease - SECOND) == 0
    assert await work(database, NOW + LIMITS.lease) == 1
    assert len(recorder.requests) == 1


class Held:
    """A receiver that answers nobody until it is let go."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.number = 0
        self.go = threading.Event()

    def __call__(self, connection: Any, _: int) -> None:
        while True:
            read_request(connection)
            self.number += 1
            self.came.release()
            self.go.wait(60)
            connection.sendall(OK)

    async def until(self, number: int) -> None:
        """Waits until so many more are held."""
        for _ in range(number):
            assert await asyncio.to_thread(self.came.acquire, timeout=60)


async def test_a_sync_that_drops_a_subscription_ends_its_deliveries(database: Database, peer: StartPeer) -> None:
    held = Held()
    await subscribe(database, at(peer(held)))
    await publish(database)
    event = (await deliveries(database))[0]
    copies = [{**event, "number": None, "id": f"{place:08x}-0000-4000-8000-000000000000"} for place in range(9_999)]
    for copy in copies:
        del copy["number"]
    await database.write_large(lambda c: c.execute(tables.deliveries.insert(), copies))
    async with working(database) as worker:
        running = asyncio.create_task(worker.run_forever())
        # As many as a receiver gets that is not known yet.
        await held.until(10)
        result = await subscriptions.sync(database, Sync(SYSTEM, [], NOW, CALLER, "drop"))
        assert result.dropped_messages == 10_000
        held.go.set()
        worker.stop()
        await running
    assert held.number == 10
    found = await counts(database)
    assert (found.get("deliveries", 0), found.get("attempts", 0)) == (0, 0)


async def test_a_receiver_that_does_not_answer_keeps_no_other_waiting(database: Database, peer: StartPeer) -> None:
    held, alive = Held(), Held()
    alive.go.set()
    await subscribe(database, at(peer(held)), at(peer(alive)))
    for _ in range(30):
        await publish(database)
    async with working(database) as worker:
        running = asyncio.create_task(worker.run_forever())
        await alive.until(30)
        assert held.number <= 10
        held.go.set()
        worker.stop()
        await running


async def test_stop_ends_what_is_under_way_and_leaves_the_rest(database: Database, peer: StartPeer) -> None:
    held = Held()
    await subscribe(database, at(peer(held)))
    for _ in range(12):
        await publish(database)
    async with working(database) as worker:
        running = asyncio.create_task(worker.run_forever())
        await held.until(10)
        worker.stop()
        held.go.set()
        async with asyncio.timeout(60):
            await running
    assert held.number == 10
    assert len([row for row in await deliveries(database) if row["lease"] is None]) == 2


async def test_a_receiver_that_fails_is_called_less_at_once(database: Database, peer: StartPeer) -> None:
    await subscribe(database, at(peer(Recorder(answer(b"", "500 Oh")))))
    for _ in range(30):
        await publish(database)
    async with working(database) as worker:
        started = []
        for _ in range(3):
            started.append(await worker.run_once(NOW))
            await worker.finish()
    assert started == [10, 1, 1]


class Meddling:
    """A database on which somebody else does something right before the second mark of a worker: its start."""

    def __init__(self, database: Database, meddle: Callable[[], Awaitable[Any]]) -> None:
        self._database = database
        self._meddle = meddle
        self._marks = 0

    async def mark(self, *arguments: Any) -> Any:
        self._marks += 1
        if self._marks == 2:
            await self._meddle()
        return await self._database.mark(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


async def test_what_is_deleted_after_its_claim_is_not_called(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, at(peer(recorder)))
    await publish(database)
    async with working(Meddling(database, lambda: sync(database, []))) as worker:
        assert await worker.run_once(NOW) == 0
        await worker.finish()
    assert recorder.requests == []

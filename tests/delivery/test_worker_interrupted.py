"""The worker with slow receivers, a concurrent sync, a killed worker, and a shutdown."""

import asyncio
import threading
from typing import Any

import pytest
from prometheus_client import REGISTRY

from delivery.calls import ReceiverClient
from delivery.worker import Worker
from persistence import deliveries as queued
from persistence import subscriptions, tables
from persistence.database import Database
from persistence.deliveries import TrialEvent
from persistence.subscriptions import SyncCall
from persistence.work import large_write
from tests.delivery.receiving import OK, Recorder, build_base_url
from tests.delivery.working import LIMITS, SECOND, StartPeer, deliver_due, read_deliveries, running_worker, subscribe
from tests.factories import NOW
from tests.open_e.peers import encode_response, read_request
from tests.persistence.catalogues import CALLER, SYSTEM, build_entry, sync
from tests.persistence.queues import build_action, build_event, build_publication, publish
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio


async def test_deliveries_of_a_dead_worker_are_claimed_when_the_lease_ends(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database)
    async with running_worker(database, "dead") as dead:
        # The worker is killed before the call is sent.
        assert await dead.run_once(NOW) == 1
        dead._under_way.popitem()[1].cancel()
    assert await deliver_due(database, NOW + LIMITS.lease - SECOND) == 0
    assert await deliver_due(database, NOW + LIMITS.lease) == 1
    assert len(recorder.requests) == 1


class Held:
    """A receiver that holds all calls until it is released."""

    def __init__(self) -> None:
        self.started_calls = threading.Semaphore(0)
        self.number = 0
        self.go = threading.Event()

    def __call__(self, connection: Any, _: int) -> None:
        while True:
            read_request(connection)
            self.number += 1
            self.started_calls.release()
            self.go.wait(60)
            connection.sendall(OK)

    async def until(self, number: int) -> None:
        """Wait until that number of additional calls is held."""
        for _ in range(number):
            assert await asyncio.to_thread(self.started_calls.acquire, timeout=60)


async def test_sync_that_removes_a_subscription_drops_its_deliveries(database: Database, peer: StartPeer) -> None:
    held = Held()
    await subscribe(database, build_base_url(peer(held)))
    await publish(database)
    first = (await read_deliveries(database))[0]
    copies = [
        {**first, "number": first["number"] + place, "id": f"{place:08x}-0000-4000-8000-000000000000"}
        for place in range(1, 10_000)
    ]
    await database.write(large_write(lambda c: c.execute(tables.deliveries.insert(), copies)))
    async with running_worker(database) as worker:
        running = asyncio.create_task(worker.run_forever())
        # The limit of concurrent calls of an unknown receiver.
        await held.until(10)
        result = await subscriptions.sync(database, SyncCall(SYSTEM, [], NOW, CALLER, "drop"))
        assert result.dropped_messages == 10_000
        held.go.set()
        worker.stop()
        await running
    assert held.number == 10
    found = await count_rows(database)
    assert (found.get("deliveries", 0), found.get("attempts", 0)) == (0, 0)


async def test_unresponsive_receiver_delays_no_others(database: Database, peer: StartPeer) -> None:
    held, alive = Held(), Held()
    alive.go.set()
    await subscribe(database, build_base_url(peer(held)), build_base_url(peer(alive)))
    for _ in range(30):
        await publish(database)
    async with running_worker(database) as worker:
        running = asyncio.create_task(worker.run_forever())
        await alive.until(30)
        assert held.number <= 10
        held.go.set()
        worker.stop()
        await running


async def test_stop_completes_running_deliveries_and_leaves_the_others(database: Database, peer: StartPeer) -> None:
    held = Held()
    await subscribe(database, build_base_url(peer(held)))
    for _ in range(12):
        await publish(database)
    async with running_worker(database) as worker:
        running = asyncio.create_task(worker.run_forever())
        await held.until(10)
        worker.stop()
        held.go.set()
        async with asyncio.timeout(60):
            await running
    assert held.number == 10
    assert len([row for row in await read_deliveries(database) if row["lease"] is None]) == 2


async def test_failing_receiver_gets_fewer_calls_at_once(database: Database, peer: StartPeer) -> None:
    await subscribe(database, build_base_url(peer(Recorder(encode_response(b"", "500 Oh")))))
    for _ in range(30):
        await publish(database)
    async with running_worker(database) as worker:
        started = []
        for _ in range(3):
            started.append(await worker.run_once(NOW))
            await worker.finish()
    # The target backs off after two consecutive failures.
    assert started == [10, 1, 0]


class HeldPath(Held):
    """A receiver that holds calls of `/dead` until it is released, and responds to all others."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Semaphore(0)

    def __call__(self, connection: Any, _: int) -> None:
        while True:
            head, _ = read_request(connection)
            if "/dead " in head.partition("\r\n")[0]:
                self.number += 1
                self.started_calls.release()
                self.go.wait(60)
            else:
                self.arrived.release()
            connection.sendall(OK)


async def test_unresponsive_path_delays_no_other_path_of_its_system(database: Database, peer: StartPeer) -> None:
    held = HeldPath()
    await subscribe(database, build_base_url(peer(held)))
    await sync(database, [build_entry(0, webhook_url="/dead"), build_entry(1, org_code=102, webhook_url="/ok")])
    for _ in range(200):
        await publish(database)
    async with running_worker(database, connect_timeout=100, attempt_timeout=200) as worker:
        running = asyncio.create_task(worker.run_forever())
        # No call of the dead path ends while this runs.
        await held.until(10)
        for _ in range(10):
            await publish(database, org_code=102)
            assert await asyncio.to_thread(held.arrived.acquire, timeout=60)
        assert held.number == 10
        # A test message for the dead path can still be sent.
        identity = {"org_type": 1, "org_code": 101, "entity_type": 202}
        trial = TrialEvent(build_publication(build_event(**identity)), SYSTEM, "7d6a9c1e-0000-4000-8000-000000000002")
        await queued.publish_test(database, trial, build_action(SYSTEM))
        await held.until(1)
        worker.stop()
        held.go.set()
        await running


async def test_targets_that_back_off_are_counted(database: Database, peer: StartPeer) -> None:
    recorder = Recorder(encode_response(b"", "500 Oh"))
    await subscribe(database, build_base_url(peer(recorder)))
    for _ in range(3):
        await publish(database)
    clock = [0.0]
    calls = ReceiverClient()
    worker = Worker(database, calls, LIMITS, holder="worker", now=lambda: NOW, clock=lambda: clock[0])

    def counted() -> float | None:
        return REGISTRY.get_sample_value("budkavle_delivery_targets_backing_off", {"system": SYSTEM})

    try:
        for moment in (0, 1):
            clock[0] = moment
            await worker.run_once(NOW)
            await worker.finish()
            await publish(database)
        await worker.run_once(NOW)
        assert counted() == 1
        clock[0] = 1000
        await worker.run_once(NOW)
        assert counted() == 0
        await worker.finish()
    finally:
        await calls.close()

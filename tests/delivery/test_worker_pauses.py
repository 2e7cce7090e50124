"""Workers and the pauses that operators order: nothing is attempted meanwhile, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from delivery import worker as worker_module
from delivery.calls import ReceiverClient
from delivery.worker import Worker
from domain.delivery_pauses import DeliveryPause
from persistence import deliveries as queued
from persistence import delivery_pauses
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.opening import open_database
from tests.delivery.receiving import Recorder, build_base_url
from tests.delivery.working import LIMITS, SECOND, StartPeer, deliver_due, read_deliveries, running_worker, subscribe
from tests.factories import NOW
from tests.handlers.messages import create_id
from tests.persistence.catalogues import SYSTEM
from tests.persistence.queues import build_action, publish
from tests.persistence.row_counts import Statements
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.anyio

LOOK, QUESTION = "is_listed", "select min("
"""Parts of the statements that return due deliveries and the next due time."""
HOUR = timedelta(hours=1)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    with Statements() as recorded:
        yield recorded.texts


@pytest.fixture
def never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let idle workers wait for ever, so that only a wake-up or a due time can start a delivery."""
    monkeypatch.setattr(worker_module, "IDLE_POLL_SECONDS", 3600.0)


def build_command(now: datetime | None = None) -> Command:
    return Command(SYSTEM, None, "operator", now or datetime.now(UTC), "request", create_id())


async def pause(database: Database, until: datetime | None = None, now: datetime | None = None) -> DeliveryPause:
    return await delivery_pauses.pause(database, build_command(now), until)


@asynccontextmanager
async def running(database: Database, number: int = 1) -> AsyncIterator[list[Worker]]:
    """Run workers with the clock of this machine."""
    async with AsyncExitStack() as stack:
        workers = []
        for holder in range(number):
            calls = ReceiverClient()
            stack.push_async_callback(calls.close)
            workers.append(Worker(database, calls, LIMITS, holder=str(holder), now=lambda: datetime.now(UTC)))
        works = [asyncio.create_task(worker.run_forever()) for worker in workers]
        try:
            yield workers
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.gather(*works)


async def deliver_all(database: Database) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while await read_deliveries(database):  # noqa: ASYNC110  # The database has no event.
            await asyncio.sleep(0.02)


async def test_worker_attempts_nothing_that_is_paused(database: Database, peer: StartPeer) -> None:
    """Not even a test message or a replayed delivery. The end of the pause is the time of the first attempts."""
    recorder, other = Recorder(), Recorder()
    await subscribe(database, build_base_url(peer(recorder)), build_base_url(peer(other)))
    await pause(database, NOW + HOUR, now=NOW)
    for _ in range(3):
        await publish(database)
    ids = [item.id for item in await queued.list_page(database, SYSTEM, None, 0, 10)]
    assert await queued.replay(database, ids[:1], build_action(SYSTEM)) == set(ids[:1])
    assert await deliver_due(database) == 3
    assert await deliver_due(database, NOW + HOUR - SECOND) == 0
    assert (len(recorder.requests), len(other.requests)) == (0, 3)
    assert await deliver_due(database, NOW + HOUR) == 3
    assert len(recorder.requests) == 3
    assert await read_deliveries(database) == []


async def test_running_attempts_end_during_a_pause(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database)
    async with running_worker(database) as worker:
        assert await worker.run_once(NOW) == 1
        await pause(database, now=NOW)
        await publish(database)
        await worker.finish()
        assert await worker.run_once(NOW) == 0
    assert [row["attempts"] for row in await read_deliveries(database)] == [0]
    assert len(recorder.requests) == 1


async def test_pause_while_workers_claim_loses_nothing_and_keeps_the_order(database: Database, peer: StartPeer) -> None:
    recorder, other = Recorder(), Recorder()
    await subscribe(database, build_base_url(peer(recorder)), build_base_url(peer(other)))

    async def publish_some(numbers: range) -> None:
        for number in numbers:
            person = {"identification_type": 1, "identification": f"999999990{number % 4}"}
            await publish(database, version=str(number), created=datetime.now(UTC), **person)

    async with running(database, 3) as workers:
        publishing = asyncio.create_task(publish_some(range(40)))
        await wait_until(lambda: len(recorder.requests) >= 5)
        await pause(database)
        await publishing
        number = 40
        # A worker that has seen the pause has ended the claims that it began before.
        while not all(SYSTEM in worker._memory.pauses.systems for worker in workers):
            await publish_some(range(number, number + 1))
            number += 1
            for worker in workers:
                worker.wake()
        async with asyncio.timeout(LIMIT_SECONDS):
            while any(row["lease"] for row in await read_deliveries(database)):  # noqa: ASYNC110  # The database has no event.
                await asyncio.sleep(0.02)
        during = len(recorder.requests)
        await publish_some(range(number, number + 5))
        number += 5
        for worker in workers:
            worker.wake()
        await wait_until(lambda: len(other.requests) == number)
        assert len(recorder.requests) == during
        assert {row["state"] for row in await read_deliveries(database)} == {"waiting"}
        await delivery_pauses.resume(database, build_command())
        await database.wake_workers()
        await deliver_all(database)
    bodies = [orjson.loads(body) for _, body in recorder.requests]
    versions = [(body["identifikation"], int(body["versionIdentifier"])) for body in bodies]
    assert len(versions) == len(set(versions)) == number
    for person in {person for person, _ in versions}:
        of_person = [version for each, version in versions if each == person]
        assert of_person == sorted(of_person)


async def test_worker_with_paused_deliveries_is_idle(
    database: Database, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "IDLE_POLL_SECONDS", 0.2)
    await subscribe(database, "http://127.0.0.1:9")
    await publish(database, created=datetime.now(UTC))
    await pause(database)
    async with running(database):
        await wait_until(lambda: sum(QUESTION in text for text in statements) >= 1)
        statements.clear()
        await wait_until(lambda: sum(QUESTION in text for text in statements) >= 5)
        # The listener of PostgreSQL wakes the worker once when it begins.
        assert sum(LOOK in text for text in statements) <= 2


@pytest.mark.usefixtures("never_polls")
async def test_resume_wakes_idle_workers(
    database: Database, database_url: str, peer: StartPeer, statements: list[str]
) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database, created=datetime.now(UTC) - HOUR)
    await pause(database)
    other = open_database(database_url)
    async with running(database):
        await wait_until(lambda: any(QUESTION in text for text in statements))
        assert recorder.requests == []
        await delivery_pauses.resume(other, build_command())
        await other.wake_workers()
        await deliver_all(database)
    await other.close()
    assert len(recorder.requests) == 1


@pytest.mark.usefixtures("never_polls")
async def test_idle_worker_delivers_when_a_pause_ends(
    database: Database, peer: StartPeer, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "HOUSEKEEPING_SECONDS", 0.1)
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database, created=datetime.now(UTC) - HOUR)
    until = datetime.now(UTC) + SECOND
    await pause(database, until)
    async with running(database):
        await wait_until(lambda: any(QUESTION in text for text in statements))
        assert recorder.requests == []
        await deliver_all(database)
        assert datetime.now(UTC) >= until
        async with asyncio.timeout(LIMIT_SECONDS):
            # The worker's housekeeping removes it.
            while await delivery_pauses.list_pauses(database, NOW):  # noqa: ASYNC110  # There is no event.
                await asyncio.sleep(0.01)
    assert len(recorder.requests) == 1

"""A worker without deliveries: it asks little of the database, and starts at once when a delivery becomes due."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from delivery import worker as worker_module
from delivery.calls import ReceiverClient
from delivery.worker import Limits, Worker
from persistence.database import Database
from persistence.opening import open_database
from persistence.queue.due_deliveries import FIRST_SYSTEM
from tests.delivery.receiving import Recorder, build_base_url
from tests.delivery.working import LIMITS, SECOND, StartPeer, read_deliveries, running_worker, subscribe
from tests.factories import NOW
from tests.persistence.queues import publish
from tests.persistence.row_counts import Statements
from tests.pgbouncer import pgbouncer_before
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.anyio

LOOK, QUESTION, HOUSEKEEPING = "is_listed", "select min(", "select held.number"
"""Parts of the statements that return due deliveries and the next due time, and that release blocked deliveries."""


@pytest.fixture
def statements() -> Iterator[list[str]]:
    with Statements() as recorded:
        yield recorded.texts


@pytest.fixture
def never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let idle workers wait for ever, so that only a wake-up or a due time can start a delivery."""
    monkeypatch.setattr(worker_module, "IDLE_POLL_SECONDS", 3600.0)


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Worker]:
    """Run a worker with the clock of this machine."""
    calls = ReceiverClient()
    worker = Worker(database, calls, LIMITS, holder="worker", now=lambda: datetime.now(UTC))
    work = asyncio.create_task(worker.run_forever())
    try:
        yield worker
    finally:
        worker.stop()
        await work
        await calls.close()


async def deliver_all(database: Database) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while await read_deliveries(database):  # noqa: ASYNC110  # The database has no event.
            await asyncio.sleep(0.02)


async def test_idle_worker_executes_one_statement_per_poll(
    database: Database, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "IDLE_POLL_SECONDS", 0.2)
    await subscribe(database, "http://127.0.0.1:9")
    async with running(database):
        await wait_until(lambda: sum(QUESTION in text for text in statements) >= 1)
        statements.clear()
        await wait_until(lambda: sum(QUESTION in text for text in statements) >= 5)
        # The listener of PostgreSQL wakes the worker once when it begins.
        assert sum(LOOK in text for text in statements) <= 2


async def test_worker_without_a_free_slot_looks_once(
    database: Database, peer: StartPeer, statements: list[str]
) -> None:
    await subscribe(database, build_base_url(peer(Recorder())))
    await publish(database)
    async with running_worker(database, limits=Limits(concurrency=1)) as worker:
        assert await worker.run_once(NOW) == 1
        # There are systems that the latest look has not seen.
        worker._memory.first_system = FIRST_SYSTEM
        statements.clear()
        assert await worker.run_once(NOW) == 0
        assert sum(LOOK in text for text in statements) == 1
        await worker.finish()


@pytest.mark.usefixtures("never_polls")
async def test_idle_worker_delivers_what_another_process_announces(
    database: Database, database_url: str, peer: StartPeer, statements: list[str]
) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    other = open_database(database_url)
    async with running(database):
        for _ in range(2):
            statements.clear()
            await wait_until(lambda: any(QUESTION in text for text in statements))
            await publish(other, created=datetime.now(UTC))
            other.notify_workers()
            await deliver_all(database)
    await other.close()
    assert len(recorder.requests) == 2


@pytest.mark.usefixtures("never_polls")
async def test_idle_worker_delivers_when_the_next_delivery_is_due(
    database: Database, peer: StartPeer, statements: list[str]
) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    due = datetime.now(UTC) + 2 * SECOND
    await publish(database, created=due)
    async with running(database):
        await wait_until(lambda: any(QUESTION in text for text in statements))
        assert recorder.requests == []
        await deliver_all(database)
    assert datetime.now(UTC) >= due
    assert len(recorder.requests) == 1


async def test_idle_worker_delivers_without_a_notification(
    database: Database, database_url: str, peer: StartPeer, statements: list[str]
) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    other = open_database(database_url)
    async with running(database):
        await wait_until(lambda: any(QUESTION in text for text in statements))
        await publish(other, created=datetime.now(UTC))
        await deliver_all(database)
    await other.close()
    assert len(recorder.requests) == 1


@pytest.mark.usefixtures("never_polls")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_worker_behind_a_pooler_polls(
    database_url: str, mode: str, peer: StartPeer, statements: list[str]
) -> None:
    recorder = Recorder()
    with pgbouncer_before(database_url, mode) as bouncer:
        database = open_database(bouncer.url(pooler=mode, sslmode="disable"))
        await subscribe(database, build_base_url(peer(recorder)))
        async with running(database):
            await wait_until(lambda: sum(LOOK in text for text in statements) >= 3)
            await publish(database, created=datetime.now(UTC))
            await deliver_all(database)
        await database.close()
    assert len(recorder.requests) == 1
    assert not any(QUESTION in text for text in statements)


async def test_worker_that_does_not_run_wakes_others(database: Database, database_url: str) -> None:
    """With several processes on one SQLite file, the worker of one runs, and any of them accepts events."""
    other = open_database(database_url)
    woken = asyncio.Event()
    async with asyncio.timeout(LIMIT_SECONDS), database.watch_deliveries(woken.set) as is_watched:
        await wait_until(is_watched)
        async with running(other) as worker:
            await wait_until(lambda: worker._is_polling)
        for wake in (Worker(other, ReceiverClient(), LIMITS, holder="waits", now=lambda: NOW).wake, worker.wake):
            woken.clear()
            wake()
            await woken.wait()
    await other.close()


@pytest.fixture
async def sqlite_path(tmp_path: Path, migrated_sqlite: bytes) -> Path:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    return path


def change(path: Path, statement: str) -> None:
    """Change a SQLite database, whose columns accept texts that are no times."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


async def test_idle_worker_survives_an_unreadable_due_time(
    sqlite_path: Path, peer: StartPeer, statements: list[str]
) -> None:
    database = open_database(f"sqlite:///{sqlite_path}")
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database, created=datetime.now(UTC) + 3600 * SECOND)
    change(sqlite_path, "update deliveries set due = 'unreadable'")
    async with running(database):
        await wait_until(lambda: any(QUESTION in text for text in statements))
        await publish(database, created=datetime.now(UTC))
        await wait_until(lambda: len(recorder.requests) == 1)
    await database.close()


async def test_housekeeping_survives_an_unreadable_time_of_an_event(
    sqlite_path: Path, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "HOUSEKEEPING_SECONDS", 0.01)
    database = open_database(f"sqlite:///{sqlite_path}")
    await subscribe(database, "http://127.0.0.1:9")
    await publish(database, created=datetime.now(UTC))
    change(sqlite_path, "update events set created = '1 unreadable'")
    async with running(database):
        await wait_until(lambda: sum(HOUSEKEEPING in text for text in statements) >= 3)
    await database.close()

"""Turns of the worker that fail in the database: no claimed delivery waits for the end of a lease."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain.errors import StorageFailed
from persistence.database import Database
from persistence.opening import open_database
from tests.delivery.receiving import Recorder, build_base_url
from tests.delivery.working import PERSON, SECOND, StartPeer, read_deliveries, running_worker, subscribe
from tests.factories import NOW
from tests.open_e.peers import encode_response
from tests.persistence.queues import publish
from tests.persistence.rows import count_rows
from tests.postgresql import PostgresqlServer

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 60


class Losing:
    """A database that loses some statements of the worker, or only the responses to them."""

    def __init__(self, database: Database, kind: str, fails: int, *, takes_effect: bool) -> None:
        self._database = database
        self._kind = kind
        self.fails = fails
        self._takes_effect = takes_effect

    async def _lose(self, kind: str, *arguments: Any) -> Any:
        if kind != self._kind or not self.fails:
            return await getattr(self._database, kind)(*arguments)
        self.fails -= 1
        if self._takes_effect:
            await getattr(self._database, kind)(*arguments)
        raise StorageFailed("lost")

    async def mark(self, *arguments: Any) -> Any:
        return await self._lose("mark", *arguments)

    async def write(self, *arguments: Any) -> Any:
        return await self._lose("write", *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class Silent:
    """A database that stops answering: from `begin` on, reads and writes wait until `fail`, and then fail."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_silent = False
        self._may_fail = asyncio.Event()
        self.waiting: set[str] = set()

    def begin(self) -> None:
        self._is_silent = True

    def fail(self) -> None:
        self._may_fail.set()

    async def _ask(self, kind: str, *arguments: Any) -> Any:
        if not self._is_silent:
            return await getattr(self._database, kind)(*arguments)
        self.waiting.add(kind)
        await self._may_fail.wait()
        raise StorageFailed("silent")

    async def read(self, *arguments: Any) -> Any:
        return await self._ask("read", *arguments)

    async def write(self, *arguments: Any) -> Any:
        return await self._ask("write", *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


async def test_worker_that_is_cancelled_ends_when_its_turn_fails_at_that_moment(
    database: Database, peer: StartPeer
) -> None:
    await subscribe(database, build_base_url(peer(Recorder())))
    await publish(database)
    silent: Any = Silent(database)
    async with running_worker(silent) as worker:
        assert await worker.run_once(NOW) == 1
        await asyncio.wait(worker._under_way.values())
        silent.begin()
        running = asyncio.create_task(worker.run_forever())
        async with asyncio.timeout(LIMIT_SECONDS):
            # The turn polls the queue, and settles the attempt.
            while silent.waiting != {"read", "write"}:  # noqa: ASYNC110  # The database has no event.
                await asyncio.sleep(0)
        running.cancel()
        silent.fail()
        _, left = await asyncio.wait([running], timeout=5)
        worker.stop()
        for task in left:
            task.cancel()
    assert running.cancelled()
    assert not left


async def deliver_all(database: Any, limit: float = LIMIT_SECONDS) -> None:
    """Run a worker with a stopped clock, so that no lease ends, until no delivery waits."""
    async with running_worker(database) as worker:
        running = asyncio.create_task(worker.run_forever())
        async with asyncio.timeout(limit):
            while await read_deliveries(database):  # noqa: ASYNC110  # The database has no event.
                await asyncio.sleep(0.02)
            worker.stop()
            await running


@pytest.mark.parametrize("takes_effect", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("kind", ["mark", "write"])
async def test_worker_delivers_everything_when_database_responses_are_lost(
    database: Database, peer: StartPeer, kind: str, *, takes_effect: bool
) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    for _ in range(3):
        await publish(database, **PERSON)
    losing = Losing(database, kind, 3, takes_effect=takes_effect)
    await deliver_all(losing)
    assert losing.fails == 0
    assert len(recorder.requests) == 3


async def test_worker_settles_a_failed_attempt_once_when_the_database_response_is_lost(
    database: Database, peer: StartPeer
) -> None:
    await subscribe(database, build_base_url(peer(Recorder(encode_response(b"", "503 Busy")))))
    await publish(database)
    async with running_worker(Losing(database, "write", 1, takes_effect=True)) as worker:
        assert await worker.run_once(NOW) == 1
        with pytest.raises(StorageFailed):
            await worker.finish()
        # The event arrives again before its result is settled a second time.
        later = NOW + 2 * SECOND
        await worker.run_once(later)
        await worker.finish()
    (row,) = await read_deliveries(database)
    assert row["attempts"] in {1, 2}
    assert (await count_rows(database))["attempts"] == row["attempts"]


async def test_stopping_worker_releases_its_claims(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database)
    async with running_worker(Losing(database, "mark", 1, takes_effect=True)) as worker:
        with pytest.raises(StorageFailed):
            await worker.run_once(NOW)
        worker.stop()
        async with asyncio.timeout(LIMIT_SECONDS):
            await worker.run_forever()
    (row,) = await read_deliveries(database)
    assert (row["lease"], row["due"]) == (None, NOW)
    assert recorder.requests == []


@pytest.fixture
async def url(postgresql_server: PostgresqlServer) -> str:
    return await asyncio.to_thread(postgresql_server.create_migrated)


@pytest.fixture
async def other(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of an administrator."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def _change_types(other: asyncpg.Connection) -> None:
    await other.execute("alter table deliveries alter column lease type varchar(200)")
    await other.execute("alter table events alter column content type varchar(200000)")


async def _make_read_only(other: asyncpg.Connection) -> None:
    await other.execute("alter system set default_transaction_read_only = on")
    await other.execute("select pg_reload_conf()")
    await asyncio.sleep(0.5)
    await other.execute("set transaction_read_only = off")
    await other.execute("set default_transaction_read_only = off")
    await other.execute("alter system reset default_transaction_read_only")
    await other.execute("select pg_reload_conf()")


async def _end_backends(other: asyncpg.Connection) -> None:
    await other.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize("disturb", [_change_types, _make_read_only, _end_backends])
async def test_worker_delivers_everything_on_a_disturbed_postgresql_before_a_lease_ends(
    url: str, other: asyncpg.Connection, peer: StartPeer, disturb: Any
) -> None:
    recorder = Recorder()
    database = open_database(url)
    try:
        await subscribe(database, build_base_url(peer(recorder)))
        async with running_worker(database) as worker:
            # The clock of the worker is stopped, so no lease ends.
            running = asyncio.create_task(worker.run_forever())
            async with asyncio.timeout(LIMIT_SECONDS):
                for part in range(6):
                    for key in range(10):
                        while True:
                            try:
                                await publish(database, identification_type=1, identification=f"{part}{key}")
                                break
                            except StorageFailed:
                                await asyncio.sleep(0.05)
                    if part in {1, 3}:
                        await disturb(other)
                while await other.fetchval("select count(*) from deliveries"):  # noqa: ASYNC110  # The database has no event.
                    await asyncio.sleep(0.05)
                worker.stop()
                await running
        assert len({recorder.headers(place)["webhook-id"] for place in range(len(recorder.requests))}) == 60
    finally:
        await database.close()

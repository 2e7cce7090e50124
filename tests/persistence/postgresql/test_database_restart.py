"""A server that restarts, crashes or fails over under load, with real servers."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from domain.errors import StorageFailed
from domain.web_messages import WebMessage
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits
from tests.factories import build_web_message
from tests.persistence.postgresql.test_database_waits import call_all
from tests.pgbouncer import pgbouncer_before
from tests.postgresql_cluster import Cluster, clusters

pytestmark = pytest.mark.anyio

WAITS = Waits(pool_timeout=120, connect_timeout=30, statement_timeout=60, health_timeout=30)
CALLERS = 20
SECONDS = 300


@dataclass
class Load:
    """Concurrent callers that store messages, one after the other, and read each back."""

    database: Database
    stored: list[WebMessage] = field(default_factory=list)
    failures: list[tuple[int, StorageFailed]] = field(default_factory=list)
    """The start of each failed call, as the number of calls started before it."""
    call_numbers: Iterator[int] = field(default_factory=itertools.count)
    is_ending: bool = False

    async def call(self) -> None:
        while not self.is_ending:
            number, message = next(self.call_numbers), build_web_message()
            try:
                await stored.store(self.database, message)
                self.stored.append(message)
                assert await stored.get(self.database, message.id) == message
            except StorageFailed as exc:
                self.failures.append((number, exc))

    async def wait_for(self, count: int) -> None:
        """Wait until that number of additional messages is stored."""
        wanted = len(self.stored) + count
        async with asyncio.timeout(SECONDS):
            while len(self.stored) < wanted:
                await stored.get(self.database, self.stored[0].id) if self.stored else await asyncio.sleep(0)

    async def check_recovery(self, restarted: int) -> None:
        """Assert that each caller failed at most once, and no call failed that began after number `restarted`."""
        assert len(self.failures) <= CALLERS
        assert [(str(exc), exc.explanation) for number, exc in self.failures if number > restarted] == []
        for message in self.stored:
            assert await stored.get(self.database, message.id) == message
        await call_all(self.database)


@asynccontextmanager
async def load_on(database: Database) -> AsyncIterator[Load]:
    load = Load(database)
    callers = [asyncio.create_task(load.call()) for _ in range(CALLERS)]
    try:
        yield load
    finally:
        load.is_ending = True
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*callers)


@pytest.fixture(scope="module")
def new_cluster() -> Iterator[Callable[[], Cluster]]:
    with clusters() as new:
        yield new


@pytest.fixture(scope="module")
def primary(new_cluster: Callable[[], Cluster]) -> Cluster:
    cluster = new_cluster()
    cluster.create()
    cluster.start()
    return cluster


def _crash(cluster: Cluster) -> None:
    cluster.kill()
    cluster.start()


@pytest.mark.parametrize("restart", [Cluster.restart, _crash], ids=["restart", "crash"])
async def test_restart_under_load_fails_only_running_calls(
    primary: Cluster, restart: Callable[[Cluster], None]
) -> None:
    url = await asyncio.to_thread(primary.create_migrated, f"load_{restart.__name__.strip('_')}")
    database = open_database(url, WAITS)
    await call_all(database)
    async with load_on(database) as load:
        await load.wait_for(100)
        await asyncio.to_thread(restart, primary)
        after = next(load.call_numbers)
        await load.wait_for(100)
    await load.check_recovery(after)
    await database.close()


async def test_restart_behind_a_pooler_fails_only_running_calls(primary: Cluster) -> None:
    url = await asyncio.to_thread(primary.create_migrated, "load_behind_a_pooler")
    with pgbouncer_before(url, "transaction", server_tls_sslmode="disable") as bouncer:
        database = open_database(bouncer.url(), WAITS)
        await call_all(database)
        async with load_on(database) as load:
            await load.wait_for(50)
            await asyncio.to_thread(primary.stop)
            # The pooler still accepts clients.
            other = open_database(bouncer.url(), Waits(health_timeout=0.2))
            with pytest.raises(StorageFailed):
                await other.check_health()
            await other.close()
            await asyncio.to_thread(primary.start)
            after = next(load.call_numbers)
            await load.wait_for(50)
        await load.check_recovery(after)
        await database.close()


async def test_two_hosts_survive_a_failover(new_cluster: Callable[[], Cluster]) -> None:
    def begin() -> tuple[Cluster, Cluster, str]:
        first, second = new_cluster(), new_cluster()
        first.create("synchronous_standby_names = '*'", "synchronous_commit = local")
        first.start()
        first.create_migrated("load")
        second.create_standby(first)
        # After its promotion it waits for no other server.
        second.configure("synchronous_standby_names = ''")
        second.start()
        first.execute("alter database load set synchronous_commit = on")
        return first, second, f"postgresql://postgres@{first.place},{second.place}/load?sslmode=disable"

    first, second, both = await asyncio.to_thread(begin)
    database = open_database(f"{both}&target_session_attrs=read-write", WAITS)
    await call_all(database)
    async with load_on(database) as load:
        await load.wait_for(100)
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(second.promote)
        after = next(load.call_numbers)
        await load.wait_for(100)
    await load.check_recovery(after)
    await database.close()


async def _check_until_it_fails(database: Database) -> None:
    """Check health until the server has loaded its configuration."""
    async with asyncio.timeout(SECONDS):
        while True:
            await database.check_health()


async def test_connection_to_a_demoted_primary_is_replaced(new_cluster: Callable[[], Cluster]) -> None:
    """A former primary that continues as a standby rejects writes on established connections."""

    def begin() -> tuple[Cluster, Cluster, str]:
        first, second = new_cluster(), new_cluster()
        first.create()
        first.start()
        first.create_migrated("load")
        second.create_standby(first)
        second.start()
        return first, second, f"postgresql://postgres@{first.place},{second.place}/load?sslmode=disable"

    first, second, both = await asyncio.to_thread(begin)
    database = open_database(f"{both}&target_session_attrs=read-write", WAITS)
    await call_all(database)
    await asyncio.to_thread(second.promote)
    # The sessions continue read-only, as on a standby.
    for statement in ("alter system set default_transaction_read_only = on", "select pg_reload_conf()"):
        await asyncio.to_thread(first.execute, statement)
    with pytest.raises(StorageFailed):
        await _check_until_it_fails(database)
    await call_all(database)
    connection = await asyncpg.connect(second.url("load"))
    assert await connection.fetchval("select count(*) from pg_stat_activity where application_name = 'budkavle'") > 0
    await connection.close()
    await database.close()

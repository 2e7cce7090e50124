"""The connection on which a worker receives notifications."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from persistence.postgresql import notifications
from persistence.postgresql.database import PostgresqlDatabase
from tests.persistence.postgresql.test_database_server import opened
from tests.persistence.postgresql.test_database_waits import PATIENT, SHORT, build_proxied_url, read_name, terminate
from tests.postgresql import PostgresqlServer
from tests.tcp_proxy import TcpProxy, tcp_proxy
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.anyio

CHECKING = replace(SHORT, idle_check=0.2)


@pytest.fixture
def proxy(postgresql_server: PostgresqlServer) -> Iterator[TcpProxy]:
    with tcp_proxy(postgresql_server.socket) as proxy:
        yield proxy


async def test_watch_deliveries_listens_again_after_its_connection_ended(
    postgresql_server: PostgresqlServer, url: str
) -> None:
    woken = asyncio.Event()
    async with opened(url, PATIENT) as database, database.watch_deliveries(woken.set) as is_watched:
        await wait_until(is_watched)
        woken.clear()
        await asyncio.to_thread(terminate, postgresql_server, url)
        async with asyncio.timeout(LIMIT_SECONDS):
            # The worker is woken, since a notification may have been lost.
            await woken.wait()
            woken.clear()
            await wait_until(is_watched)
            database.notify_workers()
            await woken.wait()


async def test_watch_deliveries_notices_a_silent_server(proxy: TcpProxy, url: str) -> None:
    async with (
        opened(build_proxied_url(proxy, url), CHECKING) as database,
        database.watch_deliveries(lambda: None) as is_watched,
    ):
        await wait_until(is_watched)
        proxy.freeze(is_deaf=True)
        await wait_until(lambda: not is_watched())
        proxy.unfreeze()
        await wait_until(is_watched)


async def test_watch_deliveries_replaces_a_connection_to_a_former_primary(url: str) -> None:
    woken = asyncio.Event()
    async with opened(url, CHECKING) as database, database.watch_deliveries(woken.set) as is_watched:
        await wait_until(is_watched)
        woken.clear()
        assert isinstance(database, PostgresqlDatabase)
        assert database._connector.replace_connections()
        async with asyncio.timeout(LIMIT_SECONDS):
            await woken.wait()


async def test_watch_deliveries_leaves_no_connection(
    postgresql_server: PostgresqlServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "RECONNECT_SECONDS", 0)
    statement = f"select count(*) from pg_stat_activity where datname = '{read_name(url)}' and query ~ 'LISTEN'"

    def count() -> int:
        return int(postgresql_server._fetch(postgresql_server.url("postgres"), statement))

    async with opened(url, PATIENT) as database:
        async with database.watch_deliveries(lambda: None) as is_watched:
            await wait_until(is_watched)
            assert await asyncio.to_thread(count) == 1
        async with asyncio.timeout(LIMIT_SECONDS):
            while await asyncio.to_thread(count):
                pass

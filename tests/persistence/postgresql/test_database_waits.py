"""Every wait on PostgreSQL is limited, and a connection that died while it was idle fails no work."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only
from structlog.testing import capture_logs

from domain.errors import StorageBlocked, StorageFailed, StorageUncertain
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits
from persistence.work import (
    large_read,
    large_write,
    long_read,
    long_write,
    mark,
    short_read,
    short_write,
)
from tests.factories import build_web_message
from tests.persistence.kinds import WRITES, run_as
from tests.postgresql import PostgresqlServer
from tests.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.anyio

SHORT = Waits(
    connect_timeout=1,
    pool_timeout=2,
    statement_timeout=1,
    long_statement_timeout=1,
    lock_timeout=0.5,
    health_timeout=1,
    grace=0.5,
)
PATIENT = Waits(pool_timeout=60, connect_timeout=30, statement_timeout=60, health_timeout=30)
SECONDS = 60
"""More seconds than any wait here on a busy machine; without limits these tests would wait for ever."""

THREAD = ThreadPoolExecutor(1)

WAITS_FOR_MESSAGES = (
    "select count(*) from pg_locks where not granted and relation = 'web_messages'::regclass"
    # Reads wait too: those of expired keys, and of messages in doubt.
    " and mode = 'RowExclusiveLock'"
)

Call = Callable[[Database], Awaitable[object]]
Opening = Callable[[str, Waits], Database]


def _select_one(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("select 1")).scalar_one())


def _mark(connection: sa.Connection) -> None:
    connection.execute(sa.text("update systems set id = id where id is null"))


CALLS: dict[str, Call] = {
    **{
        declare.__name__: partial(run_as, declare, function=_select_one)
        for declare in (short_read, large_read, long_read, short_write, large_write, long_write)
    },
    "batched_write": lambda database: stored.store(database, build_web_message()),
    "mark": lambda database: database.mark(mark(_mark)),
    "check_health": lambda database: database.check_health(),
}


@pytest.fixture
async def opening() -> AsyncIterator[Opening]:
    """Yield a function that opens databases, which are closed after the test."""
    databases: list[Database] = []

    def open_one(url: str, waits: Waits) -> Database:
        databases.append(open_database(url, waits))
        return databases[-1]

    yield open_one
    async with asyncio.timeout(SECONDS):
        for database in databases:
            await database.close()


@pytest.fixture
def proxy(postgresql_server: PostgresqlServer) -> Iterator[TcpProxy]:
    with tcp_proxy(postgresql_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def behind(proxy: TcpProxy, url: str, opening: Opening) -> Database:
    """Return a database whose connections go through the proxy."""
    return opening(build_proxied_url(proxy, url), SHORT)


def read_name(url: str) -> str:
    return url.split("?", maxsplit=1)[0].rpartition("/")[2]


def build_proxied_url(proxy: TcpProxy, url: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/{read_name(url)}?sslmode=disable"


def terminate(server: PostgresqlServer, url: str) -> None:
    server.execute(
        "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity "
        f"where datname = '{read_name(url)}' and backend_type = 'client backend'"
    )


async def call_all(database: Database) -> None:
    """Make one call of each kind, so that every pool has a connection."""
    for call in CALLS.values():
        await call(database)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("has_noticed", [True, False])
async def test_connection_that_was_terminated_while_idle_fails_no_call(
    postgresql_server: PostgresqlServer,
    url: str,
    call: Call,
    has_noticed: bool,
    opening: Opening,
) -> None:
    database = opening(url, PATIENT)
    await call_all(database)
    terminating = THREAD.submit(terminate, postgresql_server, url)
    if has_noticed:
        await asyncio.wrap_future(terminating)
    else:
        # The event loop is blocked meanwhile, so it cannot read what the server sent.
        terminating.result(SECONDS)
    assert await call(database) in {None, 1}


async def test_connection_that_was_closed_for_being_idle_fails_no_call(
    postgresql_server: PostgresqlServer, url: str, opening: Opening
) -> None:
    await asyncio.to_thread(
        postgresql_server.execute, f"alter database {read_name(url)} set idle_session_timeout = '100ms'"
    )
    database = opening(url, PATIENT)
    for _ in range(3):
        await call_all(database)
        await asyncio.to_thread(postgresql_server.execute, "select pg_sleep(0.3)")


@pytest.mark.parametrize("names", [list(CALLS)[start : start + 3] for start in range(0, len(CALLS), 3)], ids=" ".join)
async def test_call_on_a_silent_connection_fails_soon_and_the_next_works(
    postgresql_server: PostgresqlServer, url: str, names: list[str], opening: Opening
) -> None:
    """Concurrent calls, each on its own connection: all wait for their limits."""
    with ExitStack() as stack:
        proxies = {name: stack.enter_context(tcp_proxy(postgresql_server.socket)) for name in names}
        databases = {name: opening(build_proxied_url(proxy, url), SHORT) for name, proxy in proxies.items()}
        for name in names:
            await call_all(databases[name])
            proxies[name].freeze()

        async def call(name: str) -> None:
            with pytest.raises(StorageFailed):
                await CALLS[name](databases[name])
            await call_all(databases[name])

        began = time.monotonic()
        async with asyncio.timeout(SECONDS):
            outcomes = await asyncio.gather(*map(call, names), return_exceptions=True)
        assert dict(zip(names, outcomes, strict=True)) == dict.fromkeys(names)
        assert time.monotonic() - began < SECONDS
        for database in databases.values():
            await database.close()


async def test_silent_server_fails_each_call_and_recovers(behind: Database, proxy: TcpProxy, opening: Opening) -> None:
    await call_all(behind)
    proxy.freeze(is_deaf=True)
    async with asyncio.timeout(SECONDS):
        outcomes = await asyncio.gather(*(call(behind) for call in CALLS.values()), return_exceptions=True)
        assert [outcome for outcome in outcomes if not isinstance(outcome, StorageFailed)] == []
        proxy.unfreeze()
        await call_all(behind)


async def test_writes_that_reach_no_server_have_no_effect(proxy: TcpProxy, url: str, opening: Opening) -> None:
    behind = opening(build_proxied_url(proxy, url), SHORT)
    proxy.freeze(is_deaf=True)
    messages = [build_web_message() for _ in range(3)]
    async with asyncio.timeout(SECONDS):
        storing = (stored.store(behind, each) for each in messages)
        outcomes = await asyncio.gather(*storing, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageFailed] * len(messages)


async def test_long_idle_connection_is_checked_first(proxy: TcpProxy, url: str, opening: Opening) -> None:
    checked = Waits(idle_check=0, health_timeout=1)
    database = opening(build_proxied_url(proxy, url), checked)
    await call_all(database)
    proxy.freeze()
    async with asyncio.timeout(SECONDS):
        await call_all(database)


async def test_silent_database_can_be_closed(
    behind: Database, proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.gather(*(call(behind) for call in CALLS.values() for _ in range(5)))
    proxy.freeze(is_deaf=True)
    async with asyncio.timeout(SECONDS):
        await behind.close()
    assert caplog.records == []


async def test_silent_connection_is_logged_with_its_cause(behind: Database, proxy: TcpProxy) -> None:
    await call_all(behind)
    proxy.freeze(is_deaf=True)
    with capture_logs() as logged:
        for _ in range(2):
            with pytest.raises(StorageFailed) as caught:
                await behind.read(short_read(_select_one))
            assert caught.value.reason == "TimeoutError"
            assert "no answer in time" in caught.value.explanation
    # The second call reaches a server that accepts no new connection.
    assert [(entry["event"], entry["reason"]) for entry in logged] == [
        ("database_connection_lost", "TimeoutError"),
        ("database_connection_failed", "TimeoutError"),
    ]
    assert all(f"127.0.0.1:{proxy.port}: no answer in time" in entry["detail"] for entry in logged)


async def test_no_call_fails_while_the_server_restarts(proxy: TcpProxy, url: str, opening: Opening) -> None:
    database = opening(build_proxied_url(proxy, url), PATIENT)
    calls = [call for name, call in CALLS.items() if name != "check_health"]
    await call_all(database)
    proxy.refuse()
    waiting = [asyncio.create_task(_run(call, database)) for call in calls for _ in range(5)]
    with pytest.raises(StorageFailed):
        # Health does not wait.
        await database.check_health()
    assert not any(task.done() for task in waiting)
    proxy.accept()
    await asyncio.gather(*waiting)
    await call_all(database)


async def _run(call: Call, database: Database) -> None:
    await call(database)


async def test_call_to_a_server_that_is_down_for_long_fails_at_once(
    proxy: TcpProxy, url: str, opening: Opening
) -> None:
    database = opening(build_proxied_url(proxy, url), Waits(pool_timeout=0.2))
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(StorageFailed) as caught:
            await stored.store(database, build_web_message())
        assert f"127.0.0.1:{proxy.port}: nothing accepts connections there" in caught.value.explanation
    proxy.accept()
    await stored.store(database, build_web_message())


async def test_wait_for_a_lock_is_limited(url: str, opening: Opening) -> None:
    database = opening(url, SHORT)
    administrator = await asyncpg.connect(url)
    transaction = administrator.transaction()
    await transaction.start()
    await administrator.execute("lock table systems")
    for declare in (*WRITES, mark):
        with pytest.raises(StorageFailed) as caught:
            await run_as(declare, database, _mark)
        assert caught.value.reason.endswith("55P03")
        assert "BUDKAVLE_DATABASE_LOCK_TIMEOUT" in caught.value.explanation
    await transaction.rollback()
    await administrator.close()
    await database.mark(mark(_mark))


async def test_batched_writes_do_not_fail_because_one_of_them_is_blocked(url: str, opening: Opening) -> None:
    database = opening(url, SHORT)
    sent = datetime.now(UTC)
    messages = [build_web_message(created=None) for _ in range(4)]
    for message in messages:
        await stored.begin_sending(database, message, sent)
    administrator = await asyncpg.connect(url)
    transaction = administrator.transaction()
    await transaction.start()
    await administrator.execute("select 1 from web_messages where id = $1 for update", messages[1].id)
    outcomes = await asyncio.gather(
        *(stored.mark_published(database, message, 1, sent) for message in messages), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), StorageBlocked, type(None), type(None)]
    await transaction.rollback()
    await administrator.close()


async def test_batched_writes_whose_response_is_lost_are_not_repeated(
    proxy: TcpProxy, url: str, opening: Opening
) -> None:
    """The server has stored them: separate writes would violate the primary key."""
    behind = opening(build_proxied_url(proxy, url), PATIENT)
    # The connection prepares the statement, which would also wait for the lock.
    await asyncio.gather(*(stored.store(behind, build_web_message()) for _ in range(3)))
    administrator = await asyncpg.connect(url)
    transaction = administrator.transaction()
    await transaction.start()
    await administrator.execute("lock table web_messages")
    messages = [build_web_message() for _ in range(3)]
    async with asyncio.timeout(SECONDS):
        storing = asyncio.gather(*(stored.store(behind, each) for each in messages), return_exceptions=True)
        while not await administrator.fetchval(WAITS_FOR_MESSAGES):
            pass
        proxy.freeze()
        await transaction.commit()
        while await administrator.fetchval("select count(*) from web_messages") < 6:
            pass
        proxy.cut()
        outcomes = await storing
    await administrator.close()
    assert [type(outcome) for outcome in outcomes] == [StorageUncertain] * len(messages)


def _sleep(connection: sa.Connection) -> None:
    connection.execute(sa.text("select pg_sleep(60)"))


@pytest.mark.parametrize("declare", [short_read, long_read, short_write, large_write, long_write, mark])
async def test_slow_statement_is_cancelled_by_the_server(
    url: str, declare: Callable[..., Any], opening: Opening
) -> None:
    database = opening(url, SHORT)
    with pytest.raises(StorageFailed) as caught:
        await run_as(declare, database, _sleep)
    assert caught.value.reason.endswith("57014")
    assert await database.read(short_read(_select_one)) == 1


async def test_call_without_a_connection_fails(url: str, opening: Opening) -> None:
    database = opening(url, Waits(pool_size=1, pool_timeout=0.2, statement_timeout=60))
    sleeping = asyncio.create_task(database.read(short_read(_sleep)))
    # It uses the only connection of the pool at once.
    await asyncio.sleep(0)
    with pytest.raises(StorageFailed) as caught:
        await database.read(short_read(_select_one))
    assert "BUDKAVLE_DATABASE_POOL_TIMEOUT" in caught.value.explanation
    sleeping.cancel()
    await asyncio.wait([sleeping])
    assert await database.read(short_read(_select_one)) == 1


async def test_caller_that_waits_too_long_for_its_turn_fails(url: str, opening: Opening) -> None:
    database = opening(url, SHORT)
    async with database.locks.hold("a"):
        with pytest.raises(StorageFailed):
            async with database.locks.hold("a"):
                pass
        async with database.locks.hold("b"):
            pass
    async with database.locks.hold("a"):
        pass


@pytest.mark.parametrize(
    "change",
    [
        "alter table {table} add column added text",
        "alter table {table} alter column {column} type varchar(200)",
        "vacuum full {table}",
    ],
)
async def test_statements_are_prepared_again_after_a_table_changed(
    postgresql_server: PostgresqlServer, url: str, change: str, opening: Opening
) -> None:
    database = opening(url, PATIENT)
    select = sa.text("select * from systems where id is null")

    def read(connection: sa.Connection) -> None:
        connection.execute(select).all()

    for _ in range(2):
        for declare in (short_read, long_read, mark, short_write, long_write):
            await run_as(declare, database, read)
    connection = await asyncpg.connect(url)
    await connection.execute(change.format(table="systems", column="base_url"))
    await connection.close()
    for declare in (short_read, long_read, mark, short_write, long_write):
        await run_as(declare, database, read)


async def test_two_deadlocked_transactions_both_succeed(url: str, opening: Opening) -> None:
    database = opening(url, PATIENT)
    first_has, second_has = asyncio.Event(), asyncio.Event()
    runs = {"first": 0, "second": 0}

    @short_write
    def lock(
        connection: sa.Connection, name: str, keys: tuple[int, int], mine: asyncio.Event, its: asyncio.Event
    ) -> None:
        runs[name] += 1
        take = sa.text("select pg_advisory_xact_lock(:key)")
        connection.execute(take, {"key": keys[0]})
        mine.set()
        if runs[name] == 1:
            await_only(its.wait())
        connection.execute(take, {"key": keys[1]})

    await asyncio.gather(
        database.write(lock, "first", (1, 2), first_has, second_has),
        database.write(lock, "second", (2, 1), second_has, first_has),
    )
    assert sorted(runs.values()) == [1, 2]

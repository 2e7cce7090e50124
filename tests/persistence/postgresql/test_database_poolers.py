"""A real PgBouncer in front of PostgreSQL, in session and in transaction mode."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence import web_messages as stored
from persistence.postgresql.database import MAX_ATTEMPTS
from persistence.postgresql.errors import explain
from persistence.postgresql.url import parse_url
from persistence.waits import Waits
from persistence.work import large_write, long_write, mark, queue_read, queue_write, short_read, short_write
from tests.factories import build_web_message
from tests.persistence.kinds import run_as
from tests.persistence.postgresql.test_database_restart import WAITS, load_on
from tests.persistence.postgresql.test_database_server import opened
from tests.persistence.postgresql.test_database_waits import PATIENT, call_all, read_name, terminate
from tests.pgbouncer import PASSWORD, PgBouncer, pgbouncer_before
from tests.postgresql import PostgresqlServer
from tests.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.anyio

MODES = ("session", "transaction")
SERVERS = 4
ROTATING = {"default_pool_size": SERVERS, "server_round_robin": 1}
"""Consecutive transactions get different sessions, and there are few of them."""

STATE = """
    select current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('idle_in_transaction_session_timeout'), current_setting('synchronous_commit'),
        current_setting('timezone'), current_setting('default_transaction_isolation'),
        current_setting('enable_bitmapscan')
"""
LEFT = """
    select (select count(*) from pg_prepared_statements)
        + (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())
        + (select count(*) from pg_listening_channels())
"""


def _read_settings(connection: sa.Connection) -> tuple[int, tuple[str, ...]]:
    """Return the server process of a transaction, and the settings that work relies on."""
    pid = connection.execute(sa.text("select pg_backend_pid()")).scalar_one()
    return pid, tuple(connection.execute(sa.text(STATE)).one())


@asynccontextmanager
async def _occupying(bouncer: PgBouncer, count: int = SERVERS) -> AsyncIterator[list[asyncpg.Connection]]:
    """Open clients with a transaction each, so that the pooler has opened that number of server connections."""
    clients = []
    try:
        for _ in range(count):
            clients.append(await asyncpg.connect(bouncer.url(), statement_cache_size=0))
            await clients[-1].execute("begin; select 1")
        yield clients
        for client in clients:
            # A client that disconnects within a transaction ends the server's session.
            await client.execute("commit")
    finally:
        for client in clients:
            client.terminate()


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("session", {}),
        ("session", {"pooler": "session"}),
        ("session", {"pooler": "transaction"}),
        ("transaction", {}),
        ("transaction", {"pooler": "transaction"}),
    ],
    ids=str,
)
async def test_every_kind_of_work_has_its_settings(url: str, mode: str, options: dict[str, str]) -> None:
    changes = ROTATING if mode == "transaction" else {}
    with pgbouncer_before(url, mode, **changes) as bouncer:
        async with _occupying(bouncer):
            pass
        async with opened(bouncer.url(**options), PATIENT) as database:
            await call_all(database)
            found = []
            for _ in range(SERVERS):
                for declare in (short_read, short_write, large_write, long_write, queue_read, queue_write):
                    pid, settings = await run_as(declare, database, _read_settings)
                    found.append(pid)
                    statement = "2min" if declare in {large_write, long_write} else "1min"
                    # The isolation level of a transaction is set when it begins.
                    durable = "off" if declare is queue_read else "on"
                    assert settings[:5] == (statement, "10s", "2min", durable, "UTC")
                    assert settings[6] == ("off" if declare in {queue_read, queue_write} else "on")
                _, settings = await database.mark(mark(_read_settings))
                assert (settings[3], settings[6]) == ("off", "off")
            assert mode == "session" or len(set(found)) == SERVERS
            pooler = database._connector.server.pooler  # type: ignore[attr-defined]  # Only PostgreSQL's database has it.
            assert pooler == options.get("pooler", "transaction")
            await database.migrate()
            await database.check_version()
        # The next clients of these sessions see no settings of ours.
        fresh = await asyncpg.connect(url)
        expected = await fresh.fetchrow(STATE)
        await fresh.close()
        async with _occupying(bouncer) as others:
            for other in others:
                assert await other.fetchval(LEFT) == 0
                assert await other.fetchrow(STATE) == expected


async def test_server_without_a_pooler_is_not_detected_as_one(url: str) -> None:
    async with opened(url) as database:
        await call_all(database)
        assert database._connector.server.pooler is None  # type: ignore[attr-defined]  # Only PostgreSQL's database has it.


async def test_pooler_in_front_of_a_running_service_is_detected(postgresql_server: PostgresqlServer, url: str) -> None:
    with tcp_proxy(postgresql_server.socket) as direct, pgbouncer_before(url, "transaction", **ROTATING) as bouncer:
        both = bouncer.url(sslmode="disable").replace("@", f"@127.0.0.1:{direct.port},")
        async with opened(both) as database:
            await call_all(database)
            direct.refuse()
            async with _occupying(bouncer):
                pass
            await call_all(database)


async def test_pooler_that_is_detected_while_others_wait_serves_them_as_well(
    postgresql_server: PostgresqlServer, url: str
) -> None:
    with tcp_proxy(postgresql_server.socket) as proxy, pgbouncer_before(url, "transaction") as bouncer:
        behind = bouncer.url(sslmode="disable").replace(f":{bouncer.port}/", f":{proxy.port}/")
        async with opened(behind, PATIENT) as database:
            await call_all(database)
            proxy.refuse()
            waiting = [asyncio.create_task(database.read(short_read(_read_settings))) for _ in range(PATIENT.pool_size)]
            # Their delays grow meanwhile, so that one caller detects the pooler while the others wait.
            await asyncio.sleep(1)
            proxy.retarget(("127.0.0.1", bouncer.port))
            proxy.accept()
            await database.check_health()
            for _, settings in await asyncio.gather(*waiting):
                assert settings[:5] == ("1min", "10s", "2min", "on", "UTC")


@pytest.mark.parametrize("mode", MODES)
async def test_many_callers_share_few_server_connections(url: str, mode: str) -> None:
    servers = SERVERS if mode == "transaction" else 15
    waits = Waits(pool_size=20 if mode == "transaction" else 8, long_pool_size=2, statement_timeout=60)
    changes = {"default_pool_size": servers, "server_round_robin": 1}
    with pgbouncer_before(url, mode, **changes) as bouncer:
        async with opened(bouncer.url(), waits) as database:
            # Each program does this first.
            await database.check_version()

            async def call(number: int) -> None:
                text = f"{number} " + "x" * (number % 7) * 1000
                message = build_web_message(message=text)
                await stored.store(database, message)
                assert await stored.get(database, message.id) == message
                await database.write(long_write(_read_settings))
                await stored.delete(database, message.id)

            async with asyncio.TaskGroup() as group:
                for number in range(150):
                    group.create_task(call(number))
        watcher = await asyncpg.connect(url)
        name = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        assert await watcher.fetchval(name) <= servers
        await watcher.close()


def _sleep(connection: sa.Connection) -> None:
    connection.execute(sa.text("select pg_sleep(0.1)"))


async def test_idle_connections_are_released_to_the_pooler(url: str) -> None:
    """In session mode a pool that keeps all connections leaves none to the other pools and processes."""
    waits = Waits(pool_size=2, idle_check=0.2)
    with pgbouncer_before(url, "session", default_pool_size=2) as bouncer:
        for options in ({}, {"pooler": "session"}):
            async with opened(bouncer.url(**options), waits) as database:
                await database.check_version()
                await asyncio.gather(*(database.read(short_read(_sleep)) for _ in range(6)))
                marked = asyncio.create_task(database.mark(mark(_read_settings)))
                while not marked.done():
                    # One connection is enough for one caller.
                    await database.read(short_read(_read_settings))
                await marked


@pytest.mark.parametrize(
    ("message", "explanation"),
    [
        ("server conn crashed?", "the connection pooler lost its connection to the server"),
        ("pgbouncer cannot connect to server", "the connection pooler cannot connect to the server"),
        ("the database system is shutting down", "the server behind the connection pooler starts, shuts down"),
        ("something new", "the connection pooler ended or refused the connection"),
    ],
)
def test_configured_pooler_that_loses_its_server_is_not_asked_for_its_mode(message: str, explanation: str) -> None:
    server = parse_url("postgresql://localhost/x?pooler=session")
    found = explain(asyncpg.ProtocolViolationError(message), server)
    assert explanation in found
    assert "add pooler" not in found


@pytest.mark.parametrize("mode", MODES)
async def test_restart_of_the_pooler_fails_only_running_calls(url: str, mode: str) -> None:
    with pgbouncer_before(url, mode) as bouncer:
        async with opened(bouncer.url(), WAITS) as database:
            await call_all(database)
            async with load_on(database) as load:
                await load.wait_for(50)
                await asyncio.to_thread(bouncer.stop)
                await asyncio.to_thread(bouncer.start)
                after = next(load.call_numbers)
                await load.wait_for(50)
            await load.check_recovery(after)


async def test_server_that_temporarily_accepts_no_connections_is_waited_for(
    postgresql_server: PostgresqlServer, url: str
) -> None:
    def admit(*, is_admitting: bool) -> None:
        postgresql_server.execute(f"alter database {read_name(url)} allow_connections {is_admitting}")

    with pgbouncer_before(url, "transaction") as bouncer:
        async with opened(bouncer.url(), PATIENT) as database:
            await call_all(database)
            await asyncio.to_thread(admit, is_admitting=False)
            try:
                await asyncio.to_thread(terminate, postgresql_server, url)
                # The pooler queues clients that connect before it notices.
                first = asyncio.create_task(call_all(database))
                await asyncio.to_thread(bouncer.wait_for_log, "login failed", 1)
                # It accepts later clients, and rejects their first statement.
                calls = [asyncio.create_task(database.write(short_write(_read_settings))) for _ in range(3)]
                await asyncio.to_thread(bouncer.wait_for_log, "login has been failing", 4 * MAX_ATTEMPTS)
            finally:
                await asyncio.to_thread(admit, is_admitting=True)
            await asyncio.gather(first, *calls)


async def test_errors_of_a_pooler_contain_the_cause_and_the_remedy(url: str) -> None:
    with pgbouncer_before(url, "transaction", max_client_conn=1) as bouncer:
        cases = {
            bouncer.url().replace("/test_", "/none_"): "the connection pooler has no database none_",
            bouncer.url().replace(PASSWORD, "wrong"): "the connection pooler rejects role postgres or its password",
            bouncer.url(options="-c%20lock_timeout=1"): "remove it from BUDKAVLE_DATABASE_URL",
        }
        for case, explanation in cases.items():
            # These tests do not pass, so no wait is needed.
            async with opened(case, PATIENT) as database, asyncio.timeout(10):
                with pytest.raises(StorageFailed) as caught:
                    await database.migrate()
            assert explanation in caught.value.explanation
            assert PASSWORD not in caught.value.explanation
        other = await asyncpg.connect(bouncer.url())
        async with opened(bouncer.url(), Waits(pool_timeout=0.1)) as database:
            with pytest.raises(StorageFailed) as caught:
                await database.migrate()
        assert "raise its max_client_conn" in caught.value.explanation
        await other.close()


async def test_pooler_without_a_free_connection_is_reported(url: str) -> None:
    with pgbouncer_before(url, "transaction", default_pool_size=1) as bouncer:
        async with (
            _occupying(bouncer, 1),
            opened(bouncer.url(pooler="transaction"), Waits(connect_timeout=0.5)) as database,
        ):
            with pytest.raises(StorageFailed) as caught:
                await database.migrate()
        assert "raise its default_pool_size" in caught.value.explanation


def _select_right(connection: sa.Connection) -> str:
    return str(connection.execute(sa.text("select 'right'")).scalar_one())


async def test_wrong_mode_is_reported_and_returns_no_wrong_results(url: str) -> None:
    with pgbouncer_before(url, "transaction", **ROTATING) as bouncer:
        responses = set()
        async with opened(bouncer.url(pooler="session")) as database:
            # While there is only one session, all statements succeed.
            await database.read(short_read(_read_settings))
            async with _occupying(bouncer) as clients:
                # Another process has prepared statements in every other session, with asyncpg's names.
                begin = asyncpg.connection._uid
                for client, number in itertools.product(clients[::2], range(begin + 1, begin + 50)):
                    await client.execute(f"prepare __asyncpg_stmt_{number:x}__ as select 'wrong'")
            for _ in range(4 * SERVERS):
                with suppress(StorageFailed):
                    responses.add(await database.read(short_read(_select_right)))
        assert responses <= {"right"}
        async with opened(bouncer.url(pooler="session")) as database:
            with pytest.raises(StorageFailed) as caught:
                await call_all(database)
        assert "pooler=transaction" in caught.value.explanation

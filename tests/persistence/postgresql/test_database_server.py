"""Settings of a server, database or role that an administrator may choose, and unusable servers."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from openapi.server.serving import run_loop
from persistence import web_messages as stored
from persistence.database import Database, DatabaseUnusable
from persistence.opening import open_database
from persistence.waits import Waits
from persistence.work import long_read, long_write, mark, short_read, short_write
from tests.factories import build_web_message
from tests.persistence.kinds import run_as
from tests.persistence.postgresql.test_database_waits import CALLS, PATIENT, build_proxied_url, call_all, read_name
from tests.postgresql import PostgresqlServer
from tests.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.anyio

SOON = Waits(pool_timeout=0.1)


@asynccontextmanager
async def opened(url: str, waits: Waits = PATIENT) -> AsyncIterator[Database]:
    database = open_database(url, waits)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def execute(postgresql_server: PostgresqlServer) -> Callable[[str], Awaitable[object]]:
    return lambda statement: asyncio.to_thread(postgresql_server.execute, statement)


def _read_setting(connection: sa.Connection, name: str) -> str:
    return str(connection.execute(sa.text("select current_setting(:name)"), {"name": name}).scalar_one())


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        # The statement that replaces them must complete within them.
        "statement_timeout = '200ms'",
        "lock_timeout = '1ms'",
        "transaction_timeout = '200ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'SQL, DMY'",
        "standard_conforming_strings = off",
        "backslash_quote = off",
        "bytea_output = 'escape'",
        "row_security = off",
        "synchronous_commit = off",
        "client_encoding = 'LATIN1'",
        "default_transaction_deferrable = on",
    ],
)
async def test_settings_of_the_database_are_overridden(
    url: str, execute: Callable[[str], Awaitable[object]], setting: str
) -> None:
    await execute(f"alter database {read_name(url)} set {setting}")
    async with opened(url) as database:
        message = build_web_message(message="å € 'quoted' \\ ")
        await stored.store(database, message)
        assert await stored.get(database, message.id) == message
        await call_all(database)
        for declare in (short_read, short_write, long_write, mark):
            assert await run_as(declare, database, _read_setting, "transaction_isolation") == "read committed"
        assert await database.read(long_read(_read_setting), "transaction_isolation") == "repeatable read"
        assert await database.write(short_write(_read_setting), "synchronous_commit") == "on"
        for name, value in (("statement_timeout", "1min"), ("lock_timeout", "10s"), ("transaction_timeout", "0")):
            assert await database.read(short_read(_read_setting), name) == value


async def test_higher_level_of_durability_is_kept(url: str, execute: Callable[[str], Awaitable[object]]) -> None:
    await execute(f"alter database {read_name(url)} set synchronous_commit = remote_apply")
    async with opened(url) as database:
        assert await database.write(short_write(_read_setting), "synchronous_commit") == "remote_apply"
        assert await database.mark(mark(_read_setting), "synchronous_commit") == "off"


async def test_health_reports_a_read_only_server_and_recovers(
    url: str, execute: Callable[[str], Awaitable[object]]
) -> None:
    async with opened(url) as database:
        await call_all(database)
        await execute(f"alter database {read_name(url)} set default_transaction_read_only = on")
        database._connector.replace_connections()  # type: ignore[attr-defined]  # As after a failover.
        with pytest.raises(StorageFailed, match="does not answer") as caught:
            await database.check_health()
        assert "read-only" in caught.value.explanation
        with pytest.raises(StorageFailed) as caught:
            await stored.store(database, build_web_message())
        assert caught.value.reason.endswith("25006")
        assert "target_session_attrs=read-write" in caught.value.explanation
        await execute(f"alter database {read_name(url)} reset default_transaction_read_only")
        async with asyncio.timeout(60):
            while True:
                try:
                    await database.check_health()
                    await stored.store(database, build_web_message())
                except StorageFailed:
                    await execute("select pg_sleep(0.2)")
                else:
                    break


async def test_two_hosts_use_the_writable_one(postgresql_server: PostgresqlServer, url: str) -> None:
    with tcp_proxy(postgresql_server.socket) as silent, tcp_proxy(postgresql_server.socket) as good:
        name = read_name(url)
        both = f"postgresql://postgres@127.0.0.1:{silent.port},127.0.0.1:{good.port}/{name}?sslmode=disable"
        silent.freeze(is_deaf=True)
        waits = Waits(connect_timeout=1, health_timeout=1)
        async with opened(f"{both}&target_session_attrs=read-write", waits) as database:
            await call_all(database)
            silent.unfreeze()
            good.refuse()
            await call_all(database)
            # Back again, as in a failover.
            good.accept()
            silent.refuse()
            await call_all(database)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_database_of_another_encoding_is_refused(
    postgresql_server: PostgresqlServer, execute: Callable[[str], Awaitable[object]], encoding: str
) -> None:
    name = f"in_{encoding.lower()}"
    await execute(f"create database {name} encoding '{encoding}' locale 'C' locale_provider libc template template0")
    async with opened(postgresql_server.url(name)) as database:
        for call in (database.migrate, database.check_version):
            with pytest.raises(DatabaseUnusable, match=f"encoding {encoding}.*UTF8"):
                await call()
    await execute(f"drop database {name}")


async def test_errors_contain_the_cause_and_the_remedy(
    postgresql_server: PostgresqlServer, url: str, execute: Callable[[str], Awaitable[object]]
) -> None:
    name = read_name(url)
    await execute("create role poor login")
    await execute("create role limited login connection limit 0")
    with tcp_proxy(postgresql_server.socket) as proxy:
        good = build_proxied_url(proxy, url)
        place = f"127.0.0.1:{proxy.port}"
        cases = {
            good.replace(f"/{name}", "/none"): "there is no database none: create it",
            good.replace("postgres@", "none@"): "the server does not admit role none",
            good.replace("postgres@", "poor@"): "role poor lacks a privilege",
            good.replace("postgres@", "limited@"): "the server has no free connection",
            good.replace("sslmode=disable", "sslmode=require"): "the server does not offer TLS",
            "postgresql://postgres@no.such.host.invalid/x": "the host name cannot be resolved",
            "postgresql://postgres@127.0.0.1:1/x": "nothing accepts connections there",
            "postgresql:///x?host=/no/such/folder": "there is no Unix socket",
            f"{good}&target_session_attrs=standby": "no host matches target_session_attrs",
        }
        for case, explanation in cases.items():
            async with opened(case, SOON) as database:
                # A role without a privilege can connect; its statement is rejected.
                text = "The database rejected a statement" if "poor@" in case else "The database does not answer"
                with pytest.raises(StorageFailed, match=text) as caught:
                    await database.migrate()
            assert explanation in caught.value.explanation, case
            assert place in caught.value.explanation or place not in case
    await execute("drop role limited")
    await execute("drop role poor")


async def test_later_database_requires_a_later_program(url: str) -> None:
    @short_write
    def move_on(connection: sa.Connection) -> None:
        connection.execute(sa.text("update alembic_version set version_num = '9999', oldest = '9999'"))

    async with opened(url) as database:
        await database.write(move_on)
        for call in (database.migrate, database.check_version):
            with pytest.raises(DatabaseUnusable, match="upgrade the program"):
                await call()


class _Request:
    """Represents a request with its body."""


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("?", CALLS.keys()),
        # In the thread of long work, Python's event loop keeps cancelled timers with their context until they are due.
        ("?pooler=transaction&", CALLS.keys() - {"long_read", "long_write"}),
    ],
    ids=["direct", "pooler"],
)
def test_a_connection_does_not_keep_the_request_that_opened_it(url: str, options: str, names: Iterable[str]) -> None:
    current: ContextVar[_Request] = ContextVar("current")

    async def handle(database: Database) -> weakref.ref[_Request]:
        request = _Request()
        current.set(request)
        for name in names:
            await CALLS[name](database)
        return weakref.ref(request)

    async def scenario() -> None:
        async with opened(url.replace("?", options, 1)) as database:
            request = await asyncio.create_task(handle(database))
            # The last callbacks of the task run in the next turns of the event loop.
            for _ in range(3):
                await asyncio.sleep(0)
            gc.collect()
            assert request() is None

    run_loop(scenario())

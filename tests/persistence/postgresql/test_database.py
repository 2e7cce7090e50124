"""Behaviour that only PostgreSQL has: it disconnects, and returns."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from domain.errors import StorageFailed
from domain.web_messages import ExternalReference, MessageState
from persistence import api_keys, web_message_lists
from persistence import web_messages as stored
from persistence.database import Database, DatabaseUnusable
from persistence.opening import open_database
from persistence.waits import Waits
from tests.factories import NOW, PARTY_ID, build_attachment, build_web_message
from tests.held_open_e import closed_port
from tests.persistence.rows import read_content
from tests.postgresql import PostgresqlServer

pytestmark = pytest.mark.anyio

CALLS: dict[str, Callable[[Database], Awaitable[object]]] = {
    "check_health": lambda database: database.check_health(),
    "get": lambda database: stored.get(database, PARTY_ID),
    "read_attachment": lambda database: read_content(database, build_attachment()),
    "list_by_party": lambda database: web_message_lists.list_by_party(database, PARTY_ID, 1, None),
    "list_by_reference": lambda database: web_message_lists.list_by_reference(
        database, ExternalReference("abc", "1"), 1, None
    ),
    "list_unsettled": lambda database: stored.list_unsettled(database, (MessageState.SENDING,), 1),
    "store": lambda database: stored.store(database, build_web_message()),
    "store_large": lambda database: stored.store(database, build_web_message(message="x" * 1_000_000)),
    "begin_sending": lambda database: stored.begin_sending(database, build_web_message(created=None), NOW),
    "mark_published": lambda database: stored.mark_published(database, build_web_message(), 1, NOW),
    "mark_unknown": lambda database: stored.mark_unknown(database, PARTY_ID),
    "drop_refused": lambda database: stored.drop_refused(database, PARTY_ID),
    "delete": lambda database: stored.delete(database, PARTY_ID),
    "find": lambda database: api_keys.find(database, "x"),
    "list_all": api_keys.list_all,
    "revoke": lambda database: api_keys.revoke(database, "x", NOW),
    "migrate": lambda database: database.migrate(),
    "check_version": lambda database: database.check_version(),
}


@pytest.fixture
async def unreachable() -> AsyncIterator[Database]:
    with closed_port() as port:
        database = open_database(f"postgresql://user:secret@127.0.0.1:{port}/db", Waits(pool_timeout=0.1))
        yield database
        await database.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_every_call_reports_a_server_that_accepts_no_connections(
    unreachable: Database, call: Callable[[Database], Awaitable[object]]
) -> None:
    with pytest.raises(StorageFailed, match="The database does not answer"):
        await call(unreachable)


@pytest.fixture
async def nowhere(postgresql_server: PostgresqlServer) -> AsyncIterator[Database]:
    database = open_database(postgresql_server.url("nobody_made_it"))
    yield database
    await database.close()


@pytest.mark.parametrize("name", ["check_health", "store", "migrate", "check_version"])
async def test_calls_report_a_missing_database(nowhere: Database, name: str) -> None:
    """As while a server starts up, shuts down, or has no connection left: these errors have no SQLAlchemy class."""
    with pytest.raises(StorageFailed, match="The database does not answer"):
        await CALLS[name](nowhere)


@pytest.mark.parametrize("option", ["sslmode=disable", "sslmode=prefer", "ssl=disable"])
def test_address_may_specify_encryption(
    postgresql_server: PostgresqlServer, run: Callable[[Awaitable[None]], None], option: str
) -> None:
    async def scenario() -> None:
        database = open_database(f"{postgresql_server.url('template1')}&{option}")
        await database.check_health()
        await database.close()

    run(scenario())


@pytest.mark.parametrize("option", ["no_such_option=1", "host=a&no_such_option=secret"])
def test_address_with_an_unknown_option_is_refused(option: str) -> None:
    with pytest.raises(DatabaseUnusable, match="no_such_option") as caught:
        open_database(f"postgresql://user:secret@host/db?{option}")
    assert "secret" not in str(caught.value)


def test_database_that_ended_its_connections_works_again(
    postgresql_server: PostgresqlServer, run: Callable[[Awaitable[None]], None]
) -> None:
    url = postgresql_server.create_migrated()
    name = url.split("?")[0].rpartition("/")[2]
    terminate = f"select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '{name}'"

    async def scenario() -> None:
        database = open_database(url)
        first, second = build_web_message(), build_web_message()
        await stored.store(database, first)
        await asyncio.to_thread(postgresql_server.execute, terminate)
        for _ in range(2):
            try:
                await stored.store(database, second)
            except StorageFailed:
                continue
            break
        assert await stored.get(database, first.id) == first
        assert await stored.get(database, second.id) == second
        await database.close()

    run(scenario())


def test_times_are_independent_of_the_time_zone_of_the_session(
    postgresql_server: PostgresqlServer, run: Callable[[Awaitable[None]], None]
) -> None:
    url = postgresql_server.create_migrated()
    name = url.split("?")[0].rpartition("/")[2]
    postgresql_server.execute(f"alter database {name} set timezone to 'Europe/Stockholm'")

    async def scenario() -> None:
        database = open_database(url)
        message = build_web_message()
        await stored.store(database, message)
        found = await stored.get(database, message.id)
        assert found == message
        assert found.created is not None
        assert found.created.isoformat() == NOW.isoformat()
        await database.close()

    run(scenario())

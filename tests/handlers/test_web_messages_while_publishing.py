"""Concurrent requests and failures during a call to Open-E."""

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import asyncpg
import httpx
import pytest
import sqlalchemy as sa

from conftest import MESSAGES_KEY, RunningService, running_service
from domain.web_messages import MessageState
from tests.factories import build_case_body, build_message_body
from tests.handlers.messages import create_id, get_message, list_unsettled_messages, read_problem
from tests.held_open_e import HeldOpenE, closed_port
from tests.persistence.postgresql.test_database_waits import WAITS_FOR_MESSAGES, build_proxied_url
from tests.postgresql import PostgresqlServer
from tests.raw_http import RawConnection
from tests.tcp_proxy import tcp_proxy
from tests.waiting import block_until

UNKNOWN = re.compile(r"Whether message '([0-9a-f-]{36})' was published is unknown")


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@contextlib.contextmanager
def service_of(database_url: str, held: HeldOpenE, **settings: Any) -> Iterator[RunningService]:
    with running_service(database_url=database_url, open_e_external_url=held.url, **settings) as service:
        try:
            yield service
        finally:
            held.release_calls()


def post_case(callers: ThreadPoolExecutor, service: RunningService, **changes: Any) -> Future[httpx.Response]:
    return callers.submit(service.client.post, "/webmessages", json=build_case_body(**changes))


def test_message_is_stored_as_sending_before_the_open_e_call(
    database_url: str, held: HeldOpenE, callers: ThreadPoolExecutor
) -> None:
    with service_of(database_url, held) as service:
        party_id = create_id()
        response = post_case(callers, service, partyId=party_id)
        held.wait_for_calls(1)
        (message,) = list_unsettled_messages(service)
        assert (message.state, message.flow_instance_id) == (MessageState.SENDING, 1068)
        assert service.client.get(f"/webmessages/{message.id}").status_code == 404
        assert service.client.delete(f"/webmessages/{message.id}").status_code == 404
        assert service.client.get(f"/webmessages/recipients/{party_id}").json() == []
        assert service.client.get("/webmessages/external-references/flowInstanceId/1068").json() == []
        held.release_calls()
        assert response.result().headers["location"] == f"/webmessages/{message.id}"
        created = get_message(service, message.id)["created"]
        assert created > message.sent.isoformat(timespec="milliseconds")
        assert list_unsettled_messages(service) == []


def test_other_callers_are_served_during_an_open_e_call(
    database_url: str, held: HeldOpenE, callers: ThreadPoolExecutor
) -> None:
    with service_of(database_url, held) as service:
        response = post_case(callers, service)
        held.wait_for_calls(1)
        location = service.client.post("/webmessages", json=build_message_body()).headers["location"]
        assert service.client.get(location).status_code == 200
        assert service.client.delete(location).status_code == 204
        assert service.client.get("/health/ready").status_code == 200
        assert_no_transaction_is_open(database_url)
        held.release_calls()
        assert response.result().status_code == 201


def assert_no_transaction_is_open(database_url: str) -> None:
    url = sa.make_url(database_url)
    if url.drivername == "sqlite":
        with contextlib.closing(sqlite3.connect(str(url.database), timeout=0, isolation_level=None)) as connection:
            connection.execute("begin exclusive")
            connection.execute("rollback")
        return

    async def in_transaction() -> int:
        connection = await asyncpg.connect(database_url)
        try:
            return int(
                await connection.fetchval(
                    "select count(*) from pg_stat_activity where datname = current_database()"
                    " and pid <> pg_backend_pid() and xact_start is not null"
                )
            )
        finally:
            await connection.close()

    assert asyncio.run(in_transaction()) == 0


def test_message_without_a_thread_in_time_is_refused_and_not_stored(
    sqlite_url: str, held: HeldOpenE, callers: ThreadPoolExecutor
) -> None:
    with service_of(sqlite_url, held, open_e_threads=2, open_e_queue_timeout=0.05) as service:
        responses = [post_case(callers, service) for _ in range(2)]
        held.wait_for_calls(2)
        refused = service.client.post("/webmessages", json=build_case_body())
        detail = read_problem(refused, 500, "Internal Server Error")["detail"]
        assert detail == "Open-E is busy: too many calls to it are waiting"
        assert len(list_unsettled_messages(service)) == 2
        held.release_calls()
        assert [response.result().status_code for response in responses] == [201, 201]
        assert list_unsettled_messages(service) == []
        assert held.calls == 2
        assert service.client.post("/webmessages", json=build_case_body()).status_code == 201


def test_message_waits_for_a_thread(sqlite_url: str, held: HeldOpenE, callers: ThreadPoolExecutor) -> None:
    with service_of(sqlite_url, held, open_e_threads=1) as service:
        responses = [post_case(callers, service) for _ in range(3)]
        held.wait_for_calls(1)
        assert len(list_unsettled_messages(service)) == 1
        held.release_calls()
        assert [response.result().status_code for response in responses] == [201, 201, 201]
        assert list_unsettled_messages(service) == []


def test_open_e_timeout_leaves_the_outcome_unknown(database_url: str, held: HeldOpenE) -> None:
    with service_of(database_url, held, open_e_read_timeout=0.2) as service:
        response = service.client.post("/webmessages", json=build_case_body())
        detail = read_problem(response, 500, "Internal Server Error")["detail"]
        (message,) = list_unsettled_messages(service)
        assert detail == f"Open-E did not answer in time. Whether message '{message.id}' was published is unknown"
        assert message.state is MessageState.UNKNOWN
        assert len(held.mock.messages) == 1


def test_unreachable_open_e_leaves_nothing(database_url: str) -> None:
    with (
        closed_port() as port,
        running_service(
            database_url=database_url, open_e_external_url=f"http://127.0.0.1:{port}/api/callback"
        ) as service,
    ):
        response = service.client.post("/webmessages", json=build_case_body())
        detail = read_problem(response, 500, "Internal Server Error")["detail"]
        assert detail == "Open-E could not be reached: it accepts no connections"
        assert list_unsettled_messages(service) == []
        assert service.client.get("/webmessages/external-references/flowInstanceId/1068").json() == []
        assert service.client.get("/health/ready").json()["components"]["openEExternal"] == "DOWN"


def test_disconnected_caller_changes_nothing(database_url: str, held: HeldOpenE) -> None:
    with service_of(database_url, held) as service:
        party_id = create_id()
        body = json.dumps(build_case_body(partyId=party_id)).encode()
        with RawConnection(service.port) as connection:
            connection.send(
                b"POST /webmessages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"apikey: %s\r\nContent-Length: %d\r\n\r\n%s" % (MESSAGES_KEY.encode(), len(body), body)
            )
            held.wait_for_calls(1)
        held.release_calls()
        block_until(lambda: not list_unsettled_messages(service))
        (message,) = service.client.get(f"/webmessages/recipients/{party_id}").json()
        assert get_message(service, message["id"])["message"] == "This is a message"


TERMINATION_MS = 30_000
"""Timeout for the end of a session of PostgreSQL."""


class Breakage:
    """Makes the database of a running service unavailable, and available again."""

    def __init__(self, url: str, server: PostgresqlServer) -> None:
        self._url = sa.make_url(url)
        self._server = server

    def begin(self) -> None:
        if self._url.drivername == "sqlite":
            self._on_sqlite("alter table web_messages rename to away")
            return
        self._server.execute(f"alter database {self._url.database} with allow_connections false")
        # A session that starts while this is done has no name of a database yet.
        is_left = f"datname = '{self._url.database}' or (datname is null and backend_type = 'client backend')"
        end_all = f"count(*) filter (where datname is null or pg_terminate_backend(pid, {TERMINATION_MS}))"
        while self._server.execute(f"select {end_all} from pg_stat_activity where {is_left}"):
            pass

    def end(self) -> None:
        if self._url.drivername == "sqlite":
            self._on_sqlite("alter table away rename to web_messages")
            return
        self._server.execute(f"alter database {self._url.database} with allow_connections true")

    def check(self, response: httpx.Response) -> None:
        """Assert the response to a call during this failure."""
        if self._url.drivername == "sqlite":
            # A missing table is not restored while a caller waits.
            value = read_problem(response, 500, "Internal Server Error")
            assert value["detail"] == "The database rejected a statement."
            return
        value = read_problem(response, 503, "Service Unavailable")
        assert value["detail"] == "The database does not answer."
        assert response.headers["Retry-After"] == "5"

    def _on_sqlite(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(str(self._url.database))) as connection:
            connection.execute(statement)
            connection.commit()


@pytest.fixture
def breakage(database_url: str, postgresql_server: PostgresqlServer) -> Breakage:
    return Breakage(database_url, postgresql_server)


def test_unavailable_database_prevents_the_open_e_call(database_url: str, held: HeldOpenE, breakage: Breakage) -> None:
    with service_of(database_url, held) as service:
        held.release_calls()
        assert service.client.post("/webmessages", json=build_case_body()).status_code == 201
        breakage.begin()
        breakage.check(service.client.post("/webmessages", json=build_case_body()))
        assert held.calls == 1
        breakage.end()
        assert service.client.post("/webmessages", json=build_case_body()).status_code == 201
        assert list_unsettled_messages(service) == []


def test_message_is_removed_when_the_response_to_storing_it_is_lost(
    postgresql_server: PostgresqlServer, held: HeldOpenE, callers: ThreadPoolExecutor
) -> None:
    """Open-E is not called, so the message is not in doubt, although the server has stored it."""
    url = postgresql_server.create_migrated()
    with (
        tcp_proxy(postgresql_server.socket) as proxy,
        service_of(build_proxied_url(proxy, url), held, database_pool_size=1) as service,
        asyncio.Runner() as runner,
    ):
        # The only connection prepares the statement, which would also wait for the lock.
        assert service.client.post("/webmessages", json=build_message_body()).status_code == 201
        administrator = runner.run(asyncpg.connect(url))
        runner.run(administrator.execute("begin; lock table web_messages"))
        response = post_case(callers, service)
        block_until(lambda: runner.run(administrator.fetchval(WAITS_FOR_MESSAGES)))
        proxy.freeze()
        runner.run(administrator.execute("commit"))
        block_until(lambda: runner.run(administrator.fetchval("select count(*) from web_messages")) >= 2)
        proxy.cut()
        read_problem(response.result(), 503, "Service Unavailable")
        wait_for_state(service, None)
        runner.run(administrator.close())
        assert held.calls == 0
    postgresql_server.give_back(url)


def test_message_that_becomes_readable_while_it_is_deleted_in_doubt_is_deleted(
    postgresql_server: PostgresqlServer, held: HeldOpenE, callers: ThreadPoolExecutor
) -> None:
    url = postgresql_server.create_migrated()
    with service_of(url, held) as service, asyncio.Runner() as runner:
        posting = post_case(callers, service)
        held.wait_for_calls(1)
        [message] = list_unsettled_messages(service)
        administrator = runner.run(asyncpg.connect(url))
        runner.run(administrator.execute("update web_messages set state = 'unknown'"))
        publish = "update web_messages set state = 'published', created = now(), open_e_message_id = 1"
        runner.run(administrator.execute(f"begin; {publish}"))
        deleting = callers.submit(service.client.delete, f"/webmessages/{message.id}")
        block_until(lambda: runner.run(administrator.fetchval("select count(*) from pg_locks where not granted")))
        runner.run(administrator.execute("commit"))
        assert deleting.result().status_code == 204
        assert service.client.get(f"/webmessages/{message.id}").status_code == 404
        assert runner.run(administrator.fetchval("select open_e_message_id from publication_traces")) == 1
        runner.run(administrator.close())
        held.release_calls()
        posting.result()
    postgresql_server.give_back(url)


def wait_for_state(service: RunningService, state: MessageState | None) -> None:
    """Return when the only unsettled message has this state, or when none is left."""
    states = [] if state is None else [state]
    block_until(lambda: [message.state for message in list_unsettled_messages(service)] == states)


def test_post_returns_201_when_the_database_recovers_in_time(
    database_url: str, held: HeldOpenE, breakage: Breakage
) -> None:
    with service_of(database_url, held, record_timeout=60) as service, ThreadPoolExecutor(20) as callers:
        futures = [post_case(callers, service) for _ in range(20)]
        held.wait_for_calls(20)
        breakage.begin()
        held.release_calls()
        done, _ = wait(futures, timeout=0.5)
        assert not done
        breakage.end()
        responses = [future.result() for future in futures]
        assert [response.status_code for response in responses] == [201] * 20
        assert len(held.mock.messages) == 20
        for response in responses:
            assert service.client.get(response.headers["location"]).status_code == 200
        assert list_unsettled_messages(service) == []


def test_published_message_becomes_readable_once_the_database_recovers(
    database_url: str, held: HeldOpenE, callers: ThreadPoolExecutor, breakage: Breakage
) -> None:
    with service_of(database_url, held, record_timeout=0.2) as service:
        response = post_case(callers, service)
        held.wait_for_calls(1)
        (message,) = list_unsettled_messages(service)
        breakage.begin()
        # Twice, so that a pool drops its dead connection and opens a new one.
        for _ in range(2):
            breakage.check(service.client.get(f"/webmessages/{message.id}"))
        held.release_calls()
        detail = read_problem(response.result(), 500, "Internal Server Error")["detail"]
        assert f"Open-E has published message '{message.id}'" in detail
        breakage.end()
        wait_for_state(service, None)
        assert get_message(service, message.id)["message"] == "This is a message"
        assert len(held.mock.messages) == 1


def test_unknown_outcome_is_recorded_once_the_database_recovers(
    database_url: str, held: HeldOpenE, callers: ThreadPoolExecutor, breakage: Breakage
) -> None:
    with service_of(database_url, held, record_timeout=0.2) as service:
        held.mock.fail("Http500")
        response = post_case(callers, service)
        held.wait_for_calls(1)
        (message,) = list_unsettled_messages(service)
        breakage.begin()
        held.release_calls()
        detail = read_problem(response.result(), 500, "Internal Server Error")["detail"]
        match = UNKNOWN.search(detail)
        assert match is not None, detail
        assert match[1] == message.id
        breakage.end()
        wait_for_state(service, MessageState.UNKNOWN)


def test_refused_message_is_removed_once_the_database_recovers(
    database_url: str, held: HeldOpenE, callers: ThreadPoolExecutor, breakage: Breakage
) -> None:
    with service_of(database_url, held, record_timeout=0.2) as service:
        held.mock.fail("FlowInstanceNotFound")
        response = post_case(callers, service)
        held.wait_for_calls(1)
        breakage.begin()
        held.release_calls()
        detail = read_problem(response.result(), 404, "Not Found")["detail"]
        assert detail == "The requested flow instance with ID 1068 was not found"
        breakage.end()
        wait_for_state(service, None)


def test_shutdown_leaves_a_message_as_sending_without_the_database(
    database_url: str, held: HeldOpenE, callers: ThreadPoolExecutor, breakage: Breakage
) -> None:
    with service_of(database_url, held, record_timeout=0.2) as service:
        response = post_case(callers, service)
        held.wait_for_calls(1)
        breakage.begin()
        held.release_calls()
        assert response.result().status_code == 500
    breakage.end()
    (message,) = list_unsettled_messages(service)
    assert message.state is MessageState.SENDING


def test_message_that_is_being_sent_cannot_be_read_or_deleted(
    database_url: str, held: HeldOpenE, callers: ThreadPoolExecutor
) -> None:
    with service_of(database_url, held) as service:
        posted = post_case(callers, service)
        held.wait_for_calls(1)
        [message] = list_unsettled_messages(service)
        for call in (service.client.get, service.client.delete):
            problem = read_problem(call(f"/webmessages/{message.id}"), 404, "Not Found")
            assert "is in doubt: it is not known yet whether Open-E published it" in problem["detail"]
        held.release_calls()
        assert posted.result().status_code == 201
        assert service.client.delete(f"/webmessages/{message.id}").status_code == 204

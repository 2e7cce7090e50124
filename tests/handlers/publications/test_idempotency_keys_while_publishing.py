"""Repetitions with an `Idempotency-Key` during the first request, and after its answer or its commit was lost."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx
import pytest
import responses

from conftest import MESSAGES_KEY, RunningService
from tests.factories import build_case_body, build_message_body
from tests.handlers.messages import create_id, list_unsettled_messages, read_problem
from tests.handlers.publications.test_idempotency_keys import (
    KINDS,
    assert_first,
    assert_in_use,
    assert_replayed,
    assert_reused,
    list_messages_of,
    post,
)
from tests.handlers.test_web_messages_while_publishing import Breakage, service_of
from tests.held_open_e import HeldOpenE
from tests.persistence.postgresql.test_database_waits import WAITS_FOR_MESSAGES, build_proxied_url
from tests.postgresql import PostgresqlServer
from tests.shown_commands import read_block_in
from tests.tcp_proxy import tcp_proxy
from tests.waiting import block_until


@pytest.fixture
def breakage(database_url: str, postgresql_server: PostgresqlServer) -> Breakage:
    return Breakage(database_url, postgresql_server)


def test_repetition_during_the_call_gets_409_and_needs_no_slot(database_url: str, held: HeldOpenE) -> None:
    with service_of(database_url, held, open_e_threads=1) as service, ThreadPoolExecutor(1) as callers:
        first = callers.submit(post, service, "1", build_case_body())
        held.wait_for_calls(1)
        for _ in range(3):
            assert_in_use(post(service, "1", build_case_body()))
        assert_reused(post(service, "1", build_case_body(message="Other")))
        held.release_calls()
        location = assert_first(first.result())
        assert_replayed(post(service, "1", build_case_body()), location)
    assert held.calls == 1


def test_replay_needs_no_slot(database_url: str, held: HeldOpenE) -> None:
    with service_of(database_url, held, open_e_threads=1) as service, ThreadPoolExecutor(1) as callers:
        held.release_calls()
        location = assert_first(post(service, "1", build_case_body()))
        held.hold_calls()
        other = callers.submit(post, service, "2", build_case_body())
        held.wait_for_calls(2)
        assert_replayed(post(service, "1", build_case_body()), location)
        held.release_calls()
        assert_first(other.result())


def test_failed_database_leaves_the_key_free(database_url: str, held: HeldOpenE, breakage: Breakage) -> None:
    with service_of(database_url, held) as service:
        held.release_calls()
        assert_first(post(service, "1", build_case_body()))
        breakage.begin()
        breakage.check(post(service, "2", build_case_body()))
        breakage.end()
        assert_first(post(service, "2", build_case_body()))
        assert held.calls == 2
        assert list_unsettled_messages(service) == []


def post_and_lose_the_commit(
    service: RunningService, proxy: Any, url: str, callers: ThreadPoolExecutor, body: dict[str, Any]
) -> httpx.Response:
    """Post a message with the key "2" whose commit succeeds while its answer is lost."""
    with asyncio.Runner() as runner:
        administrator = runner.run(asyncpg.connect(url))
        runner.run(administrator.execute("begin; lock table web_messages in share mode"))
        response: Future[httpx.Response] = callers.submit(post, service, "2", body)
        block_until(lambda: runner.run(administrator.fetchval(WAITS_FOR_MESSAGES)))
        proxy.freeze()
        runner.run(administrator.execute("commit"))
        block_until(lambda: runner.run(administrator.fetchval("select count(*) from web_messages")) >= 2)
        proxy.cut()
        result = response.result()
        runner.run(administrator.close())
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_lost_commit_creates_at_most_one_message(
    postgresql_server: PostgresqlServer, held: HeldOpenE, kind: str
) -> None:
    """A message without a case was stored, so it is replayed; one with a case was not sent, so its key becomes free."""
    url = postgresql_server.create_migrated()
    held.release_calls()
    with (
        tcp_proxy(postgresql_server.socket) as proxy,
        # With one connection, the first post prepares the statement of the second, which would also wait for the lock.
        service_of(build_proxied_url(proxy, url), held, database_pool_size=1) as service,
        ThreadPoolExecutor(1) as callers,
    ):
        body = KINDS[kind](partyId=create_id())
        assert_first(post(service, "1", KINDS[kind](partyId=create_id())))
        calls = held.calls
        read_problem(post_and_lose_the_commit(service, proxy, url, callers, body), 503, "Service Unavailable")
        while (repeated := post(service, "2", body)).status_code in {409, 503}:
            pass
        if kind == "to a case":
            location = assert_first(repeated)
        else:
            location = repeated.headers["Location"]
            assert_replayed(repeated, location)
        assert_replayed(post(service, "2", body), location)
        assert list_messages_of(service, body["partyId"]) == [location]
        assert held.calls == calls + (kind == "to a case")
        assert list_unsettled_messages(service) == []
    postgresql_server.give_back(url)


def load_shown_function() -> Any:
    """Return the function `post_message` of the guide."""
    names: dict[str, Any] = {}
    exec(read_block_in("docs/how-to/retry-safely.md", "python"), names)  # It is our own.
    return names["post_message"]


def test_shown_function_creates_one_message_when_an_answer_is_lost(database_url: str, held: HeldOpenE) -> None:
    post_message = load_shown_function()
    with service_of(database_url, held) as service, ThreadPoolExecutor(1) as callers:
        address = (httpx.URL(service.url).host, service.port)
        with tcp_proxy(address) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            location = callers.submit(post_message, url, MESSAGES_KEY, build_case_body(), "1")
            held.wait_for_calls(1)
            proxy.cut()
            held.release_calls()
            path = location.result()
        assert_replayed(post(service, "1", build_case_body()), path)
        assert held.calls == 1
        assert service.client.get(path).json()["message"] == "This is a message"


def test_shown_function_repeats_refused_messages_until_its_deadline(database_url: str, held: HeldOpenE) -> None:
    post_message = load_shown_function()
    held.release_calls()
    with service_of(database_url, held) as service:
        held.mock.fail("AccessDenied")
        path = post_message(service.url, MESSAGES_KEY, build_case_body(), "1")
        assert held.calls == 2
        assert_replayed(post(service, "1", build_case_body()), path)
        held.mock.fail("AccessDenied")
        with pytest.raises(TimeoutError, match="does not have access"):
            post_message(service.url, MESSAGES_KEY, build_case_body(), "2", seconds=0)
        with pytest.raises(ValueError, match="Unprocessable Content"):
            post_message(service.url, MESSAGES_KEY, build_message_body(), "1")
        with pytest.raises(ValueError, match="must not be blank"):
            post_message(service.url, MESSAGES_KEY, build_message_body(message=""), "1")


def test_shown_function_gives_up_when_nothing_answers() -> None:
    with pytest.raises(TimeoutError, match="no response"):
        load_shown_function()("http://127.0.0.1:1", MESSAGES_KEY, build_message_body(), "1", seconds=0)


@responses.activate
def test_shown_function_repeats_requests_that_a_proxy_answered() -> None:
    url = "http://budkavle.test"
    for status in (502, 504):
        responses.post(f"{url}/webmessages", status=status, headers={"Retry-After": "0"})
    responses.post(f"{url}/webmessages", status=201, headers={"Location": "/webmessages/1"})
    assert load_shown_function()(url, MESSAGES_KEY, build_message_body(), "1", seconds=60) == "/webmessages/1"
    assert {call.request.headers["Idempotency-Key"] for call in responses.calls} == {'"1"'}

"""kill -9 at the worst moments: no message is lost."""

import asyncio
import contextlib
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx
import pytest
import sqlalchemy as sa

from domain.web_messages import UNSETTLED_STATES
from persistence.web_messages import list_unsettled
from tests.budkavle.services import RunningProgram, put_key, running_program
from tests.databases import run_with_database
from tests.factories import PARTY_ID, build_case_body, build_message_body
from tests.held_open_e import HeldOpenE
from tests.processes import SECONDS


def post_until_killed(
    service: RunningProgram, body: dict[str, Any], hold: "contextlib.AbstractContextManager[None]", held: HeldOpenE
) -> None:
    """Post a message, and kill the service within `hold`, after Open-E received the call."""
    with ThreadPoolExecutor(1) as caller:
        response = caller.submit(service.client.post, "/webmessages", json=body)
        held.wait_for_calls(1)
        with hold:
            service.process.send(signal.SIGKILL)
            assert service.process.wait() == -signal.SIGKILL
        with pytest.raises(httpx.TransportError):
            response.result(SECONDS)


def assert_stored_but_hidden(database_url: str, held: HeldOpenE) -> None:
    """Assert that after a restart the message is stored as `sending`, and no caller sees it while its call may run."""
    with running_program(database_url, open_e_external_url=held.url) as service:
        assert service.client.get(f"/webmessages/recipients/{PARTY_ID}").json() == []
        assert service.client.get("/webmessages/external-references/flowInstanceId/1068").json() == []
        (message,) = run_with_database(database_url, lambda database: list_unsettled(database, UNSETTLED_STATES, 10))
        assert (message.state, message.oep_instance, message.flow_instance_id) == ("sending", "external", 1068)
        for method in ("GET", "DELETE"):
            assert service.client.request(method, f"/webmessages/{message.id}").status_code == 404
        # The service does not send it again on its own, and handles new messages.
        assert held.calls == 1
        held.release_calls()
        assert service.client.post("/webmessages", json=build_case_body()).status_code == 201
        assert held.calls == 2
    assert [message["flowInstanceID"] for message in held.mock.messages] == [1068, 1068]


def test_service_killed_during_an_open_e_call_keeps_the_message(database_url: str, held: HeldOpenE) -> None:
    put_key(database_url)
    with running_program(database_url, open_e_external_url=held.url) as service:
        body = build_case_body(attachments=[{"fileName": "a.txt", "base64Data": "YQ=="}])
        post_until_killed(service, body, contextlib.nullcontext(), held)
    assert_stored_but_hidden(database_url, held)


@contextlib.contextmanager
def block_storing(database_url: str, held: HeldOpenE) -> Iterator[None]:
    """Block the service from storing the outcome, and let Open-E respond."""
    url = sa.make_url(database_url)
    if url.drivername == "sqlite":
        connection = sqlite3.connect(str(url.database), isolation_level=None)
        connection.execute("begin immediate")
        held.release_calls()
        yield
        connection.execute("rollback")
        connection.close()
        return
    is_locked, may_end = threading.Event(), threading.Event()

    async def lock() -> None:
        other = await asyncpg.connect(database_url)
        transaction = other.transaction()
        await transaction.start()
        await other.execute("lock table web_messages in exclusive mode")
        is_locked.set()
        await asyncio.to_thread(may_end.wait, SECONDS)
        await transaction.rollback()
        await other.close()

    thread = threading.Thread(target=lambda: asyncio.run(lock()))
    thread.start()
    assert is_locked.wait(SECONDS)
    held.release_calls()
    try:
        yield
    finally:
        may_end.set()
        thread.join()


def test_service_killed_after_the_open_e_response_keeps_the_message(database_url: str, held: HeldOpenE) -> None:
    put_key(database_url)
    with running_program(database_url, open_e_external_url=held.url) as service:
        post_until_killed(service, build_case_body(), block_storing(database_url, held), held)
    assert_stored_but_hidden(database_url, held)


def test_acknowledged_messages_survive_a_kill_during_many_posts(database_url: str) -> None:
    put_key(database_url)
    many = threading.Semaphore(0)
    locations: list[str] = []

    def post(service: RunningProgram) -> None:
        with contextlib.suppress(httpx.TransportError):
            while True:
                response = service.client.post("/webmessages", json=build_message_body())
                assert response.status_code == 201
                locations.append(response.headers["location"])
                many.release()

    large = [{"fileName": "a.bin", "base64Data": "QUJD" * 100_000}]
    with running_program(database_url) as service, ThreadPoolExecutor(8) as callers:
        with_file = service.client.post("/webmessages", json=build_message_body(attachments=large)).headers["location"]
        posts = [callers.submit(post, service) for _ in range(8)]
        for _ in range(100):
            assert many.acquire(timeout=SECONDS)
        service.process.send(signal.SIGKILL)
        assert service.process.wait() == -signal.SIGKILL
        for each in posts:
            each.result(SECONDS)
    with running_program(database_url) as service:
        stored = {message["id"] for message in service.client.get(f"/webmessages/recipients/{PARTY_ID}").json()}
        assert {location.removeprefix("/webmessages/") for location in locations} <= stored
        (file,) = service.client.get(with_file).json()["attachments"]
        assert file["base64Data"] == large[0]["base64Data"]

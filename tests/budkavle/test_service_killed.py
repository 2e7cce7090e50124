"""kill -9 while messages are posted by key: the caller repeats them, and each is created once."""

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import httpx
import pytest

from conftest import MESSAGES_KEY, running_service
from mock_open_e import MockOpenE
from tests.budkavle.kill_at_lines import FIRST_CASE, build_body
from tests.budkavle.services import KEY, put_key, running_program
from tests.factories import build_case_body, build_message_body
from tests.mock_servers import running_mock
from tests.processes import SECONDS, run_program

FAST = {"open_e_connect_timeout": 1, "open_e_read_timeout": 1, "settle_margin": 1, "settle_interval": 0.2}
"""Settings with which a message that is not on its case is settled within seconds."""

POLL_SECONDS = 0.05
"""Seconds between two looks at what another process does."""

RETRY_SECONDS = 0.3
"""Seconds between two posts of a caller. Sixteen callers that post more often only use the processor."""

KINDS = {"to a case": build_case_body, "stored only": build_message_body}


@pytest.fixture
def mock() -> MockOpenE:
    return MockOpenE()


@pytest.fixture
def callback(mock: MockOpenE) -> Iterator[str]:
    """Yield the address of the mock for the service."""
    with running_mock(mock) as url:
        yield f"{url}/external/api/callback"


def repeat(client: httpx.Client, key: str, body: object) -> httpx.Response:
    """Repeat a post until its outcome is known."""
    while True:
        response = client.post("/webmessages", json=body, headers={"Idempotency-Key": key})
        if response.status_code != 409:
            assert response.status_code == 201, response.text
            return response
        threading.Event().wait(RETRY_SECONDS)


@pytest.mark.parametrize("kind", KINDS)
def test_post_that_is_killed_at_any_line_can_be_repeated(
    database_url: str, mock: MockOpenE, callback: str, kind: str
) -> None:
    settings = {"database_url": database_url, "open_e_external_url": callback} | FAST
    killed = run_program(sys.executable, "-m", "tests.budkavle.kill_at_lines", kind, **settings)
    assert killed.returncode == 0, killed.stderr
    number = int(killed.stdout.splitlines()[-1])
    assert number > 50
    with running_service(**settings) as service, ThreadPoolExecutor(16) as callers:
        assert service.client.headers["apikey"] == MESSAGES_KEY
        numbers = range(number + 2)
        responses = list(callers.map(lambda each: repeat(service.client, str(each), build_body(kind, each)), numbers))
        for each, response in zip(numbers, responses, strict=True):
            found = service.client.get(f"/webmessages/recipients/{build_body(kind, each)['partyId']}").json()
            assert [f"/webmessages/{message['id']}" for message in found] == [response.headers["Location"]], each
        replayed = ["Idempotency-Replayed" in response.headers for response in responses]
        assert (replayed[0], replayed[1], replayed[-1]) == (True, False, True)
    cases = [FIRST_CASE + each for each in numbers] if kind == "to a case" else []
    assert sorted(message["flowInstanceID"] for message in mock.messages) == cases


def test_post_that_is_killed_during_the_call_is_not_published_again(
    database_url: str, mock: MockOpenE, callback: str
) -> None:
    put_key(database_url)
    mock.fail("Slow", seconds=3600)
    with running_program(database_url, open_e_external_url=callback) as service, ThreadPoolExecutor(1) as caller:
        response = caller.submit(
            service.client.post, "/webmessages", json=build_case_body(), headers={"Idempotency-Key": "1"}
        )
        while not mock.messages:
            threading.Event().wait(POLL_SECONDS)
        service.process.send(signal.SIGKILL)
        assert service.process.wait() == -signal.SIGKILL
        with pytest.raises(httpx.TransportError):
            response.result(SECONDS)
    with running_program(database_url, open_e_external_url=callback, **FAST) as service:
        repeated = repeat(service.client, "1", build_case_body())
        assert repeated.headers["Idempotency-Replayed"] == "true"
        assert service.client.get(repeated.headers["Location"]).status_code == 200
    assert len(mock.messages) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_create_one_message_for_one_key(
    database_url: str, mock: MockOpenE, callback: str, kind: str
) -> None:
    put_key(database_url)
    settings = {"open_e_external_url": callback}
    with (
        running_program(database_url, **settings) as one,
        running_program(database_url, **settings) as two,
        ThreadPoolExecutor(50) as callers,
    ):
        services = cycle((one, two))
        barrier = threading.Barrier(50)

        def post(_: int) -> httpx.Response:
            client = next(services).client
            barrier.wait(SECONDS)
            body = KINDS[kind]()
            return client.post("/webmessages", json=body, headers={"apikey": KEY, "Idempotency-Key": "1"})

        responses = list(callers.map(post, range(50)))
        assert {response.status_code for response in responses} <= {201, 409}
        created = [response for response in responses if response.status_code == 201]
        assert sum("Idempotency-Replayed" not in response.headers for response in created) == 1
        (location,) = {response.headers["Location"] for response in created}
        for service in (one, two):
            assert repeat(service.client, "1", KINDS[kind]()).headers["Location"] == location
            (message,) = service.client.get(f"/webmessages/recipients/{KINDS[kind]()['partyId']}").json()
            assert location == f"/webmessages/{message['id']}"
    assert len(mock.messages) == (kind == "to a case")

"""kill -9 while messages in doubt are settled: each ends on its case and readable once, or nowhere."""

import random
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from domain.web_messages import MessageState
from mock_open_e import MockOpenE
from persistence import web_messages as stored
from tests.budkavle.services import RunningProgram, put_key, running_program
from tests.databases import run_with_database
from tests.factories import build_case_body
from tests.mock_servers import running_mock
from tests.waiting import block_until

CASES = range(101, 105)
SETTINGS = {
    "open_e_connect_timeout": 1,
    "open_e_read_timeout": 1,
    "open_e_pause_after": 1000,
    "settle_interval": 0.05,
    "settle_margin": 1,
    "settle_lease": 3,
}


def post_all(service: RunningProgram, texts: list[str]) -> list[int]:
    """Post messages concurrently, and return their statuses, 0 for those without a response."""

    def post(text: str) -> int:
        body = build_case_body(random.choice(CASES), message=text)
        try:
            return service.client.post("/webmessages", json=body).status_code
        except httpx.TransportError:
            return 0

    with ThreadPoolExecutor(4) as callers:
        return list(callers.map(post, texts))


def list_readable(service: RunningProgram) -> list[Any]:
    return [
        message["message"]
        for case in CASES
        for message in service.client.get(f"/webmessages/external-references/flowInstanceId/{case}").json()
    ]


def count_reads(mock: MockOpenE) -> int:
    return sum(entry.operation == "messageapi" for entry in mock.list_calls())


def count_unsettled(database_url: str) -> int:
    states = (MessageState.SENDING, MessageState.UNKNOWN)
    return len(run_with_database(database_url, lambda database: stored.list_unsettled(database, states, 1000)))


@pytest.mark.timeout(200)
def test_settlers_that_are_killed_settle_each_message_once(database_url: str) -> None:
    put_key(database_url)
    mock = MockOpenE()
    accepted: list[str] = []
    posted: list[str] = []
    with running_mock(mock) as address:
        settings: dict[str, object] = {**SETTINGS, "open_e_external_url": f"{address}/external/api/callback"}
        mock.fail("AcceptedAnswerLost", times=None, every=3)
        mock.fail("Reset", times=None, every=4)
        mock.fail("Http500", times=None, every=3, operation="messageapi")
        for number in range(4):
            texts = [f"message {number}.{place}" for place in range(8)]
            with running_program(database_url, **settings) as service:
                statuses = post_all(service, texts)
                posted += texts
                accepted += [text for text, status in zip(texts, statuses, strict=True) if status == 201]
                # Kill it within one of the next read-backs, or soon after it.
                reads = count_reads(mock)
                block_until(lambda reads=reads: count_reads(mock) != reads or not count_unsettled(database_url))
                service.process.send(signal.SIGKILL)
                assert service.process.wait() == -signal.SIGKILL
        mock.clear_faults()
        with running_program(database_url, **settings) as service, running_program(database_url, **settings):
            block_until(lambda: not count_unsettled(database_url))
            readable = Counter(list_readable(service))
    on_cases = Counter(message["message"] for message in mock.messages)
    assert readable == on_cases
    assert set(on_cases.values()) == {1}
    assert set(accepted) <= set(on_cases) <= set(posted)

"""Operators settle messages while the service does, together, or killed: none is published twice or lost."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from domain.web_messages import UNSETTLED_STATES, MessageState, UnsettledMessage
from mock_open_e import MockOpenE
from persistence import web_messages as stored
from tests.budkavle.commands.test_web_messages import find_message, publish_on, put_in_doubt, to_case
from tests.budkavle.conftest import Invoke
from tests.budkavle.services import RunningProgram, put_key, running_program
from tests.databases import run_with_database
from tests.factories import build_case_body
from tests.processes import budkavle, run_program, running
from tests.waiting import block_until

CALL_SECONDS = 0.3
CASES = range(101, 115)


@pytest.fixture
def settings(address: str) -> dict[str, Any]:
    return {
        "open_e_external_url": f"{address}/external/api/callback",
        "open_e_connect_timeout": "1",
        "open_e_read_timeout": "1",
        "settle_interval": "0.05",
        "settle_margin": "1",
        "settle_lease": "3",
    }


def list_unsettled(database_url: str) -> list[UnsettledMessage]:
    found: list[UnsettledMessage] = run_with_database(
        database_url, lambda database: stored.list_unsettled(database, UNSETTLED_STATES, 1000)
    )
    return found


def is_sending(database_url: str, message_id: str) -> bool:
    return any(
        message.id == message_id and message.state is MessageState.SENDING for message in list_unsettled(database_url)
    )


def list_readable(service: RunningProgram) -> Counter[str]:
    return Counter(
        message["message"]
        for case in CASES
        for message in service.client.get(f"/webmessages/external-references/flowInstanceId/{case}").json()
    )


def count_on_cases(mock: MockOpenE) -> Counter[str]:
    return Counter(message["message"] for message in mock.messages)


def kill_when(
    database_url: str, message_id: str, settings: dict[str, Any], is_reached: Callable[[], bool], delay: float
) -> None:
    """Start to send a message again, and kill the command some seconds after it has reached a step."""
    command = budkavle("messages", "settle", message_id, "--resend")
    with running(*command, database_url=database_url, **settings) as process:
        block_until(lambda: is_reached() or not process.is_running)
        moment = time.monotonic() + delay
        block_until(lambda: time.monotonic() >= moment or not process.is_running)
        process.send(signal.SIGKILL)
        process.wait()


@pytest.mark.timeout(200)
def test_resend_that_is_killed_publishes_no_message_twice(
    database_url: str, mock: MockOpenE, settings: dict[str, Any]
) -> None:
    put_key(database_url)
    mock.fail("Slow", times=None, seconds=CALL_SECONDS)
    steps: list[str] = ["read", "sending", "on case", *["random"] * 5]
    for number, step in enumerate(steps, start=101):
        message_id = put_in_doubt(database_url, to_case(f"message {number}", number))
        reads, messages = len(mock.list_calls()), len(mock.messages)
        reached: dict[str, Callable[[], bool]] = {
            "read": lambda reads=reads: len(mock.list_calls()) > reads,  # type: ignore[misc]
            "sending": lambda message_id=message_id: is_sending(database_url, message_id),  # type: ignore[misc]
            "on case": lambda messages=messages: len(mock.messages) > messages,  # type: ignore[misc]
        }
        # From the read-back on, the command takes about as long as its two slow calls.
        name, delay = ("read", random.uniform(0, 2 * CALL_SECONDS)) if step == "random" else (step, 0.0)
        kill_when(database_url, message_id, settings | {"settle_margin": "0"}, reached[name], delay)
        if step == "sending":
            assert is_sending(database_url, message_id)
    mock.clear_faults()
    with running_program(database_url, **settings) as service:
        block_until(lambda: not list_unsettled(database_url))
        readable = list_readable(service)
    assert readable == count_on_cases(mock)
    assert set(readable.values()) == {1}
    # It was killed when the message was on its case.
    assert readable["message 103"] == 1


def test_two_operators_at_once_send_a_message_once(
    database_url: str, mock: MockOpenE, settings: dict[str, Any]
) -> None:
    # Both wait for the same moment, and the call of the first one takes longer than the next read-back of the other.
    settings |= {"settle_margin": "4", "open_e_read_timeout": "5"}
    mock.fail("Slow", times=None, seconds=3, operation="addMessage")
    message_id = put_in_doubt(database_url, to_case("Hej", 101))

    def resend(_operator: int) -> tuple[int, str]:
        command = budkavle("messages", "settle", message_id, "--resend")
        result = run_program(*command, database_url=database_url, **settings)
        return result.returncode, result.stdout + result.stderr

    with ThreadPoolExecutor(2) as operators:
        results = sorted(operators.map(resend, range(2)))
    assert [code for code, _ in results] == [0, 1], results
    assert "no longer in doubt: it is being sent" in results[1][1]
    assert count_on_cases(mock) == {"Hej": 1}
    assert find_message(database_url, message_id).created is not None


def test_operators_send_messages_again_while_the_service_settles_them(
    database_url: str, mock: MockOpenE, settings: dict[str, Any]
) -> None:
    put_key(database_url)
    # The service deletes a message this long after its first read-back, unless a command has claimed its case.
    settings["settle_margin"] = "4"

    def resend(message_id: str) -> int:
        command = budkavle("messages", "settle", message_id, "--resend")
        return run_program(*command, database_url=database_url, **settings).returncode

    with running_program(database_url, **settings) as service, ThreadPoolExecutor(2) as operators:
        ids = []
        codes = []
        for number in range(101, 105):
            ids.append(put_in_doubt(database_url, to_case(f"message {number}", number)))
            codes.append(operators.submit(resend, ids[-1]))
        results = [each.result() for each in codes]
        block_until(lambda: not list_unsettled(database_url))
        readable = list_readable(service)
    assert readable == count_on_cases(mock)
    assert set(readable.values()) <= {1}
    # A command that ends with 0 has published its message, any other has not.
    assert [code == 0 for code in results] == [readable[f"message {number}"] == 1 for number in range(101, 105)]


def test_operators_decide_while_the_service_settles(
    database_url: str, invoke: Invoke, mock: MockOpenE, address: str, settings: dict[str, Any]
) -> None:
    put_key(database_url)
    # Read-backs take as long as the beginning of a command.
    mock.fail("Slow", times=None, seconds=CALL_SECONDS / 2, operation="messageapi")
    with running_program(database_url, **settings) as service:
        for number in range(101, 109):
            message, is_on_case = to_case(f"message {number}", number), number % 2 == 0
            if is_on_case:
                publish_on(address, message)
            put_in_doubt(database_url, message)
            decision = ("--published",) if is_on_case else ("--not-published",)
            result = invoke(database_url, "messages", "settle", message.id, *decision)
            if result.exit_code:
                assert "doubt" in result.stderr or "does not exist" in result.stderr, result.stderr
        block_until(lambda: not list_unsettled(database_url))
        readable = list_readable(service)
    assert readable == count_on_cases(mock)
    assert sorted(readable) == [f"message {number}" for number in range(102, 109, 2)]


def test_decisions_of_operators_settle_the_idempotency_key(
    database_url: str, invoke: Invoke, mock: MockOpenE, settings: dict[str, Any]
) -> None:
    put_key(database_url)
    mock.fail("Http403", times=None, operation="messageapi")
    with running_program(database_url, **settings) as service:

        def post(text: str) -> Any:
            return service.client.post(
                "/webmessages", json=build_case_body(7, message=text), headers={"Idempotency-Key": f'"{text}"'}
            )

        for text, fault, options in (
            ("arrived", "AcceptedAnswerLost", ("--published",)),
            ("lost", "Reset", ("--not-published",)),
        ):
            mock.fail(fault, operation="addMessage")  # type: ignore[arg-type]
            assert post(text).status_code == 500
            assert post(text).status_code == 409
            (message,) = list_unsettled(database_url)
            result = invoke(database_url, "messages", "settle", message.id, *options)
            assert result.exit_code == 0, result.output
            response = post(text)
            assert response.status_code == 201, response.text
            is_replayed = response.headers.get("idempotency-replayed") == "true"
            assert is_replayed == (text == "arrived")
            assert response.headers["location"].endswith(message.id) == is_replayed
    assert count_on_cases(mock) == {"arrived": 1, "lost": 1}

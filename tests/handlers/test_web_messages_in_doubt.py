"""Messages in doubt over HTTP: read, delete and settle them; an Open-E that does not answer."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import RunningService, running_service
from mock_open_e import MockOpenE
from persistence import audit
from persistence.opening import open_database
from tests.factories import build_case_body, build_message_body
from tests.handlers.conftest import OPEN_E_URLS
from tests.handlers.messages import create_id, get_message, list_unsettled_messages, read_problem
from tests.waiting import block_until

IN_DOUBT = "WebMessage with id '{}' is in doubt: it is not known yet whether Open-E published it"
ID = re.compile(r"message '([0-9a-f-]{36})'")


@pytest.fixture(autouse=True)
def _healthy_open_e(shared_open_e: MockOpenE) -> Iterator[None]:
    shared_open_e.clear()
    yield
    shared_open_e.clear()


def lose_answer(service: RunningService, open_e: MockOpenE, **changes: Any) -> str:
    """Post a message whose response from Open-E is lost, and return its id."""
    open_e.fail("AcceptedAnswerLost")
    problem = read_problem(
        service.client.post("/webmessages", json=build_case_body(**changes)), 500, "Internal Server Error"
    )
    found = ID.search(problem["detail"])
    assert found
    return found[1]


def list_audit(service: RunningService, run: Callable[[Any], Any]) -> list[Any]:
    async def read() -> list[Any]:
        database = open_database(service.settings.database_url.get_secret_value())
        page = await audit.list_page(database, after=0, limit=100, chain="web-messages")
        await database.close()
        return [each.entry for _, each in page]

    entries: list[Any] = run(read())
    return entries


def test_get_of_a_message_in_doubt_says_so(shared: RunningService, shared_open_e: MockOpenE) -> None:
    message_id = lose_answer(shared, shared_open_e)
    for path in (message_id, message_id.upper(), f"{message_id}/attachments/{create_id()}"):
        problem = read_problem(shared.client.get(f"/webmessages/{path}"), 404, "Not Found")
        assert problem["detail"] == IN_DOUBT.format(message_id)


def test_delete_of_a_message_in_doubt_leaves_nothing_to_read(
    shared: RunningService, shared_open_e: MockOpenE, run: Callable[[Any], Any]
) -> None:
    message_id = lose_answer(shared, shared_open_e)
    assert shared.client.delete(f"/webmessages/{message_id}").status_code == 204
    for call in (shared.client.get, shared.client.delete):
        problem = read_problem(call(f"/webmessages/{message_id}"), 404, "Not Found")
        assert problem["detail"] == f"WebMessage with id '{message_id}' not found"
    assert message_id not in {message.id for message in list_unsettled_messages(shared)}
    [entry] = [each for each in list_audit(shared, run) if each.detail["messageId"] == message_id]
    assert (entry.operation, entry.caller, entry.outcome) == ("deleteWebMessageById", "tests", "deleted_in_doubt")
    assert entry.detail["remark"] == "the case in Open-E may have the message"


def test_service_settles_messages_in_doubt(database_url: str, open_e: MockOpenE) -> None:
    with running_service(database_url=database_url, settle_interval=0.05, **OPEN_E_URLS) as service:
        message_id = lose_answer(service, open_e, message="Hej\nå")
        block_until(lambda: service.client.get(f"/webmessages/{message_id}").status_code != 404)
        assert get_message(service, message_id)["message"] == "Hej\nå"
        deadline = time.monotonic() + 30
        metrics = service.client.get("/metrics").text
        assert 'budkavle_messages_in_doubt{state="unknown"} 0.0' in metrics
        assert time.monotonic() < deadline
    assert len(open_e.messages) == 1


def test_posts_to_an_open_e_that_does_not_answer_are_refused_at_once(sqlite_url: str, open_e: MockOpenE) -> None:
    """The other instance, and messages without a case, are not affected."""
    settings = {"open_e_pause_after": 3, "open_e_pause_seconds": 0.2}
    with running_service(database_url=sqlite_url, **settings, **OPEN_E_URLS) as service:
        open_e.fail("Slow", times=None, seconds=60, instance="external")
        for _ in range(3):
            assert service.client.post("/webmessages", json=build_case_body()).status_code == 500
        response = service.client.post("/webmessages", json=build_case_body())
        problem = read_problem(response, 503, "Service Unavailable")
        assert problem["detail"] == "Open-E does not answer; nothing was stored or published. Retry later."
        assert response.headers["retry-after"] == "5"
        assert len(open_e.messages) == len(list_unsettled_messages(service)) == 3
        assert service.client.post("/webmessages", json=build_case_body(oepInstance="internal")).status_code == 201
        assert service.client.post("/webmessages", json=build_message_body()).status_code == 201
        health = service.client.get("/health/ready").json()["components"]
        assert (health["openEExternal"], health["openEInternal"]) == ("PAUSED", "UP")
        assert 'budkavle_open_e_paused{open_e="external"} 1.0' in service.client.get("/metrics").text
        open_e.clear_faults()
        block_until(lambda: service.client.post("/webmessages", json=build_case_body()).status_code != 503)
        assert service.client.post("/webmessages", json=build_case_body()).status_code == 201
        assert service.client.get("/health/ready").json()["components"]["openEExternal"] == "UP"
        assert 'budkavle_open_e_paused{open_e="external"} 0.0' in service.client.get("/metrics").text


@pytest.mark.parametrize("fault", ["FlowInstanceNotFound", "AccessDenied", "NoDetail", "Http500", "Garbage", "Http403"])
def test_answers_never_open_the_circuit(sqlite_url: str, open_e: MockOpenE, fault: Any) -> None:
    with running_service(database_url=sqlite_url, open_e_pause_after=1, **OPEN_E_URLS) as service:
        open_e.fail(fault, times=None)
        for _ in range(3):
            assert service.client.post("/webmessages", json=build_case_body()).status_code in {404, 500}
        assert json.loads(service.client.get("/health/ready").text)["components"]["openEExternal"] in {"UP", "DOWN"}

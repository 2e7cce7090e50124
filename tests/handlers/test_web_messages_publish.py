"""Publish on Open-E: each outcome of a call, the response to the caller, and what is stored."""

from collections.abc import Iterator

import httpx
import pytest

from conftest import RunningService, running_service
from domain.web_messages import MessageState, OepInstance
from mock_open_e import FaultName, MockOpenE, mock_open_e
from tests.factories import build_case_body, build_message_body
from tests.handlers.conftest import OPEN_E_URLS
from tests.handlers.messages import create_id, get_message, list_unsettled_messages, read_problem


@pytest.fixture(autouse=True)
def _healthy_open_e(shared_open_e: MockOpenE) -> Iterator[None]:
    shared_open_e.clear()
    yield
    shared_open_e.clear()


def post_case(service: RunningService, party_id: str, case: int = 1068) -> httpx.Response:
    attachments = [{"fileName": "a.txt", "base64Data": "YQ=="}]
    return service.client.post("/webmessages", json=build_case_body(case, partyId=party_id, attachments=attachments))


def assert_callers_see_nothing(service: RunningService, party_id: str) -> None:
    assert service.client.get(f"/webmessages/recipients/{party_id}").json() == []
    listed = service.client.get("/webmessages/external-references/flowInstanceId/1068").json()
    assert party_id not in {message["partyId"] for message in listed}


def test_create_web_message_stores_messages_that_open_e_accepted(
    shared: RunningService, shared_open_e: MockOpenE
) -> None:
    before = list_unsettled_messages(shared)
    party_id = create_id()
    response = post_case(shared, party_id)
    assert response.status_code == 201
    message = get_message(shared, response.headers["location"].removeprefix("/webmessages/"))
    assert message["attachments"][0]["base64Data"] == "YQ=="
    assert len(shared_open_e.messages) == 1
    assert list_unsettled_messages(shared) == before


REFUSALS: list[tuple[FaultName, int, str, str]] = [
    ("FlowInstanceNotFound", 404, "Not Found", "The requested flow instance with ID 1068 was not found"),
    ("AccessDenied", 500, "Internal Server Error", "This user does not have access to this flow family"),
]


@pytest.mark.parametrize(("fault", "status", "title", "detail"), REFUSALS, ids=[refusal[0] for refusal in REFUSALS])
def test_create_web_message_does_not_store_messages_that_open_e_refused(
    shared: RunningService, shared_open_e: MockOpenE, fault: FaultName, status: int, title: str, detail: str
) -> None:
    before, party_id = list_unsettled_messages(shared), create_id()
    shared_open_e.fail(fault)
    assert read_problem(post_case(shared, party_id), status, title)["detail"] == detail
    assert list_unsettled_messages(shared) == before
    assert_callers_see_nothing(shared, party_id)
    assert shared_open_e.messages == []


UNKNOWNS: list[tuple[FaultName, bool, str]] = [
    ("NoDetail", False, "Open-E answered a fault that does not say whether the message was published"),
    ("Http500", False, "Open-E answered 500"),
    ("Slow", True, "Open-E did not answer in time"),
    ("AcceptedAnswerLost", True, "The connection to Open-E was lost before it answered"),
    ("Garbage", True, "Open-E answered without a messageID"),
    ("Reset", False, "The connection to Open-E was lost before it answered"),
]


@pytest.mark.parametrize(("fault", "is_stored", "reason"), UNKNOWNS, ids=[unknown[0] for unknown in UNKNOWNS])
def test_create_web_message_keeps_messages_in_doubt_for_operators(
    shared: RunningService, shared_open_e: MockOpenE, fault: FaultName, is_stored: bool, reason: str
) -> None:
    before, party_id = {message.id for message in list_unsettled_messages(shared)}, create_id()
    shared_open_e.fail(fault, seconds=3600)
    detail = read_problem(post_case(shared, party_id), 500, "Internal Server Error")["detail"]
    (message,) = [message for message in list_unsettled_messages(shared) if message.id not in before]
    assert detail == f"{reason}. Whether message '{message.id}' was published is unknown"
    assert (message.state, message.oep_instance, message.flow_instance_id) == (
        MessageState.UNKNOWN,
        OepInstance.EXTERNAL,
        1068,
    )
    assert len(shared_open_e.messages) == is_stored
    assert_callers_see_nothing(shared, party_id)
    not_there = read_problem(shared.client.get(f"/webmessages/{message.id}"), 404, "Not Found")
    assert f"WebMessage with id '{message.id}' is in doubt" in not_there["detail"]
    assert message in list_unsettled_messages(shared)


def test_create_web_message_calls_open_e_once(shared: RunningService, shared_open_e: MockOpenE) -> None:
    shared_open_e.fail("Http500")
    assert post_case(shared, create_id()).status_code == 500
    assert shared_open_e.messages == []
    assert post_case(shared, create_id()).status_code == 201


def test_create_web_message_waits_for_a_slow_open_e_until_the_timeout(
    shared: RunningService, shared_open_e: MockOpenE
) -> None:
    shared_open_e.fail("Slow", seconds=0)
    assert post_case(shared, create_id()).status_code == 201


def test_create_web_message_returns_404_for_an_unknown_case(database_url: str) -> None:
    with mock_open_e(cases={1068}), running_service(database_url=database_url, **OPEN_E_URLS) as service:
        assert post_case(service, create_id(), 1068).status_code == 201
        detail = read_problem(post_case(service, create_id(), 1069), 404, "Not Found")["detail"]
        assert detail == "The requested flow instance with ID 1069 was not found"
        assert list_unsettled_messages(service) == []


def test_create_web_message_reports_a_refused_account_without_naming_it(database_url: str) -> None:
    with (
        mock_open_e(username="service", password="right"),
        running_service(
            database_url=database_url,
            **OPEN_E_URLS,
            open_e_external_username="service",
            open_e_external_password="wrong-secret",
        ) as service,
    ):
        response = post_case(service, create_id())
        assert read_problem(response, 500, "Internal Server Error")["detail"] == "Open-E answered 401"
        assert list_unsettled_messages(service) == []


def test_create_web_message_stores_nothing_for_an_unconfigured_instance(database_url: str) -> None:
    with running_service(database_url=database_url) as service:
        for instance in ("external", "internal"):
            response = service.client.post("/webmessages", json=build_case_body(oepInstance=instance))
            detail = read_problem(response, 500, "Internal Server Error")["detail"]
            assert detail == f"The {instance} Open-E is not configured"
        assert list_unsettled_messages(service) == []
        assert service.client.post("/webmessages", json=build_message_body()).status_code == 201

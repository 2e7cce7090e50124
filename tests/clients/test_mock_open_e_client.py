"""The generated Python client of the control API of the mock Open-E: every operation and every response."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from mock_open_e import MockOpenE
from tests.clients.conftest import CASE
from tests.clients.generating import Generated
from tests.clients.mock_open_e_api import (
    ALL,
    CALLS,
    CASES,
    CLEAR,
    CLEAR_CALLS,
    CLEAR_FAULTS,
    CONDITIONS,
    DATA,
    EXPECT,
    FAULT_KINDS,
    FAULTS,
    FILE,
    HEALTH,
    MESSAGES,
    NAMES,
    ONE_CALL,
    ONE_CASE,
    ORDER,
    OVERVIEW,
    PLANT,
    REMOVE_FAULT,
    RESET,
    SET_CONDITIONS,
    SHA256,
    MockApi,
)
from tests.clients.response_cases import ResponseCase, ResponseCases
from tests.mock_open_e.posting import post
from tests.mock_servers import running_mock

WITH_FILE = "<attachments><encodedData>SGVsbG8K</encodedData><filename>a.txt</filename><size>6</size></attachments>"

RESPONSE_CASES = ResponseCases()
RESPONSE_CASES.exclude(500, ALL, because="a fault of the mock itself, which keeps all in memory")


@pytest.fixture(scope="module")
def mock_url() -> Iterator[str]:
    with running_mock(MockOpenE(cases={CASE})) as url:
        yield url


@pytest.fixture
def api(generate: Callable[[str], Generated], mock_url: str) -> MockApi:
    return MockApi(generate("mock-open-e"), f"{mock_url}/s/{uuid4()}")


@RESPONSE_CASES.register(200, MESSAGES)
def received_messages(call: Any, api: MockApi) -> Any:
    post(api.address, files=WITH_FILE)
    response = call()
    (message,) = response.parsed
    assert (message.instance, message.flow_instance_id) == (api.models.MessageInstance.EXTERNAL, CASE)
    assert [(file.filename, file.size, file.sha256) for file in message.attachments] == [("a.txt", 6, SHA256)]
    return response


@RESPONSE_CASES.register(204, CLEAR)
def cleared_messages(call: Any, api: MockApi) -> Any:
    post(api.address)
    response = call()
    assert api.get(MESSAGES) == []
    return response


@RESPONSE_CASES.register(200, EXPECT)
def expected_message(call: Any, api: MockApi) -> Any:
    post(api.address, "This is it")
    response = call(case=CASE, text="is it", instance=api.models.ExpectMessagesInstance.EXTERNAL)
    assert [message.message for message in response.parsed.messages] == ["This is it"]
    return response


@RESPONSE_CASES.register(408, EXPECT)
def wait_timed_out(call: Any, api: MockApi) -> Any:
    post(api.address)
    post(api.address, case=7)
    response = call(text="nobody says it")
    assert response.parsed.errors == ["0 of 1 messages came within 0 seconds"]
    assert [other.message.flow_instance_id for other in response.parsed.others] == [CASE]
    assert [refused.flow_instance_id for refused in response.parsed.refused] == [7]
    return response


@RESPONSE_CASES.register(201, ORDER)
def fault(call: Any, api: MockApi) -> Any:
    models = api.models
    order = models.FaultOrder(
        models.FaultOrderFault.HTTP500, times=None, operation=models.FaultOrderOperation.ADDMESSAGE
    )
    response = call(body=order)
    assert (response.parsed.fault, response.parsed.times) == (models.FaultOrderFault.HTTP500, None)
    assert [order.fault for order in api.get(OVERVIEW).faults] == [response.parsed.fault]
    assert post(api.address).status_code == 500
    return response


@RESPONSE_CASES.register(204, CLEAR_FAULTS)
def cleared_faults(call: Any, api: MockApi) -> Any:
    api.get(ORDER, body=api.models.FaultOrder(api.models.FaultOrderFault.HTTP500))
    response = call()
    assert post(api.address).status_code == 200
    return response


@RESPONSE_CASES.register(200, FAULTS)
def ordered_faults(call: Any, api: MockApi) -> Any:
    api.get(ORDER, body=api.models.FaultOrder(api.models.FaultOrderFault.HTTP500, times=2))
    assert post(api.address).status_code == 500
    response = call()
    assert [(order.number, order.times, order.failed) for order in response.parsed] == [(1, 1, 1)]
    return response


@RESPONSE_CASES.register(204, REMOVE_FAULT)
def removed_fault(call: Any, api: MockApi) -> Any:
    api.get(ORDER, body=api.models.FaultOrder(api.models.FaultOrderFault.HTTP500))
    response = call(number=1)
    assert api.get(FAULTS) == []
    return response


@RESPONSE_CASES.register(200, FAULT_KINDS)
def fault_kinds(call: Any, api: MockApi) -> Any:
    response = call()
    assert {(kind.fault.value, kind.is_stored) for kind in response.parsed} >= {("Slow", True), ("Reset", False)}
    return response


@RESPONSE_CASES.register(200, HEALTH)
def health(call: Any, api: MockApi) -> Any:
    response = call()
    assert response.parsed.status.value == "ok"
    return response


@RESPONSE_CASES.register(200, NAMES)
def names(call: Any, api: MockApi) -> Any:
    response = call()
    assert api.address.rpartition("/")[2] in response.parsed
    return response


@RESPONSE_CASES.register(200, CONDITIONS)
def conditions(call: Any, api: MockApi) -> Any:
    api.get(SET_CONDITIONS, instance=api.models.SetConditionsInstance.INTERNAL, body=api.models.NewConditions(-90))
    response = call(instance=api.models.GetConditionsInstance.INTERNAL)
    assert (response.parsed.clock_seconds, response.parsed.time_zone) == (-90, None)
    return response


@RESPONSE_CASES.register(200, SET_CONDITIONS)
def new_conditions(call: Any, api: MockApi) -> Any:
    response = call()
    assert (response.parsed.taken_ids, response.parsed.stale_seconds) == (3, 0)
    post(api.address)
    assert [message.message_id for message in api.get(MESSAGES)] == [4]
    return response


@RESPONSE_CASES.register(200, CASES)
def cases(call: Any, api: MockApi) -> Any:
    response = call(instance=api.models.ListCasesInstance.INTERNAL)
    assert [(case.instance.value, case.flow_instance_id, case.status) for case in response.parsed] == [
        ("internal", CASE, 0)
    ]
    return response


@RESPONSE_CASES.register(200, ONE_CASE)
def case(call: Any, api: MockApi) -> Any:
    post(api.address, "From staff")
    response = call()
    assert response.parsed.case.messages == 1
    assert [message.kind for message in response.parsed.messages] == [api.models.CaseMessageKind.MANAGER]
    assert [event.text for event in response.parsed.events] == ["From staff"]
    return response


@RESPONSE_CASES.register(201, PLANT)
def planted_message(call: Any, api: MockApi) -> Any:
    file = api.models.PlantedMessageAttachmentsItem(filename="a.txt", base_64_data="SGVsbG8K")
    response = call(body=api.models.PlantedMessage("From a citizen", attachments=[file]))
    assert (response.parsed.kind, response.parsed.origin) == (api.models.CaseMessageKind.OWNER, "planted")
    assert [attachment.sha256 for attachment in response.parsed.attachments] == [SHA256]
    return response


@RESPONSE_CASES.register(200, CALLS)
def calls(call: Any, api: MockApi) -> Any:
    post(api.address)
    post(api.address, case=7)
    response = call(refused=True)
    (refused,) = response.parsed
    assert (refused.number, refused.status, type(refused.refusal)) == (2, 500, api.models.CallRefusal)
    assert [(found.number, found.refusal) for found in call(limit=2, after=0).parsed[:1]] == [(1, None)]
    return response


@RESPONSE_CASES.register(204, CLEAR_CALLS)
def cleared_calls(call: Any, api: MockApi) -> Any:
    post(api.address)
    response = call()
    assert api.get(CALLS) == []
    return response


@RESPONSE_CASES.register(200, ONE_CALL)
def whole_call(call: Any, api: MockApi) -> Any:
    post(api.address, "Hej")
    response = call()
    assert "<message>Hej</message>" in response.parsed.request.text
    assert response.parsed.answer.headers.additional_properties
    return response


@RESPONSE_CASES.register(200, FILE)
def stored_file(call: Any, api: MockApi) -> Any:
    post(api.address, files=WITH_FILE)
    response = call(name="hello.txt")
    assert response.parsed.payload.read() == DATA
    return response


@RESPONSE_CASES.register(200, OVERVIEW)
def overview(call: Any, api: MockApi) -> Any:
    post(api.address)
    response = call(since=0)
    assert (response.parsed.messages, response.parsed.calls, response.parsed.strict) == (1, 1, False)
    return response


@RESPONSE_CASES.register(204, RESET)
def reset_mock(call: Any, api: MockApi) -> Any:
    post(api.address)
    response = call()
    assert (api.get(OVERVIEW).messages, api.get(CALLS)) == (0, [])
    return response


@RESPONSE_CASES.register(400, *ALL)
def unknown_parameter(call: Any, api: MockApi) -> Any:
    response = call(client=api.client(params={"colour": "red"}))
    assert "unknown parameter 'colour'" in response.parsed.errors
    return response


@RESPONSE_CASES.register(404, ONE_CASE, PLANT)
def unknown_case(call: Any, api: MockApi) -> Any:
    response = call(flow_instance_id=7)
    (error,) = response.parsed.errors
    assert "case 7" in error
    return response


@RESPONSE_CASES.register(404, ONE_CALL, FILE, REMOVE_FAULT)
def unknown_call_file_or_order(call: Any, api: MockApi) -> Any:
    return call()


@RESPONSE_CASES.register(413, SET_CONDITIONS)
def too_large_conditions(call: Any, api: MockApi) -> Any:
    return call(body=api.models.NewConditions(time_zone="a" * 65536))


@RESPONSE_CASES.register(413, ORDER)
def too_large_fault_order(call: Any, api: MockApi) -> Any:
    return call(body=api.models.FaultOrder(api.models.FaultOrderFault.HTTP500, seconds="1" * 65536))


@RESPONSE_CASES.register(413, PLANT)
def too_large_message(call: Any, api: MockApi) -> Any:
    return call(body=api.models.PlantedMessage("a" * 33554432))


@pytest.mark.parametrize("case", RESPONSE_CASES.cases, ids=str)
def test_each_response_is_parsed_to_its_type(case: ResponseCase, api: MockApi) -> None:
    case.check(api)


def test_every_response_has_a_case(generate: Callable[[str], Generated]) -> None:
    RESPONSE_CASES.assert_complete(generate("mock-open-e"))


def test_responses_that_no_caller_can_cause_are_parsed(api: MockApi) -> None:
    RESPONSE_CASES.assert_examples_are_parsed(api)

"""Every rule for a new message: its fault, and that no message is stored or sent."""

import base64
import json
from typing import Any

import pytest

from conftest import RunningService
from domain.attachments import MAX_ATTACHMENT_BYTES
from domain.web_messages import MAX_MESSAGE_BYTES
from mock_open_e import MockOpenE
from openapi.schemas import MAX_FAULTS
from tests.factories import build_case_body, build_message_body
from tests.handlers.faults import FAULTS, FILE, NOT_BASE64, NUMERIC, REFERENCES, build_case
from tests.handlers.messages import create_id, read_violations


@pytest.mark.parametrize(("changes", "expected"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_create_web_message_reports_faults(
    contract: RunningService, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert read_violations(contract.client.post("/webmessages", json=build_message_body() | changes)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("externalReferences", REFERENCES), ("message", "must not be blank")]),
        (
            {"message": None, "externalReferences": None},
            [("externalReferences", REFERENCES), ("message", "must not be blank")],
        ),
        ([], [("body", "must be an object")]),
        (None, [("body", "must be an object")]),
        ("text", [("body", "must be an object")]),
        (17, [("body", "must be an object")]),
    ],
    ids=["empty", "null", "array", "null-body", "text", "number"],
)
def test_create_web_message_reports_missing_fields(
    contract: RunningService, body: Any, expected: list[tuple[str, str]]
) -> None:
    response = contract.client.post("/webmessages", content=json.dumps(body))
    assert read_violations(response) == expected


def test_create_web_message_reports_an_invalid_party_together_with_three_other_faults(contract: RunningService) -> None:
    body = build_message_body(
        partyId="invalid",
        message=" ",
        externalReferences=[{"key": "flowInstanceId", "value": "abc"}],
        attachments=[FILE | {"fileName": "n" * 256}],
    )
    assert read_violations(contract.client.post("/webmessages", json=body)) == [
        ("attachments[0].fileName", "size must be between 1 and 255"),
        ("externalReferences", NUMERIC),
        ("message", "must not be blank"),
        ("partyId", "not a valid UUID"),
    ]


def test_create_web_message_reports_faults_of_contract_and_rules_together(contract: RunningService) -> None:
    body = build_message_body(
        partyId="invalid",
        externalReferences=[{"key": "flowInstanceId", "value": "1"}, {"key": "flowInstanceId", "value": "2"}],
        sender={"userId": ""},
        attachments=[FILE, FILE | {"base64Data": "YQ"}, FILE | {"base64Data": "YQ==YQ=="}],
        unknown=1,
    )
    response = contract.client.post("/webmessages?limit=1&x=2", json=body)
    assert read_violations(response) == [
        ("attachments[1].base64Data", NOT_BASE64),
        ("attachments[2].base64Data", NOT_BASE64),
        ("createWebMessage.limit", "not a parameter of this operation"),
        ("createWebMessage.x", "not a parameter of this operation"),
        ("externalReferences", "must not name more than one 'flowInstanceId'"),
        ("partyId", "not a valid UUID"),
        ("sender.userId", "must not be blank"),
        ("unknown", "not a property of this object"),
    ]


def test_create_web_message_reports_invalid_data_together_with_an_invalid_name(contract: RunningService) -> None:
    attachments = [{"fileName": " ", "base64Data": "YQ"}, {"fileName": "a", "base64Data": "YQ"}]
    assert read_violations(contract.client.post("/webmessages", json=build_message_body(attachments=attachments))) == [
        ("attachments[0].base64Data", NOT_BASE64),
        ("attachments[0].fileName", "must not be blank"),
        ("attachments[1].base64Data", NOT_BASE64),
    ]


def test_create_web_message_reports_two_cases_together_with_another_fault(contract: RunningService) -> None:
    references = [
        {"key": "flowInstanceId", "value": "1"},
        {"key": "flowInstanceId", "value": "2"},
        {"key": "ab", "value": "1"},
    ]
    assert read_violations(
        contract.client.post("/webmessages", json=build_message_body(externalReferences=references))
    ) == [
        ("externalReferences", "must not name more than one 'flowInstanceId'"),
        ("externalReferences[2].key", "size must be between 3 and 128"),
    ]


@pytest.mark.parametrize("value", ["1", "9", "1068", "999999999", "1000000000", "2147483647"])
def test_create_web_message_accepts_every_valid_case(contract: RunningService, value: str) -> None:
    assert contract.client.post("/webmessages", json=build_message_body(**build_case(value))).status_code == 201


@pytest.mark.parametrize("message", ["\t\n\r.", "\ud7ff\ue000\ufffd", "\U0001f600\U0010ffff", "\x7f\x85\x9f"])
def test_create_web_message_accepts_every_xml_character(contract: RunningService, message: str) -> None:
    location = contract.client.post("/webmessages", json=build_case_body(message=message)).headers["location"]
    assert contract.client.get(location).json()["message"] == message


def test_create_web_message_limits_the_text_to_what_open_e_can_store(contract: RunningService) -> None:
    party_id = create_id()
    longest = "ä" * (MAX_MESSAGE_BYTES // 2) + "a"
    response = contract.client.post("/webmessages", json=build_message_body(partyId=party_id, message=longest))
    assert response.status_code == 201, response.text
    assert contract.client.get(response.headers["location"]).json()["message"] == longest
    response = contract.client.post("/webmessages", json=build_message_body(partyId=party_id, message=longest + "a"))
    assert read_violations(response) == [("message", f"must be at most {MAX_MESSAGE_BYTES} bytes of UTF-8")]


def test_create_web_message_refuses_a_text_with_more_characters_than_allowed_bytes(contract: RunningService) -> None:
    response = contract.client.post("/webmessages", json=build_message_body(message="a" * (MAX_MESSAGE_BYTES + 1)))
    assert read_violations(response) == [("message", f"must be at most {MAX_MESSAGE_BYTES} bytes of UTF-8")]


def test_create_web_message_accepts_files_of_at_most_10_mib(contract: RunningService) -> None:
    files = [
        {"fileName": "fits", "base64Data": base64.b64encode(bytes(MAX_ATTACHMENT_BYTES)).decode()},
        {"fileName": "too large", "base64Data": base64.b64encode(bytes(MAX_ATTACHMENT_BYTES + 1)).decode()},
    ]
    response = contract.client.post("/webmessages", json=build_message_body(attachments=files))
    assert read_violations(response) == [("attachments[1].base64Data", f"must be at most {MAX_ATTACHMENT_BYTES} bytes")]
    response = contract.client.post("/webmessages", json=build_message_body(attachments=files[:1]))
    assert response.status_code == 201


def test_create_web_message_neither_stores_nor_publishes_a_refused_message(
    contract: RunningService, shared_open_e: MockOpenE
) -> None:
    shared_open_e.clear()
    party_id = create_id()
    for changes in ({"sender": {"userId": ""}}, {"attachments": [FILE | {"base64Data": "YQ"}]}, {"unknown": 1}):
        assert contract.client.post("/webmessages", json=build_case_body(partyId=party_id) | changes).status_code == 400
    assert contract.client.get(f"/webmessages/recipients/{party_id}").json() == []
    assert shared_open_e.messages == []


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("externalReferences", 0),
        ("externalReferences", {}),
        ("externalReferences", {"key": "a", "value": "b"}),
        ("externalReferences", {"key": "flowInstanceId", "value": "x"}),
        ("attachments", 0),
        ("attachments", {"base64Data": "Q"}),
        ("attachments", {"fileName": "", "base64Data": "Q"}),
    ],
)
def test_body_with_many_faults_does_not_block_others(contract: RunningService, name: str, item: object) -> None:
    """Callers do not need all of these faults by name, and other callers wait while they are collected."""
    body = json.dumps({"message": "x", name: [item] * (256 * 1024 // (len(json.dumps(item)) + 2) - 10)}).encode()
    response = contract.client.post("/webmessages", content=body, headers={"content-type": "application/json"})
    assert len(read_violations(response)) <= MAX_FAULTS + 2
    assert len(response.content) < len(body)


def test_object_with_many_unknown_properties_does_not_block_others(contract: RunningService) -> None:
    response = contract.client.post("/webmessages", json={f"x{number}": 1 for number in range(20_000)})
    assert len(read_violations(response)) <= MAX_FAULTS + 2
    assert len(response.content) < len(response.request.content)

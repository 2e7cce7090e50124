"""WebMessageSender 3.2 over HTTP: its requests, responses, texts and headers."""

import base64
import re
import uuid
from typing import Any

import httpx
import pytest

from conftest import RunningService
from domain.java_uuids import parse_java_uuid
from mock_open_e import MockOpenE, mock_open_e
from persistence import audit
from tests.databases import run_with_database
from tests.handlers.compatibility.conftest import OPEN_E_OF_COUNTY
from tests.handlers.messages import PROBLEM, UNKNOWN_ID

PATH = "/2281/webmessages"
REFERENCE = {"key": "errandNumber", "value": "A-2026-17"}
REFERENCES = "can not be empty or contain elements with empty keys or values"


def build_body(**changes: Any) -> dict[str, Any]:
    """Return a request of a message without a case; a change to `...` removes the property."""
    values = {"message": "This is a message", "oepInstance": "external", "externalReferences": [REFERENCE]}
    return {name: value for name, value in (values | changes).items() if value is not ...}


def build_case_body(case: object = "1068", **changes: Any) -> dict[str, Any]:
    return build_body(externalReferences=[{"key": "flowInstanceId", "value": case}], **changes)


def post(service: RunningService, body: Any, path: str = PATH, **headers: str) -> str:
    """Post a message, which must be accepted, and return its path."""
    response = service.client.post(path, json=body, headers=headers)
    assert response.status_code == 201, response.text
    assert response.content == b""
    assert re.fullmatch(rf"{path}/[0-9a-f-]{{36}}", response.headers["location"])
    location: str = response.headers["location"]
    return location


def get(service: RunningService, path: str) -> Any:
    response = service.client.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def read_problem(response: httpx.Response, status: int, title: str) -> dict[str, Any]:
    """Return the problem in a response, which has an integer status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = response.json()
    assert (problem["title"], problem["status"]) == (title, status)
    return problem


def list_violations(response: httpx.Response) -> list[tuple[str, str]]:
    problem = read_problem(response, 400, "Constraint Violation")
    assert set(problem) == {"title", "status", "violations"}
    found = [(each["field"], each["message"]) for each in problem["violations"]]
    assert found == sorted(found)
    return found


def read_deletion(service: RunningService, path: str) -> dict[str, Any]:
    """Return the detail of the entry of the audit about the deletion of a message."""
    url = service.settings.database_url.get_secret_value()
    page = run_with_database(url, lambda database: audit.list_page(database, after=0, limit=1000, chain="web-messages"))
    details = [each.entry.detail for _, each in page]
    [detail] = [each for each in details if each.get("messageId") == path.rpartition("/")[2]]
    return detail


def create_party() -> str:
    return str(uuid.uuid4())


def test_message_is_returned_with_the_published_properties(compatible: RunningService) -> None:
    party_id = create_party()
    file = {"fileName": "hello.txt", "base64Data": "SGVsbG8K", "mimeType": "image/png", "other": 1}
    body = build_body(
        partyId=party_id.upper(), oepInstance="ExTernal", sender={"userId": "joe01doe"}, attachments=[file], unknown={}
    )
    path = post(compatible, body)
    value = get(compatible, path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", value.pop("created"))
    assert value == {
        "id": path.rpartition("/")[2],
        "municipalityId": "2281",
        "sender": {"userId": "joe01doe"},
        "partyId": party_id,
        "message": "This is a message",
        "oepInstance": "ExTernal",
        "externalReferences": [REFERENCE],
        "attachments": [{"fileName": "hello.txt", "mimeType": "text/plain", "base64Data": "SGVsbG8K"}],
    }


@pytest.mark.parametrize("message", [..., None, ""])
def test_properties_without_value_are_omitted(compatible: RunningService, message: Any) -> None:
    body = build_body(message=message, partyId=None, sender={"userId": " "}, attachments=None)
    value = get(compatible, post(compatible, body))
    assert set(value) == {"id", "municipalityId", "oepInstance", "externalReferences", "created", "attachments"}
    assert value["attachments"] == []


def test_long_text_is_returned(compatible: RunningService) -> None:
    text = "å" * 300_000
    assert get(compatible, post(compatible, build_body(message=text)))["message"] == text


def test_message_with_a_case_is_published(compatible: RunningService, shared_open_e: MockOpenE) -> None:
    body = build_body(
        externalReferences=[{"key": "FLOWinstanceid", "value": "001068"}, {"key": "flowInstanceId", "value": "7"}],
        message=create_party(),
        oepInstance="INTERNAL",
        sender={"userId": "joe01doe"},
    )
    value = get(compatible, post(compatible, body))
    assert value["externalReferences"] == [
        {"key": "flowInstanceId", "value": "1068"},
        {"key": "flowInstanceId", "value": "7"},
    ]
    [message] = [each for each in shared_open_e.messages if each["message"] == body["message"]]
    assert (message["instance"], message["flowInstanceID"], message["userID"]) == ("internal", 1068, "joe01doe")
    for key in ("flowInstanceId", "FLOWINSTANCEID"):
        found = get(compatible, f"{PATH}/external-references/{key}/001068")
        assert value in found


def test_municipality_with_its_own_open_e_uses_no_other(compatible: RunningService, shared_open_e: MockOpenE) -> None:
    path = "/2260/webmessages"
    text = create_party()
    post(compatible, build_case_body(message=text, oepInstance="internal"), path)
    assert [each["instance"] for each in shared_open_e.messages if each["message"] == text] == ["internal"]
    response = compatible.client.post(path, json=build_case_body(message=text))
    problem = read_problem(response, 500, "Internal Server Error")
    assert problem["detail"] == "The 2260/external Open-E is not configured"


def test_message_in_doubt_is_looked_for_in_the_open_e_of_its_municipality(compatible: RunningService) -> None:
    path, body = "/22/webmessages", build_case_body(message=create_party())
    key = {"Idempotency-Key": create_party()}
    with mock_open_e(url_external=OPEN_E_OF_COUNTY) as open_e:
        open_e.fail("AcceptedAnswerLost")
        response = compatible.client.post(path, json=body, headers=key)
        assert "unknown" in read_problem(response, 500, "Internal Server Error")["detail"]
        response = compatible.client.post(path, json=body, headers=key)
        assert (response.status_code, response.headers["idempotency-replayed"]) == (201, "true")
        assert len(open_e.messages) == 1
    assert get(compatible, response.headers["location"])["message"] == body["message"]


def test_lists_have_the_contents_of_files_of_one_municipality_in_order(compatible: RunningService) -> None:
    party_id = create_party()
    reference = {"key": "errand", "value": party_id}
    data = base64.b64encode(b"x" * 1_000_000).decode()
    files = [{"fileName": "a.txt", "base64Data": data}, {"fileName": "b.txt", "base64Data": "YQ=="}]
    bodies = [build_body(partyId=party_id, externalReferences=[reference], attachments=each) for each in (files, [])]
    paths = [post(compatible, body) for body in bodies]
    post(compatible, bodies[1], "/22/webmessages")
    expected = [get(compatible, path) for path in paths]
    assert [len(each["attachments"]) for each in expected] == [2, 0]
    assert get(compatible, f"{PATH}/recipients/{party_id}") == expected
    assert get(compatible, f"{PATH}/external-references/errand/{party_id}") == expected
    assert get(compatible, f"/2260/webmessages/recipients/{party_id}") == []


def test_list_of_many_messages_is_complete(compatible: RunningService) -> None:
    party_id = create_party()
    paths = [post(compatible, build_body(partyId=party_id, message=f"{number}" * 60_000)) for number in range(9)]
    found = get(compatible, f"{PATH}/recipients/{party_id}")
    assert [each["id"] for each in found] == [path.rpartition("/")[2] for path in paths]


def test_message_of_another_municipality_is_not_found(compatible: RunningService) -> None:
    path = post(compatible, build_body()).replace("2281", "2260")
    for call in (compatible.client.get, compatible.client.delete):
        problem = read_problem(call(path), 404, "Not Found")
        assert problem["detail"] == f"WebMessage with id '{path.rpartition('/')[2]}' not found"
    assert get(compatible, path.replace("2260", "2281"))


def test_delete_removes_the_message(compatible: RunningService) -> None:
    path = post(compatible, build_body())
    response = compatible.client.delete(path, headers={"X-Sent-By": "joe01doe; type=adAccount"})
    assert (response.status_code, response.content) == (204, b"")
    assert compatible.client.get(path).status_code == 404
    assert compatible.client.delete(path).status_code == 404
    assert read_deletion(compatible, path)["sentBy"] == "joe01doe"
    for sent_by in (f"{create_party()}; type=partyId", "a person; type=custom", "joe01doe"):
        path = post(compatible, build_body())
        compatible.client.delete(path, headers={"X-Sent-By": sent_by})
        assert "sentBy" not in read_deletion(compatible, path)


def test_uuids_have_the_forms_of_java(compatible: RunningService) -> None:
    text = f"{uuid.uuid4().int % 2**32:x}-2-00000000003-+4-5"
    post(compatible, build_body(partyId=text))
    canonical = parse_java_uuid(text)
    assert canonical.endswith("-0002-0003-0004-000000000005")
    for form in (text, canonical, canonical.upper()):
        assert [each["partyId"] for each in get(compatible, f"{PATH}/recipients/{form}")] == [canonical]
    response = compatible.client.get(f"{PATH}/1-1-1-1-1")
    assert read_problem(response, 404, "Not Found")["detail"] == "WebMessage with id '1-1-1-1-1' not found"


@pytest.mark.parametrize("text", ["1-1-1-1", "1-1-1-1-g", "1-1-1-1-1-1", f"{'0' * 30}-1-1-1-1", "81471222579811e9ae24"])
def test_other_texts_are_no_uuids(compatible: RunningService, text: str) -> None:
    expected = "not a valid UUID"
    for call, path, field in (
        (compatible.client.get, text, "getWebMessageById.id"),
        (compatible.client.delete, text, "deleteWebMessageById.id"),
        (compatible.client.get, f"recipients/{text}", "getWebMessagesByPartyId.partyId"),
    ):
        assert list_violations(call(f"{PATH}/{path}")) == [(field, expected)]
    assert list_violations(compatible.client.post(PATH, json=build_body(partyId=text))) == [("partyId", expected)]


FAULTS = {
    "empty object": ({}, [("externalReferences", REFERENCES), ("oepInstance", "…")]),
    "instance": (build_body(oepInstance="outside"), [("oepInstance", "…")]),
    "no instance": (build_body(oepInstance=None), [("oepInstance", "…")]),
    "number as instance": (build_body(oepInstance=1), [("oepInstance", "…")]),
    "no references": (build_body(externalReferences=[]), [("externalReferences", REFERENCES)]),
    "null references": (build_body(externalReferences=None), [("externalReferences", REFERENCES)]),
    "null in references": (build_body(externalReferences=[None]), [("externalReferences", REFERENCES)]),
    "blank key": (build_body(externalReferences=[REFERENCE | {"key": " "}]), [("externalReferences", REFERENCES)]),
    "no value": (build_body(externalReferences=[{"key": "key"}]), [("externalReferences", REFERENCES)]),
    "no case number": (
        build_case_body("356t4r34f1068"),
        [("externalReferences", "element with key 'flowInstanceId' must have value of numeric type")],
    ),
    "too large a case number": (
        build_case_body("2147483648"),
        [("externalReferences", "element with key 'flowInstanceId' must have value of numeric type")],
    ),
    "case without text": (build_case_body(message=" \n"), [("message", "must not be blank")]),
    "case with null as text": (build_case_body(message=None), [("message", "must not be blank")]),
    "file without name": (
        build_body(attachments=[{"base64Data": "YQ=="}]),
        [("attachments[0].fileName", "must not be blank")],
    ),
    "everything": (
        build_body(
            partyId="x", oepInstance="", attachments=[{"fileName": " ", "base64Data": "!"}], externalReferences=5
        ),
        [
            ("attachments[0].base64Data", "must be base64, padded and without line breaks"),
            ("attachments[0].fileName", "must not be blank"),
            ("externalReferences", "must be an array"),
            ("oepInstance", "…"),
            ("partyId", "not a valid UUID"),
        ],
    ),
}


@pytest.mark.parametrize(("body", "expected"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_reported_with_its_published_text(
    compatible: RunningService, body: Any, expected: list[tuple[str, str]]
) -> None:
    instance = "instance can only be 'internal' or 'external'"
    found = list_violations(compatible.client.post(PATH, json=body))
    assert found == [(field, instance if text == "…" else text) for field, text in expected]


@pytest.mark.parametrize("municipality_id", ["2282", "01"])
def test_municipality_that_is_not_allowed_gets_501_before_other_faults(
    compatible: RunningService, municipality_id: str
) -> None:
    path = f"/{municipality_id}/webmessages"
    for response in (compatible.client.post(path, json={}), compatible.client.get(f"{path}/x")):
        problem = read_problem(response, 501, "Not Implemented")
        assert problem["detail"] == f"Not implemented for municipalityId: {municipality_id}"


@pytest.mark.parametrize("municipality_id", ["9999", "0", "sundsvall"])
def test_text_that_is_no_municipality_is_a_fault_together_with_others(
    compatible: RunningService, municipality_id: str
) -> None:
    text = "not a valid municipality ID"
    response = compatible.client.post(f"/{municipality_id}/webmessages", json=build_body(partyId="x"))
    assert list_violations(response) == [("createWebMessage.municipalityId", text), ("partyId", "not a valid UUID")]
    response = compatible.client.get(f"/{municipality_id}/webmessages/{UNKNOWN_ID}")
    assert list_violations(response) == [("getWebMessageById.municipalityId", text)]


def test_look_up_by_reference_has_the_published_lengths(compatible: RunningService) -> None:
    size = "size must be between 3 and 128"
    operation = "getWebMessagesByExternalReference"
    response = compatible.client.get(f"{PATH}/external-references/ab/{'x' * 129}")
    assert list_violations(response) == [(f"{operation}.key", size), (f"{operation}.value", size)]


def test_faults_of_open_e_have_their_published_statuses(compatible: RunningService, shared_open_e: MockOpenE) -> None:
    expected = {
        "FlowInstanceNotFound": (404, "Not Found", "The requested flow instance with ID 1068 was not found"),
        "AccessDenied": (401, "Unauthorized", "This user does not have access to this flow family"),
        "Http500": (500, "Internal Server Error", "Open-E answered 500. Whether message '…' was published is unknown"),
    }
    for fault, (status, title, detail) in expected.items():
        shared_open_e.fail(fault)
        response = compatible.client.post(PATH, json=build_case_body())
        problem = read_problem(response, status, title)
        assert re.sub(r"'[0-9a-f-]{36}'", "'…'", problem["detail"]) == detail
        assert "www-authenticate" not in response.headers


def test_every_response_forbids_caching(compatible: RunningService) -> None:
    responses = [
        compatible.client.post(PATH, json=build_body()),
        compatible.client.get(f"{PATH}/recipients/{UNKNOWN_ID}"),
        compatible.client.get(f"{PATH}/{UNKNOWN_ID}"),
        compatible.client.post(PATH, json={}),
        httpx.get(f"{compatible.url}{PATH}/{UNKNOWN_ID}", verify=False),
    ]
    assert [each.status_code for each in responses] == [201, 200, 404, 400, 401]
    for response in responses:
        headers = [response.headers[name] for name in ("cache-control", "expires", "pragma")]
        assert headers == ["no-store", "0", "no-cache"]


def test_unknown_query_parameters_and_other_headers_are_ignored(compatible: RunningService) -> None:
    for sent_by in ("joe01doe; type=adAccount", f"{UNKNOWN_ID}; type=partyId", "me; TYPE=custom", "joe01doe", ";;", ""):
        response = compatible.client.post(
            f"{PATH}?unknown=1", json=build_body(), headers={"X-Sent-By": sent_by, "x-request-id": "any text / at all"}
        )
        assert response.status_code == 201


def test_repetition_with_an_idempotency_key_gets_the_first_message(compatible: RunningService) -> None:
    key = create_party()
    location = post(compatible, build_body(), **{"Idempotency-Key": key})
    response = compatible.client.post(PATH, json=build_body(), headers={"Idempotency-Key": key})
    assert (response.status_code, response.headers["location"]) == (201, location)
    assert response.headers["idempotency-replayed"] == "true"
    response = compatible.client.post(PATH, json=build_body(oepInstance="EXTERNAL"), headers={"Idempotency-Key": key})
    read_problem(response, 422, "Unprocessable Content")


def test_idempotency_key_belongs_to_its_municipality(compatible: RunningService) -> None:
    key = {"Idempotency-Key": create_party()}
    locations = [post(compatible, build_body(), path, **key) for path in (PATH, "/22/webmessages")]
    for location in locations:
        path = location.rpartition("/")[0]
        response = compatible.client.post(path, json=build_body(), headers=key)
        assert (response.status_code, response.headers["location"]) == (201, location)
        assert response.headers["idempotency-replayed"] == "true"


def test_large_files_are_accepted_up_to_their_limit(compatible: RunningService) -> None:
    data = base64.b64encode(b"x" * 10 * 2**20).decode()
    path = post(compatible, build_body(attachments=[{"fileName": "a", "base64Data": data}]))
    assert get(compatible, path)["attachments"][0]["base64Data"] == data
    response = compatible.client.post(PATH, json=build_body(attachments=[{"fileName": "a", "base64Data": data + data}]))
    assert [field for field, _ in list_violations(response)] == ["attachments[0].base64Data"]


def test_contract_is_at_the_published_path(compatible: RunningService) -> None:
    response = httpx.get(f"{compatible.url}/api-docs", verify=False)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/yaml")
    assert response.content == httpx.get(f"{compatible.url}/docs/web-messages-3.2/openapi.yaml", verify=False).content


def test_message_is_readable_through_the_contract_of_this_service(compatible: RunningService) -> None:
    path = post(compatible, build_body(message=None, oepInstance="INTERNAL"))
    value = get(compatible, path.removeprefix("/2281"))
    assert (value["message"], value["oepInstance"]) == ("", "internal")

"""Web messages of oep-integrator 1.5: messages on a case, and what Open-E shows of it."""

import json
import re
from typing import Any

import pytest
import requests

from contract_tests.api import FORM, Api
from contract_tests.rules.answers import BLANK, REFERENCES, describe_response, expect
from contract_tests.rules.messages import file_part, part
from contract_tests.rules.municipal_answers import NO_MUNICIPALITY, expect_problem, expect_violations

pytestmark = pytest.mark.needs("sender")


def build_path(api: Api, rest: str = "") -> str:
    return f"/{api.target.municipality}/EXTERNAL/webmessages{rest}"


def build_request(api: Api, **changes: Any) -> dict[str, Any]:
    """Return a valid request for the test case with a text of its own."""
    case = {"key": "flowInstanceId", "value": str(api.target.case)}
    return {"message": f"A contract check {api.uuid()}", "externalReferences": [case], **changes}


def send(api: Api, request: Any, *parts: bytes, **headers: str) -> requests.Response:
    json_part = part('form-data; name="request"', json.dumps(request).encode(), "application/json")
    body = b"".join([json_part, *parts, b"--XX--\r\n"])
    return api.call("POST", build_path(api), body=body, content_type=FORM, headers=headers)


def create(api: Api, request: Any, *parts: bytes) -> str:
    """Create a message, which must succeed, and return its id in Open-E."""
    response = expect(send(api, request, *parts), 201)
    location = response.headers.get("Location", "")
    match = re.fullmatch(f"/{api.target.municipality}/webmessages/([0-9]+)", location)
    assert match is not None, f"the Location has the municipality and the id in Open-E, but was {location!r}"
    return match[1]


@pytest.mark.needs("case")
@pytest.mark.parametrize(
    ("sender", "direction"), [({"administratorId": "joe01doe"}, "OUTBOUND"), ({"userId": "joe01doe"}, "INBOUND")]
)
def test_message_is_on_its_case(sender: dict[str, str], direction: str, api: Api) -> None:
    request = build_request(api, sender=sender)
    message_id = create(api, request, file_part())
    shown = expect(api.call("GET", build_path(api, f"/cases/{api.target.case}")), 200).json()
    [found] = [each for each in shown if each["message"] == request["message"]]
    wanted = {
        "messageId": message_id,
        "direction": direction,
        "externalCaseId": str(api.target.case),
        "municipalityId": api.target.municipality,
        "instance": "EXTERNAL",
    }
    assert found.items() >= wanted.items(), f"expected {wanted}, but was {found}"
    [attachment] = found["attachments"]
    named = {name: attachment[name] for name in ("name", "extension", "mimeType")}
    assert named == {"name": "hello.txt", "extension": "txt", "mimeType": "text/plain"}, f"the file was {attachment}"
    response = expect(api.call("GET", build_path(api, f"/attachments/{attachment['attachmentId']}")), 200)
    assert response.content == b"Hello\n", f"the file must be that of the message, but {describe_response(response)}"


def test_faults_have_the_published_texts(api: Api) -> None:
    for request, wanted in (
        ({}, [("externalReferences", REFERENCES), ("message", BLANK)]),
        (
            build_request(api, sender={"userId": "a", "administratorId": "b"}),
            [("sender", "only one of the attributes can be set at a time")],
        ),
    ):
        expect_violations(send(api, request), wanted)
    response = send(api, build_request(api, externalReferences=[api.reference()]))
    problem = expect_problem(response, 400, "Bad Request")
    assert problem.get("detail") == "Flow instance id is required", f"expected the published detail, but was {problem}"


def test_faults_of_a_path_have_the_published_texts(api: Api) -> None:
    response = api.call("GET", "/0000/EXTERNAL/webmessages/cases/1")
    expect_violations(response, [("getWebmessagesByFlowInstanceId.municipalityId", NO_MUNICIPALITY)])
    response = expect(api.call("GET", f"/{api.target.municipality}/external/webmessages/cases/1"), 400)
    expect_problem(response, 400, "Constraint Violation")


def test_unknown_file_is_not_found(api: Api) -> None:
    expect_problem(api.call("GET", build_path(api, "/attachments/2147483647")), 404, "Not Found")


@pytest.mark.needs("case", "accepts_keys")
def test_repetition_with_a_key_publishes_nothing(api: Api) -> None:
    request, key = build_request(api), {"Idempotency-Key": api.uuid()}
    first, second = (expect(send(api, request, **key), 201).headers["Location"] for _ in range(2))
    assert first == second, f"a repetition must get the first Location {first!r}, but got {second!r}"

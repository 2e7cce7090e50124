"""The web messages of oep-integrator 1.5 over HTTP: forms, senders, and reads of Open-E."""

import json
import re
import uuid
from typing import Any

import httpx
import pytest

from conftest import RunningService, running_service
from mock_open_e import DeclaredCase, Family, MockOpenE, Scenario, User, mock_open_e
from persistence import audit
from tests.databases import run_with_database
from tests.handlers.compatibility.conftest import OPEN_E_OF_COUNTY
from tests.handlers.compatibility.test_web_messages import list_violations, read_problem
from tests.handlers.conftest import OPEN_E_URLS

PATH = "/2281/EXTERNAL/webmessages"
CASE = {"key": "flowInstanceId", "value": "1068"}
REFERENCES = "can not be empty or contain elements with empty keys or values"

Files = list[tuple[str, tuple[str | None, bytes, str]]]


def build_request(**changes: Any) -> dict[str, Any]:
    """Return a request with a text of its own; a change to `...` removes the property."""
    values = {"message": f"Hello {uuid.uuid4()}", "externalReferences": [CASE]}
    return {name: value for name, value in (values | changes).items() if value is not ...}


def build_parts(request: Any, *files: tuple[str, bytes]) -> Files:
    parts: Files = [("request", (None, json.dumps(request).encode(), "application/json"))]
    return parts + [("attachments", (name, data, "text/plain")) for name, data in files]


def send(service: RunningService, request: Any, *files: tuple[str, bytes], path: str = PATH, **headers: str) -> Any:
    return service.client.post(path, files=build_parts(request, *files), headers=headers)


def post(service: RunningService, request: Any, *files: tuple[str, bytes], path: str = PATH, **headers: str) -> int:
    """Post a message, which must be accepted, and return the id of Open-E."""
    response = send(service, request, *files, path=path, **headers)
    assert response.status_code == 201, response.text
    match = re.fullmatch(rf"/{path.split('/')[1]}/webmessages/([0-9]+)", response.headers["location"])
    assert match is not None
    assert (response.headers["expires"], response.headers["pragma"]) == ("0", "no-cache")
    return int(match[1])


def find(open_e: MockOpenE, text: str) -> Any:
    """Return the message of the mock with this text, which must be the only one."""
    [message] = [each for each in open_e.list_messages() if each.text == text]
    return message


@pytest.mark.parametrize("sender", [{"administratorId": "joe01doe"}, {}, None, ..., {"userId": " "}])
def test_message_of_the_staff_is_published_and_stored(
    compatible: RunningService, shared_open_e: MockOpenE, sender: Any
) -> None:
    request = build_request(sender=sender, unknown=1)
    open_e_id = post(compatible, request, ("hello.txt", b"Hello\n"))
    message = find(shared_open_e, request["message"])
    user_id = "joe01doe" if sender == {"administratorId": "joe01doe"} else None
    assert (message.message_id, message.kind, message.case, message.user_id) == (open_e_id, "manager", 1068, user_id)
    assert [(file.filename, file.size) for file in message.files] == [("hello.txt", 6)]
    listed = compatible.client.get("/2281/webmessages/external-references/flowInstanceId/1068").json()
    [stored] = [each for each in listed if each.get("message") == request["message"]]
    assert (stored["oepInstance"], stored["attachments"][0]["base64Data"]) == ("external", "SGVsbG8K")


def test_message_of_a_user_is_published_as_one_of_the_owner(
    compatible: RunningService, shared_open_e: MockOpenE
) -> None:
    request = build_request(sender={"userId": "joe01doe"}, externalReferences=[CASE | {"value": "007"}])
    open_e_id = post(compatible, request, path="/2260/INTERNAL/webmessages")
    message = find(shared_open_e, request["message"])
    assert (message.message_id, message.kind, message.case) == (open_e_id, "owner", 7)
    assert (message.instance, message.user_id, message.origin) == ("internal", "joe01doe", "addMessageAsOwner")


def test_message_of_the_owner_whose_answer_was_lost_is_found_on_its_case(
    compatible: RunningService, shared_open_e: MockOpenE
) -> None:
    request, key = build_request(sender={"userId": "joe01doe"}), str(uuid.uuid4())
    # An earlier equal message of the staff is not taken for it.
    shared_open_e.plant(1068, request["message"], kind="manager")
    shared_open_e.fail("AcceptedAnswerLost")
    problem = read_problem(send(compatible, request, **{"Idempotency-Key": key}), 500, "Internal Server Error")
    assert "unknown" in problem["detail"]
    response = send(compatible, request, **{"Idempotency-Key": key})
    assert response.status_code == 201, response.text
    [sent] = [each for each in shared_open_e.list_messages(kind="owner") if each.text == request["message"]]
    assert response.headers["location"] == f"/2281/webmessages/{sent.message_id}"
    assert response.headers["idempotency-replayed"] == "true"


def test_message_with_two_case_numbers_is_published_on_the_first(
    compatible: RunningService, shared_open_e: MockOpenE
) -> None:
    request = build_request(externalReferences=[CASE, {"key": "FLOWinstanceid", "value": "007001"}])
    post(compatible, request)
    assert find(shared_open_e, request["message"]).case == 1068
    for case in ("1068", "7001"):
        found = compatible.client.get(f"/2281/webmessages/external-references/flowInstanceId/{case}").json()
        assert request["message"] in [each.get("message") for each in found]


def test_parts_have_any_order_and_others_are_ignored(compatible: RunningService) -> None:
    files = build_parts(build_request(), ("a.txt", b"a"))
    other: Files = [("other", ("b.txt", b"b", "text/plain"))]
    response = compatible.client.post(PATH, files=[*other, *reversed(files)])
    assert response.status_code == 201, response.text


FAULTS = {
    "empty": ({}, [("externalReferences", REFERENCES), ("message", "must not be blank")]),
    "blank": (build_request(message=" "), [("message", "must not be blank")]),
    "no case number": (
        build_request(externalReferences=[CASE | {"value": "x"}]),
        [("externalReferences", "element with key 'flowInstanceId' must have value of numeric type")],
    ),
    "two senders": (
        build_request(sender={"userId": "a", "administratorId": "b"}),
        [("sender", "only one of the attributes can be set at a time")],
    ),
    "party": (build_request(sender={"partyId": "x"}), [("sender.partyId", "not a valid UUID")]),
}


@pytest.mark.parametrize(("request_", "expected"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_reported_with_its_published_text(
    compatible: RunningService, request_: Any, expected: list[tuple[str, str]]
) -> None:
    assert list_violations(send(compatible, request_)) == expected


def test_form_without_request_is_a_fault(compatible: RunningService) -> None:
    response = compatible.client.post(PATH, files=build_parts({}, ("", b"a"))[1:])
    fields = [field for field, _ in list_violations(response)]
    assert fields == ["attachments[0].fileName", "request"]
    response = compatible.client.post(PATH, json=build_request())
    read_problem(response, 415, "Unsupported Media Type")


def test_message_without_case_is_refused(compatible: RunningService) -> None:
    response = send(compatible, build_request(externalReferences=[{"key": "other", "value": "1"}]))
    assert read_problem(response, 400, "Bad Request")["detail"] == "Flow instance id is required"


def test_sender_with_a_party_is_not_offered(compatible: RunningService) -> None:
    response = send(compatible, build_request(sender={"partyId": str(uuid.uuid4())}))
    assert "partyId" in read_problem(response, 501, "Not Implemented")["detail"]


def test_municipality_and_instance_are_checked(compatible: RunningService) -> None:
    response = send(compatible, {}, path="/2282/EXTERNAL/webmessages")
    assert read_problem(response, 501, "Not Implemented")["detail"] == "Not implemented for municipalityId: 2282"
    response = send(compatible, build_request(), path="/9999/external/webmessages")
    assert list_violations(response) == [
        ("createWebmessage.instanceType", "must be one of INTERNAL, EXTERNAL"),
        ("createWebmessage.municipalityId", "not a valid municipality ID"),
    ]


def test_faults_of_open_e_are_problems(compatible: RunningService, shared_open_e: MockOpenE) -> None:
    for fault, status, title in (
        ("FlowInstanceNotFound", 404, "Not Found"),
        ("AccessDenied", 500, "Internal Server Error"),
    ):
        shared_open_e.fail(fault)
        assert read_problem(send(compatible, build_request()), status, title)["detail"]


def test_repetition_with_an_idempotency_key_gets_the_first_id(compatible: RunningService) -> None:
    request, key = build_request(), {"Idempotency-Key": str(uuid.uuid4())}
    first = post(compatible, request, ("a", b"a"), **key)
    assert post(compatible, request, ("a", b"a"), **key) == first
    as_owner = request | {"sender": {"userId": "joe01doe"}}
    read_problem(send(compatible, as_owner, ("a", b"a"), **key), 422, "Unprocessable Content")


def test_repetition_gets_the_first_id_also_after_the_message_was_deleted(compatible: RunningService) -> None:
    request, key = build_request(), {"Idempotency-Key": str(uuid.uuid4())}
    first = post(compatible, request, **key)
    listed = compatible.client.get("/2281/webmessages/external-references/flowInstanceId/1068").json()
    [message_id] = [each["id"] for each in listed if each.get("message") == request["message"]]
    assert compatible.client.delete(f"/2281/webmessages/{message_id}").status_code == 204
    assert post(compatible, request, **key) == first


def test_messages_of_a_case_are_those_of_open_e(compatible: RunningService, shared_open_e: MockOpenE) -> None:
    case, text = 500_000 + uuid.uuid4().int % 100_000, "å <b>\nend"
    shared_open_e.plant(case, text, kind="owner", added="2024-03-25T13:16:59")
    data = b"%PDF" * 600_000
    number = post(compatible, build_request(externalReferences=[CASE | {"value": str(case)}]), ("a b.PDF", data))
    response = compatible.client.get(f"{PATH}/cases/{case}")
    assert response.status_code == 200, response.text
    theirs, ours = response.json()
    assert theirs == {
        "direction": "INBOUND",
        "municipalityId": "2281",
        "externalCaseId": str(case),
        "message": text,
        "messageId": theirs["messageId"],
        "sent": "2024-03-25T13:16:00",
        "instance": "EXTERNAL",
    }
    assert (ours["direction"], ours["messageId"]) == ("OUTBOUND", str(number))
    [attachment] = ours["attachments"]
    attachment_id = attachment.pop("attachmentId")
    assert attachment == {"name": "a b.PDF", "extension": "PDF", "mimeType": "application/pdf"}
    file = compatible.client.get(f"{PATH}/attachments/{attachment_id}")
    assert (file.status_code, file.content, file.headers["content-type"]) == (200, data, "application/pdf")


def test_reads_of_a_case_are_counted_for_the_audit(sqlite_url: str) -> None:
    read_through = {"compatibility_apis": "oep-integrator-1.5", "audit_read_minutes": 60}
    with mock_open_e() as open_e:
        open_e.plant(1068, "Hej", kind="owner")
        with running_service(database_url=sqlite_url, **read_through, **OPEN_E_URLS) as service:
            assert len(service.client.get(f"{PATH}/cases/1068").json()) == 1
    pages = run_with_database(sqlite_url, lambda database: audit.list_page(database, after=0, limit=10, chain="reads"))
    [entry] = [each.entry for _, each in pages]
    assert entry.caller == "tests"
    assert "getCaseWebMessages" in json.dumps(entry.detail)


def test_messages_are_those_of_a_period(compatible: RunningService, shared_open_e: MockOpenE) -> None:
    case = 600_000 + uuid.uuid4().int % 100_000
    for minute in (14, 15, 16):
        shared_open_e.plant(case, str(minute), kind="owner", added=f"2024-03-25T13:{minute}:00")

    def read(**period: str) -> list[str]:
        found = compatible.client.get(f"{PATH}/cases/{case}", params=period).json()
        return [each["message"] for each in found]

    assert read(fromDateTime="2024-03-25T13:15:00") == ["15", "16"]
    assert read(toDateTime="2024-03-25T13:15:59.5") == ["14", "15"]
    assert read(fromDateTime="2024-03-25T13:15", toDateTime="2024-03-25T13:15") == ["15"]
    assert read(fromDateTime="2000-02-29T00:00:00", toDateTime="2028-02-29T00:00:00") == ["14", "15", "16"]
    assert compatible.client.get(f"{PATH}/cases/{case}", params={"toDateTime": "2100-02-29T00:00"}).status_code == 400
    response = compatible.client.get(f"{PATH}/cases/{case}", params={"fromDateTime": "yesterday"})
    assert [field for field, _ in list_violations(response)] == ["getWebmessagesByFlowInstanceId.fromDateTime"]


def test_messages_of_a_family_name_it_and_their_posters(compatible: RunningService) -> None:
    scenario = Scenario(
        users=(User("joe01doe", "Joe", "Doe", "joe.doe@example.com", number=7),),
        families=(Family(501),),
        cases=(DeclaredCase(1068, family=501),),
    )
    path = "/22/EXTERNAL/webmessages"
    with mock_open_e(url_external=OPEN_E_OF_COUNTY, scenario=scenario) as open_e:
        open_e.plant(1068, "Hej", kind="owner", added="2024-03-25T13:16:00", instance="external")
        number = post(compatible, build_request(message="Hello", sender={"administratorId": "joe01doe"}), path=path)
        response = compatible.client.get(f"{path}/families/501")
        assert response.status_code == 200, response.text
        assert compatible.client.get(f"{path}/families/7").json() == []
    theirs, ours = response.json()
    assert (theirs["familyId"], theirs["message"], "username" in theirs) == ("501", "Hej", False)
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{5}:00", ours.pop("sent"))
    assert ours == {
        "direction": "OUTBOUND",
        "municipalityId": "22",
        "familyId": "501",
        "externalCaseId": "1068",
        "message": "Hello",
        "messageId": str(number),
        "username": "joe01doe",
        "firstName": "Joe",
        "lastName": "Doe",
        "email": "joe.doe@example.com",
        "userId": "7",
        "instance": "EXTERNAL",
    }


def test_reads_of_nothing(compatible: RunningService, shared_open_e: MockOpenE) -> None:
    assert compatible.client.get(f"{PATH}/cases/2147483646").json() == []
    read_problem(compatible.client.get(f"{PATH}/attachments/999999999"), 404, "Not Found")
    shared_open_e.fail("Http500", operation="messageapi")
    read_problem(compatible.client.get(f"{PATH}/cases/1068"), 500, "Internal Server Error")
    response = compatible.client.get("/2260/EXTERNAL/webmessages/cases/1")
    problem = read_problem(response, 500, "Internal Server Error")
    assert problem["detail"] == "The 2260/external Open-E is not configured"


def test_reads_need_a_key_with_access(compatible: RunningService) -> None:
    for path in ("cases/1068", "families/1", "attachments/1"):
        read_problem(httpx.get(f"{compatible.url}{PATH}/{path}", verify=False), 401, "Unauthorized")

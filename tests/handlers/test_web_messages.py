"""Create, get and delete messages over HTTP."""

import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from conftest import RunningService
from domain.audit import WEB_MESSAGES
from mock_open_e import MockOpenE
from tests.catalogue_rows import read_audit
from tests.factories import PARTY_ID, build_case_body, build_message_body
from tests.handlers.messages import create_id, get_message, post_message, read_problem

CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")


def test_create_web_message_returns_201_with_location_and_no_body(shared: RunningService) -> None:
    response = shared.client.post("/webmessages", json=build_message_body())
    assert response.status_code == 201
    assert re.fullmatch(r"/webmessages/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", response.headers["location"])
    assert response.content == b""


def test_get_web_message_by_id_returns_everything_that_was_sent(shared: RunningService) -> None:
    start = datetime.now(UTC) - timedelta(milliseconds=1)
    message_id = post_message(
        shared,
        message="Two lines\r\n& <tags> åäö 😀",
        externalReferences=[{"key": "second", "value": "2"}, {"key": "first", "value": "1/ä"}],
        sender={"userId": "joe01doe"},
        oepInstance="internal",
        attachments=[{"fileName": "hello.txt", "base64Data": "SGVsbG8K"}],
    )
    value = get_message(shared, message_id)
    assert CREATED.fullmatch(value["created"])
    assert start <= datetime.fromisoformat(value.pop("created")) <= datetime.now(UTC)
    attachment_id = value["attachments"][0].pop("id")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", attachment_id)
    assert value == {
        "id": message_id,
        "partyId": PARTY_ID,
        "message": "Two lines\r\n& <tags> åäö 😀",
        "externalReferences": [{"key": "second", "value": "2"}, {"key": "first", "value": "1/ä"}],
        "sender": {"userId": "joe01doe"},
        "oepInstance": "internal",
        "attachments": [
            {
                "fileName": "hello.txt",
                "mimeType": "text/plain",
                "size": 6,
                "sha256": hashlib.sha256(b"Hello\n").hexdigest(),
                "base64Data": "SGVsbG8K",
            }
        ],
    }


def test_get_web_message_by_id_omits_absent_fields(shared: RunningService) -> None:
    value = get_message(shared, post_message(shared, partyId=None))
    assert set(value) == {"id", "message", "externalReferences", "oepInstance", "created"}
    assert value["oepInstance"] == "external"


@pytest.mark.parametrize(
    "absent",
    [
        {"partyId": None, "sender": None, "oepInstance": None, "attachments": None},
        {"sender": {}, "attachments": []},
        {"sender": {"userId": None}},
    ],
    ids=["null", "empty", "null-user"],
)
def test_create_web_message_treats_null_and_empty_as_absent(shared: RunningService, absent: dict[str, object]) -> None:
    body = build_message_body(partyId=None) | absent
    response = shared.client.post("/webmessages", json=body)
    assert response.status_code == 201, response.text
    value = shared.client.get(response.headers["location"]).json()
    assert set(value) == {"id", "message", "externalReferences", "oepInstance", "created"}


def test_create_web_message_returns_uuids_in_lower_case_and_finds_them_in_upper_case(shared: RunningService) -> None:
    party_id = create_id()
    message_id = post_message(shared, partyId=party_id.upper(), attachments=[{"fileName": "a", "base64Data": "YQ=="}])
    value = shared.client.get(f"/webmessages/{message_id.upper()}").json()
    assert (value["id"], value["partyId"]) == (message_id, party_id)
    listed = shared.client.get(f"/webmessages/recipients/{party_id.upper()}").json()
    assert [message["id"] for message in listed] == [message_id]
    attachment_id = value["attachments"][0]["id"].upper()
    assert shared.client.get(f"/webmessages/{message_id.upper()}/attachments/{attachment_id}").content == b"a"
    assert shared.client.delete(f"/webmessages/{message_id.upper()}").status_code == 204


def test_create_web_message_normalises_the_case_and_removes_duplicates(shared: RunningService) -> None:
    references = [
        {"key": "FLOWINSTANCEID", "value": "1068"},
        {"key": "errand", "value": "1"},
        {"key": "flowinstanceid", "value": "1068"},
        {"key": "Errand", "value": "1"},
        {"key": "errand", "value": "1"},
    ]
    value = get_message(shared, post_message(shared, externalReferences=references))
    assert value["externalReferences"] == [
        {"key": "flowInstanceId", "value": "1068"},
        {"key": "errand", "value": "1"},
        {"key": "Errand", "value": "1"},
    ]


def test_create_web_message_publishes_on_a_case(shared: RunningService, shared_open_e: MockOpenE) -> None:
    shared_open_e.clear()
    response = shared.client.post(
        "/webmessages",
        json=build_case_body(
            2147483647,
            message="One\nTwo",
            sender={"userId": "joe01doe"},
            attachments=[{"fileName": "b.txt", "base64Data": "Yg=="}, {"fileName": "a.txt", "base64Data": "YWE="}],
        ),
    )
    assert response.status_code == 201
    (message,) = shared_open_e.messages
    value = shared.client.get(response.headers["location"]).json()
    added = datetime.fromisoformat(message.pop("added"))
    assert added <= datetime.fromisoformat(value["created"])
    assert message.pop("messageID") > 0
    assert message == {
        "instance": "external",
        "flowInstanceID": 2147483647,
        "message": "One\r\nTwo",
        "userID": "joe01doe",
        "attachments": [
            {"filename": "b.txt", "size": 1, "sha256": hashlib.sha256(b"b").hexdigest()},
            {"filename": "a.txt", "size": 2, "sha256": hashlib.sha256(b"aa").hexdigest()},
        ],
    }
    assert [attachment["fileName"] for attachment in value["attachments"]] == ["b.txt", "a.txt"]


@pytest.mark.parametrize("instance", ["internal", "external"])
def test_create_web_message_publishes_on_the_requested_instance(
    shared: RunningService, shared_open_e: MockOpenE, instance: str
) -> None:
    shared_open_e.clear()
    assert shared.client.post("/webmessages", json=build_case_body(oepInstance=instance)).status_code == 201
    assert [message["instance"] for message in shared_open_e.messages] == [instance]
    assert shared_open_e.messages[0]["userID"] is None


def test_create_web_message_without_a_case_makes_no_call(shared: RunningService, shared_open_e: MockOpenE) -> None:
    shared_open_e.clear()
    post_message(shared)
    assert shared_open_e.messages == []


def test_delete_web_message_by_id_removes_the_message_from_all_reads(shared: RunningService) -> None:
    party_id, value = create_id(), create_id()
    message_id = post_message(
        shared,
        partyId=party_id,
        externalReferences=[{"key": "errand", "value": value}],
        attachments=[{"fileName": "a", "base64Data": "YQ=="}],
    )
    attachment_id = get_message(shared, message_id)["attachments"][0]["id"]
    response = shared.client.delete(f"/webmessages/{message_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert shared.client.get(f"/webmessages/{message_id}").status_code == 404
    assert shared.client.get(f"/webmessages/{message_id}/attachments/{attachment_id}").status_code == 404
    assert shared.client.get(f"/webmessages/recipients/{party_id}").json() == []
    assert shared.client.get(f"/webmessages/external-references/errand/{value}").json() == []
    assert shared.client.delete(f"/webmessages/{message_id}").status_code == 404


def test_delete_web_message_by_id_is_audited_without_the_content(shared: RunningService) -> None:
    plain = post_message(shared)
    published = shared.client.post("/webmessages", json=build_case_body()).headers["location"].rpartition("/")[2]
    url = shared.settings.database_url.get_secret_value()
    case = {"flowInstanceId": int(build_case_body()["externalReferences"][0]["value"])}
    for message_id, detail in ((plain, {}), (published, case)):
        response = shared.client.delete(f"/webmessages/{message_id}")
        assert response.status_code == 204
        (entry,) = read_audit(url, response.headers["x-request-id"])
        assert (entry.chain, entry.operation, entry.outcome) == (WEB_MESSAGES, "deleteWebMessageById", "deleted")
        assert entry.caller == "tests"
        assert entry.detail == {"messageId": message_id, "oepInstance": "external"} | detail
    response = shared.client.delete(f"/webmessages/{plain}")
    assert response.status_code == 404
    assert read_audit(url, response.headers["x-request-id"]) == []


def test_delete_web_message_by_id_does_not_call_open_e(shared: RunningService, shared_open_e: MockOpenE) -> None:
    shared_open_e.clear()
    location = shared.client.post("/webmessages", json=build_case_body()).headers["location"]
    assert shared.client.delete(location).status_code == 204
    assert len(shared_open_e.messages) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_message_is_a_404_with_its_id(shared: RunningService, method: str) -> None:
    message_id = create_id()
    value = read_problem(shared.client.request(method, f"/webmessages/{message_id.upper()}"), 404, "Not Found")
    assert value["detail"] == f"WebMessage with id '{message_id}' not found"
    assert value["status"] == {"statusCode": 404, "reasonPhrase": "Not Found"}


def test_get_web_message_attachment_of_another_message_is_a_404(shared: RunningService) -> None:
    first = get_message(shared, post_message(shared, attachments=[{"fileName": "a", "base64Data": "YQ=="}]))
    second = get_message(shared, post_message(shared, attachments=[{"fileName": "b", "base64Data": "Yg=="}]))
    attachment_id = second["attachments"][0]["id"]
    value = read_problem(shared.client.get(f"/webmessages/{first['id']}/attachments/{attachment_id}"), 404, "Not Found")
    assert value["detail"] == f"Attachment with id '{attachment_id}' not found in WebMessage with id '{first['id']}'"


def test_get_web_message_attachment_of_an_unknown_message_is_a_404(shared: RunningService) -> None:
    message_id = create_id()
    value = read_problem(shared.client.get(f"/webmessages/{message_id}/attachments/{create_id()}"), 404, "Not Found")
    assert value["detail"] == f"WebMessage with id '{message_id}' not found"


def test_create_web_message_accepts_maximum_lengths(shared: RunningService) -> None:
    message_id = post_message(
        shared,
        externalReferences=[{"key": "k" * 128, "value": "ä" * 128}, {"key": "abc", "value": "1"}],
        sender={"userId": "ö" * 255},
        attachments=[{"fileName": "å" * 255, "base64Data": "YQ=="}] * 10,
    )
    value = get_message(shared, message_id)
    assert value["externalReferences"][0] == {"key": "k" * 128, "value": "ä" * 128}
    assert value["sender"] == {"userId": "ö" * 255}
    assert [attachment["fileName"] for attachment in value["attachments"]] == ["å" * 255] * 10
    assert len({attachment["id"] for attachment in value["attachments"]}) == 10

"""A caller of WebMessageSender 3.2, written from its published description alone, with the standard library.

It knows neither this service nor its contract. Only the address, and the token of its gateway, are those of this
service.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from conftest import MESSAGES_KEY, running_service
from mock_open_e import MockOpenE, mock_open_e


@dataclass
class Answer:
    status: int
    headers: Any
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class WebMessageSender:
    """The client of the caller."""

    address: str
    municipality: str = "2281"

    def send(self, method: str, path: str, body: Any = None) -> Answer:
        request = urllib.request.Request(  # The address is that of the test.
            f"{self.address}/{self.municipality}/webmessages{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json, application/problem+json",
                "X-Sent-By": "joe01doe; type=adAccount",
                "x-request-id": "b2c5a1e0-35d1-4a6c-9c1f-0d9f8d3c2a77",
                "apikey": MESSAGES_KEY,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # As above.
                return Answer(response.status, response.headers, response.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read().decode())


@pytest.fixture(scope="module")
def open_e() -> Iterator[MockOpenE]:
    with mock_open_e() as mock:
        yield mock


@pytest.fixture(scope="module")
def client(
    open_e: MockOpenE, migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebMessageSender]:
    path = tmp_path_factory.mktemp("callers") / "test.db"
    path.write_bytes(migrated_sqlite)
    with running_service(
        database_url=f"sqlite:///{path}",
        compatibility_apis="web-messages-3.2",
        municipalities="2281",
        open_e_external_url="http://open-e.test/external/api/callback",
        open_e_internal_url="http://open-e.test/internal/api/callback",
    ) as running:
        yield WebMessageSender(running.url)


PARTY = "fbfbd90c-4c47-11ec-81d3-0242ac130003"


def test_caller_publishes_reads_and_deletes_a_message(client: WebMessageSender, open_e: MockOpenE) -> None:
    created = client.send(
        "POST",
        "",
        {
            "partyId": PARTY,
            "message": "Hej",
            "oepInstance": "INTERNAL",
            "externalReferences": [{"key": "flowInstanceId", "value": "356434"}],
            "sender": {"userId": "joe01doe"},
            "attachments": [{"fileName": "test.txt", "mimeType": "text/plain", "base64Data": "aGVq"}],
        },
    )
    assert (created.status, created.text) == (201, "")
    municipality, resource, message_id = created.headers["Location"].strip("/").split("/")
    assert (municipality, resource) == ("2281", "webmessages")
    [published] = open_e.messages
    assert (published["flowInstanceID"], published["message"], published["userID"]) == (356434, "Hej", "joe01doe")

    message = client.send("GET", f"/{message_id}").json()
    assert datetime.fromisoformat(message["created"]).tzinfo is not None
    assert message == {
        "id": message_id,
        "municipalityId": "2281",
        "sender": {"userId": "joe01doe"},
        "partyId": PARTY,
        "message": "Hej",
        "oepInstance": "INTERNAL",
        "externalReferences": [{"key": "flowInstanceId", "value": "356434"}],
        "created": message["created"],
        "attachments": [{"fileName": "test.txt", "mimeType": "text/plain", "base64Data": "aGVq"}],
    }
    assert client.send("GET", f"/recipients/{PARTY}").json() == [message]
    assert client.send("GET", "/external-references/flowInstanceId/356434").json() == [message]

    assert client.send("DELETE", f"/{message_id}").status == 204
    gone = client.send("GET", f"/{message_id}")
    assert gone.json() == {
        "title": "Not Found",
        "status": 404,
        "detail": f"WebMessage with id '{message_id}' not found",
    }
    assert client.send("GET", f"/recipients/{PARTY}").json() == []


def test_caller_understands_a_validation_error(client: WebMessageSender) -> None:
    answer = client.send("POST", "", {"oepInstance": "both", "externalReferences": [], "partyId": "1-1"})
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert answer.json() == {
        "title": "Constraint Violation",
        "status": 400,
        "violations": [
            {
                "field": "externalReferences",
                "message": "can not be empty or contain elements with empty keys or values",
            },
            {"field": "oepInstance", "message": "instance can only be 'internal' or 'external'"},
            {"field": "partyId", "message": "not a valid UUID"},
        ],
    }


def test_caller_is_told_that_its_municipality_is_not_served(client: WebMessageSender) -> None:
    other = WebMessageSender(client.address, "2260")
    answer = other.send("GET", f"/recipients/{PARTY}")
    assert answer.json() == {
        "title": "Not Implemented",
        "status": 501,
        "detail": "Not implemented for municipalityId: 2260",
    }
    unknown = WebMessageSender(client.address, "1234").send("POST", "", {"oepInstance": "internal"})
    assert {"field": "createWebMessage.municipalityId", "message": "not a valid municipality ID"} in unknown.json()[
        "violations"
    ]


def test_caller_gets_the_errors_of_open_e(client: WebMessageSender, open_e: MockOpenE) -> None:
    body = {
        "message": "Hej",
        "oepInstance": "external",
        "externalReferences": [{"key": "flowInstanceId", "value": "1068"}],
    }
    for fault, status in (("AccessDenied", 401), ("FlowInstanceNotFound", 404), ("NoDetail", 500)):
        open_e.fail(fault)
        answer = client.send("POST", "", body)
        assert (answer.status, answer.json()["status"]) == (status, status)
        assert answer.json()["detail"]

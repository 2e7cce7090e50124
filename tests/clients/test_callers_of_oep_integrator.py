"""A caller of oep-integrator 1.5, written from its published description alone, with the standard library."""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import MESSAGES_KEY, running_service
from mock_open_e import MockOpenE, mock_open_e


def send(method: str, address: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """Return the status, the headers and the body of an answer."""
    request = urllib.request.Request(  # The address is that of the test.
        address, method=method, data=body, headers={"apikey": MESSAGES_KEY, **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # As above.
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def post_form(address: str, request: Any, files: dict[str, bytes]) -> tuple[int, Any, bytes]:
    boundary = uuid.uuid4().hex
    lines = [
        f"--{boundary}",
        'Content-Disposition: form-data; name="request"',
        "Content-Type: application/json",
        "",
        json.dumps(request),
    ]
    for name, content in files.items():
        lines += [
            f"--{boundary}",
            f'Content-Disposition: form-data; name="attachments"; filename="{name}"',
            "Content-Type: application/octet-stream",
            "",
            content.decode("latin-1"),
        ]
    body = "\r\n".join([*lines, f"--{boundary}--", ""]).encode("latin-1")
    return send("POST", address, body, **{"Content-Type": f"multipart/form-data; boundary={boundary}"})


@pytest.fixture(scope="module")
def open_e() -> Iterator[MockOpenE]:
    with mock_open_e() as mock:
        yield mock


@pytest.fixture(scope="module")
def address(open_e: MockOpenE, migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("callers") / "test.db"
    path.write_bytes(migrated_sqlite)
    with running_service(
        database_url=f"sqlite:///{path}",
        compatibility_apis="oep-integrator-1.5",
        open_e_external_url="http://open-e.test/external/api/callback",
        open_e_internal_url="http://open-e.test/internal/api/callback",
    ) as running:
        yield f"{running.url}/2281/EXTERNAL/webmessages"


REQUEST = {
    "sender": {"userId": "joe01doe"},
    "message": "Hej",
    "externalReferences": [{"key": "flowInstanceId", "value": "356434"}],
}


def test_caller_posts_a_message_and_reads_the_case(address: str, open_e: MockOpenE) -> None:
    status, headers, body = post_form(address, REQUEST, {"test.txt": b"hej"})
    assert (status, body) == (201, b"")
    municipality, resource, message_id = headers["Location"].strip("/").split("/")
    assert (municipality, resource) == ("2281", "webmessages")
    [published] = open_e.list_messages(case=356434)
    assert (published.kind, published.message_id) == ("owner", int(message_id))

    status, _, body = send("GET", f"{address}/cases/356434?fromDateTime=2024-01-31T12:00:00")
    [message] = json.loads(body)
    assert (status, message["direction"], message["messageId"]) == (200, "INBOUND", message_id)
    [attachment] = message["attachments"]
    assert (attachment["name"], attachment["extension"], attachment["mimeType"]) == ("test.txt", "txt", "text/plain")
    status, headers, body = send("GET", f"{address}/attachments/{attachment['attachmentId']}")
    assert (status, headers["Content-Type"], body) == (200, "text/plain", b"hej")


def test_caller_understands_errors(address: str) -> None:
    status, headers, body = post_form(
        address, {"sender": {"userId": "a", "administratorId": "b"}, "externalReferences": []}, {}
    )
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert json.loads(body) == {
        "title": "Constraint Violation",
        "status": 400,
        "violations": [
            {
                "field": "externalReferences",
                "message": "can not be empty or contain elements with empty keys or values",
            },
            {"field": "message", "message": "must not be blank"},
            {"field": "sender", "message": "only one of the attributes can be set at a time"},
        ],
    }
    status, _, body = post_form(address, REQUEST | {"externalReferences": [{"key": "a", "value": "b"}]}, {})
    assert json.loads(body) == {"title": "Bad Request", "status": 400, "detail": "Flow instance id is required"}

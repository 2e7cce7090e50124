"""Lists of WebMessageSender 3.2 whose messages are deleted while the caller reads, and that wait for memory."""

import base64
import http.client
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from budkavle.settings import LARGEST_BODY
from conftest import MESSAGES_KEY, RunningService, create_database, running_service
from domain.attachments import MAX_ATTACHMENT_BYTES
from tests.handlers.messages import create_id

PATH = "/2281/webmessages"

LARGE = {"fileName": "a.bin", "base64Data": base64.b64encode(os.urandom(MAX_ATTACHMENT_BYTES)).decode()}
"""Three of these are larger than all buffers between this test and the service."""

SMALL = {"fileName": "b.txt", "base64Data": "YQ=="}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Yield a service on each database that keeps little memory for lists."""
    with running_service(
        database_url=create_database(request, tmp_path_factory.mktemp("interrupted")),
        compatibility_apis="web-messages-3.2",
        body_bytes=LARGEST_BODY,
        body_queue_timeout=0.2,
    ) as running:
        yield running


def post(service: RunningService, party_id: str, *files: dict[str, str]) -> str:
    """Post a message, which must be accepted, and return its path."""
    reference = {"key": "errand", "value": party_id}
    body = {"partyId": party_id, "oepInstance": "external", "externalReferences": [reference], "attachments": files}
    response = service.client.post(PATH, json=body)
    assert response.status_code == 201, response.text
    location: str = response.headers["location"]
    return location


def delete(service: RunningService, path: str) -> None:
    assert service.client.delete(path).status_code == 204


@contextmanager
def begin_list(service: RunningService, party_id: str) -> Iterator[http.client.HTTPResponse]:
    """Yield the response to a list after its first byte, while the service waits for the caller."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        connection.request("GET", f"{PATH}/recipients/{party_id}", headers={"apikey": MESSAGES_KEY})
        response = connection.getresponse()
        assert response.status == 200
        assert response.read(1) == b"["
        yield response
    finally:
        connection.close()


def read_files(response: http.client.HTTPResponse) -> dict[str, list[str]]:
    """Return the contents of the files by the paths of their messages."""
    messages = json.loads(b"[" + response.read())
    return {f"{PATH}/{each['id']}": [file["base64Data"] for file in each["attachments"]] for each in messages}


def test_list_omits_messages_that_are_deleted_while_it_is_sent(service: RunningService) -> None:
    party_id, content = create_id(), LARGE["base64Data"]
    first = post(service, party_id, LARGE, LARGE, LARGE)
    omitted = [post(service, party_id, *files) for files in ((SMALL,), (SMALL, LARGE))]
    last = post(service, party_id, SMALL)
    omitted.append(post(service, party_id, SMALL))
    with begin_list(service, party_id) as response:
        for path in (first, *omitted):
            delete(service, path)
        assert read_files(response) == {first: [content] * 3, last: ["YQ=="]}


def test_list_is_complete_if_no_memory_becomes_free(service: RunningService) -> None:
    party_id = create_id()
    path = post(service, party_id, *[LARGE] * 6)
    with begin_list(service, party_id), begin_list(service, party_id) as other:
        assert read_files(other) == {path: [LARGE["base64Data"]] * 6}

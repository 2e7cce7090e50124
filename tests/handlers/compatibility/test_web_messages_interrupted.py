"""Lists of WebMessageSender 3.2 whose messages are deleted while the caller reads, and that wait for memory."""

import http.client
import json
import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from budkavle.settings import LARGEST_BODY
from conftest import MESSAGES_KEY, RunningService, create_database, running_service
from domain.attachments import MAX_ATTACHMENT_BYTES
from persistence import web_messages as stored
from tests.databases import run_with_database
from tests.factories import NOW, build_attachment, build_web_message
from tests.handlers.messages import create_id

MUNICIPALITY = "2281"
PATH = f"/{MUNICIPALITY}/webmessages"

LARGE = os.urandom(MAX_ATTACHMENT_BYTES)
"""A file. Three of these are larger than all buffers between this test and the service."""

SMALL = b"a"


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


def put(service: RunningService, party_id: str, *messages: tuple[bytes, ...]) -> list[str]:
    """Store messages with these files, in the order of a list, and return their paths.

    Posts of so many bytes would take most of the time of these tests.
    """
    paths = []
    for number, files in enumerate(messages):
        message = build_web_message(
            party_id=party_id,
            municipality_id=MUNICIPALITY,
            attachments=tuple(map(build_attachment, files)),
            created=NOW + timedelta(seconds=number),
        )
        url = service.settings.database_url.get_secret_value()
        assert run_with_database(url, lambda database: stored.store(database, message))  # noqa: B023  # It runs at once.
        paths.append(f"{PATH}/{message.id}")
    return paths


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


def read_files(response: http.client.HTTPResponse) -> dict[str, list[bytes]]:
    """Return the contents of the files by the paths of their messages."""
    messages = json.loads(b"[" + response.read())
    return {
        f"{PATH}/{each['id']}": [b64decode(file["base64Data"]) for file in each["attachments"]] for each in messages
    }


def test_list_omits_messages_that_are_deleted_while_it_is_sent(service: RunningService) -> None:
    party_id = create_id()
    files = ((LARGE, LARGE, LARGE), (SMALL,), (SMALL, LARGE), (SMALL,), (SMALL,))
    first, *omitted, last, other = put(service, party_id, *files)
    with begin_list(service, party_id) as response:
        for path in (first, *omitted, other):
            delete(service, path)
        assert read_files(response) == {first: [LARGE] * 3, last: [SMALL]}


def test_list_is_complete_if_no_memory_becomes_free(service: RunningService) -> None:
    # Two lists of the first party leave too little memory for a list of the other one.
    parties = create_id(), create_id()
    put(service, parties[0], (LARGE,) * 5)
    [path] = put(service, parties[1], (LARGE,) * 2)
    with begin_list(service, parties[0]), begin_list(service, parties[0]), begin_list(service, parties[1]) as response:
        assert read_files(response) == {path: [LARGE] * 2}

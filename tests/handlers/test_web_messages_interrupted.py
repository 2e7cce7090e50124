"""Interrupted responses: callers that disconnect, and messages that are deleted while they are read."""

import base64
import json
import os
from collections.abc import Iterator

import pytest

from conftest import MESSAGES_KEY, RunningService, create_database, running_service
from domain.attachments import MAX_ATTACHMENT_BYTES
from persistence.waits import Waits
from tests.factories import build_message_body
from tests.handlers.messages import get_message
from tests.raw_http import RawConnection


@pytest.fixture(scope="module")
def body() -> bytes:
    """Return a message that is larger than all buffers between a test and the service, encoded once."""
    data = base64.b64encode(os.urandom(MAX_ATTACHMENT_BYTES)).decode()
    return json.dumps(build_message_body(attachments=[{"fileName": "a.bin", "base64Data": data}] * 3)).encode()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Yield a service that the tests of a module share."""
    url = create_database(request, tmp_path_factory.mktemp("streaming"))
    with running_service(database_url=url) as running:
        yield running


@pytest.fixture
def message_id(shared: RunningService, body: bytes) -> Iterator[str]:
    """Yield the id of a large message."""
    response = shared.client.post("/webmessages", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 201, response.text
    posted = response.headers["location"].removeprefix("/webmessages/")
    yield posted
    shared.client.delete(f"/webmessages/{posted}")


def begin(service: RunningService, path: str) -> RawConnection:
    connection = RawConnection(service.port)
    connection.send(f"GET {path} HTTP/1.1\r\nHost: x\r\napikey: {MESSAGES_KEY}\r\n\r\n".encode())
    return connection


def test_response_is_truncated_when_its_message_is_deleted(shared: RunningService, message_id: str) -> None:
    with begin(shared, f"/webmessages/{message_id}") as connection:
        response = connection.read_response(has_body=False)
        assert response.status == 200
        assert shared.client.delete(f"/webmessages/{message_id}").status_code == 204
        rest = connection.read_all()
        assert len(rest) < int(response.headers["content-length"])
    assert shared.client.get(f"/webmessages/{message_id}").status_code == 404


def test_disconnected_callers_release_their_connections(shared: RunningService, message_id: str) -> None:
    for _ in range(Waits().pool_size + 5):
        with begin(shared, f"/webmessages/{message_id}") as connection:
            assert connection.read_response(has_body=False).status == 200
    for _ in range(Waits().pool_size + 5):
        assert shared.client.get("/health/ready").status_code == 200
    assert len(get_message(shared, message_id)["attachments"]) == 3

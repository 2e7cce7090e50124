"""Post and read web messages, and parse responses of the service."""

import asyncio
import uuid
from typing import Any

import httpx

from conftest import RunningService
from domain.web_messages import MessageState, UnsettledMessage
from persistence import web_messages as stored
from persistence.opening import open_database
from tests.factories import build_message_body

PROBLEM = "application/problem+json"

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
"""An id that no object has."""


def create_id() -> str:
    return str(uuid.uuid4())


def read_problem(response: httpx.Response, status: int, title: str) -> dict[str, Any]:
    """Return the problem in a response, after asserting its status and title."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    value: dict[str, Any] = response.json()
    assert value["title"] == title
    assert value["status"]["statusCode"] == status
    return value


def read_violations(response: httpx.Response) -> list[tuple[str, str]]:
    """Return the fields and messages of a validation error."""
    value = read_problem(response, 400, "Constraint Violation")
    assert value["status"]["reasonPhrase"] == "Bad Request"
    found = [(violation["field"], violation["message"]) for violation in value["violations"]]
    assert found == sorted(found)
    return found


def post_message(service: RunningService, **changes: Any) -> str:
    """Post a message, which must be accepted, and return its id."""
    response = service.client.post("/webmessages", json=build_message_body(**changes))
    assert response.status_code == 201, response.text
    return response.headers["location"].removeprefix("/webmessages/")


def get_message(service: RunningService, message_id: str) -> dict[str, Any]:
    """Return a message, which must exist."""
    response = service.client.get(f"/webmessages/{message_id}")
    assert response.status_code == 200, response.text
    value: dict[str, Any] = response.json()
    return value


def list_unsettled_messages(service: RunningService) -> list[UnsettledMessage]:
    """Return the messages that only operators see."""

    async def listed() -> list[UnsettledMessage]:
        database = open_database(service.settings.database_url.get_secret_value())
        try:
            return await stored.list_unsettled(database, (MessageState.SENDING, MessageState.UNKNOWN), 1000)
        finally:
            await database.close()

    return asyncio.run(listed())

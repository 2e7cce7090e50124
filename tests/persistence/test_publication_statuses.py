"""What operators see of messages: those of a request."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from domain.idempotency_keys import build_first_id
from domain.time_ranges import TimeRange
from persistence import publication_statuses as statuses
from persistence import web_messages
from persistence.database import Database
from tests.factories import NOW, build_web_message
from tests.persistence.publication_steps import to_case

pytestmark = pytest.mark.anyio


async def test_messages_are_found_by_request_and_time(database: Database) -> None:
    later = NOW + timedelta(hours=1)
    stored, sent = build_web_message(id=build_id(NOW), created=NOW), to_case(id=build_id(later))
    await web_messages.store(database, stored, request_id="r-1")
    await web_messages.begin_sending(database, sent, NOW, request_id="r-1")
    await web_messages.store(database, build_web_message(id=build_id(NOW), created=NOW), request_id="r-2")
    await web_messages.store(database, build_web_message(id=build_id(NOW), created=NOW))

    async def find(request_id: str = "r-1", limit: int = 9, **times: datetime) -> list[str]:
        found = await statuses.list_of_request(database, request_id, TimeRange(**times), NOW, limit)
        return [each.id for each in found]

    assert await find() == [stored.id, sent.id]
    assert await find(limit=1) == [stored.id]
    assert await find("r") == []
    assert await find(since=later) == [sent.id]
    assert await find(until=later) == [stored.id]
    assert await find(since=NOW, until=NOW) == []


def build_id(moment: datetime) -> str:
    """Return a new id of a message of this moment."""
    return build_first_id(moment)[:24] + uuid4().hex[:12]

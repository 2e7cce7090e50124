"""What operators see of messages: those of a request."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from domain.idempotency_keys import build_first_id
from domain.publications import Case
from domain.time_ranges import TimeRange
from domain.web_messages import OepInstance
from persistence import publication_decisions as decisions
from persistence import publication_statuses as statuses
from persistence import publications, web_messages
from persistence.database import Database
from tests.factories import NOW, build_web_message
from tests.persistence.publication_steps import CASE, ENTRY, LEASE, send, to_case

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


async def test_failing_cases_are_those_whose_messages_are_not_settled(database: Database) -> None:
    deleted, resolved = await send(database, to_case()), await send(database, to_case(case=2))
    for case in (CASE, Case(OepInstance.EXTERNAL, 2)):
        await publications.claim(database, case, NOW, LEASE)
        await publications.record_failure(database, case, NOW)
    assert await statuses.count_failing_cases(database) == {"external": 2}
    assert await decisions.mark_not_published(database, resolved.id, NOW, ENTRY)
    assert await statuses.count_failing_cases(database) == {"external": 1}
    # Its case is read further: it may be there.
    assert await decisions.delete_in_doubt(database, deleted.id, NOW, ENTRY)
    assert await statuses.count_failing_cases(database) == {"external": 1}


def build_id(moment: datetime) -> str:
    """Return a new id of a message of this moment."""
    return build_first_id(moment)[:24] + uuid4().hex[:12]

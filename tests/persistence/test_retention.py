"""Find and remove old data in steps."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from domain.deliveries import AttemptOutcome, DeliveryState
from domain.retention import MessageSelection
from domain.web_messages import ExternalReference, MessageState, OepInstance, WebMessage
from persistence import deliveries, publication_statuses, retention
from persistence import web_messages as stored
from persistence.database import Database
from persistence.queue import claims
from persistence.retention import PAGE
from persistence.tables import deliveries as deliveries_table
from persistence.tables import web_messages as messages_table
from persistence.work import short_write
from tests.factories import NOW, build_attachment, build_web_message
from tests.persistence.catalogues import SYSTEM, build_entry, prepare, sync
from tests.persistence.queues import build_action, build_lease, build_settled, claim, list_rows, publish
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
OLD, NEW = NOW - 2 * DAY, NOW
STORED, PUBLISHED = MessageState.STORED, MessageState.PUBLISHED
EXTERNAL, INTERNAL = OepInstance.EXTERNAL, OepInstance.INTERNAL


def to_case(**changes: Any) -> WebMessage:
    return build_web_message(external_references=(ExternalReference("flowInstanceId", "7"),), **changes)


async def store_messages(database: Database) -> dict[str, str]:
    """Store an old and a new message of each state and instance, and those without an outcome. Return their ids."""
    ids = {}
    for instance in OepInstance:
        for age, created in (("old", OLD), ("new", NEW)):
            plain = build_web_message(created=created, oep_instance=instance)
            await stored.store(database, plain)
            ids[f"stored {instance} {age}"] = plain.id
            published = to_case(created=None, oep_instance=instance)
            await stored.begin_sending(database, published, created)
            await stored.mark_published(database, published, len(ids), created)
            ids[f"published {instance} {age}"] = published.id
    for name in ("sending", "unknown"):
        message = to_case(created=None)
        await stored.begin_sending(database, message, OLD)
        ids[name] = message.id
    await stored.mark_unknown(database, ids["unknown"])
    return ids


async def find_all(database: Database, selection: MessageSelection) -> list[str]:
    found, after = [], retention.FIRST_ID
    while (page := await retention.find_messages(database, selection, after)).last is not None:
        found += [id_ for id_, _ in page.items]
        after = page.last
    return found


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (
            MessageSelection(NOW - DAY),
            ["published external old", "published internal old", "stored external old", "stored internal old"],
        ),
        (MessageSelection(NOW - DAY, STORED, EXTERNAL), ["stored external old"]),
        (MessageSelection(NOW - DAY, PUBLISHED, INTERNAL), ["published internal old"]),
        (MessageSelection(NOW + DAY, PUBLISHED, EXTERNAL), ["published external new", "published external old"]),
        (MessageSelection(OLD), []),
    ],
    ids=["all", "stored-external", "published-internal", "published-external", "at-the-time"],
)
async def test_find_messages_selects_by_age_state_and_instance(
    database: Database, selection: MessageSelection, expected: list[str]
) -> None:
    ids = await store_messages(database)
    found = await find_all(database, selection)
    assert sorted(found) == sorted(ids[name] for name in expected)


async def test_find_messages_reads_a_limited_number_at_once(database: Database) -> None:
    """Messages on later pages are found, and a page without any is not the last one."""
    ids = sorted(str(uuid.uuid4()) for _ in range(2 * PAGE + 2))

    @short_write
    def insert(connection: sa.Connection) -> None:
        row = {"message": "A", "external_references": [], "attachments": [], "oep_instance": "external"}
        row["state"] = "stored"
        rows = [{"id": id_, "created": OLD if id_ in ids[-2:] else NEW, **row} for id_ in ids]
        connection.execute(messages_table.insert(), rows)

    await database.write(insert)
    first = await retention.find_messages(database, MessageSelection(NOW))
    assert (list(first.items), first.last) == ([], ids[PAGE - 1])
    assert await find_all(database, MessageSelection(NOW)) == ids[-2:]


async def test_remove_messages_removes_files_and_references_and_keeps_a_trace(database: Database) -> None:
    message = to_case(created=None, attachments=(build_attachment(b"x" * 100),))
    await stored.begin_sending(database, message, OLD)
    await stored.mark_published(database, message, 17, OLD)
    [(id_, size)] = (await retention.find_messages(database, MessageSelection(NOW))).items
    assert (id_, size) == (message.id, 100)
    assert await retention.remove_messages(database, [id_, str(uuid.uuid4())]) == 1
    assert await count_rows(database) == {"publication_traces": 1}
    assert await publication_statuses.has_trace(database, message.id)


async def test_remove_messages_keeps_messages_in_doubt(database: Database) -> None:
    ids = await store_messages(database)
    assert await retention.remove_messages(database, [ids["sending"], ids["unknown"]]) == 0
    assert await stored.find_unsettled(database, ids["unknown"]) is not None


async def park(database: Database, **changes: Any) -> int:
    """Publish an event, park its delivery after one attempt at `NOW`, and return its number."""
    await publish(database, **changes)
    [claimed] = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(claimed, AttemptOutcome.PARK)])
    return claimed.number


async def test_find_parked_considers_the_last_attempt(database: Database) -> None:
    """An event of long ago may have been parked just now."""
    await prepare(database)
    await sync(database, [build_entry()])
    number = await park(database, created=NOW - 30 * DAY)
    await publish(database, created=NOW - 30 * DAY)
    page = await retention.find_parked(database, NOW)
    assert (list(page.items), page.last) == ([], number + 1)
    assert list((await retention.find_parked(database, NOW + DAY)).items) == [(number, 0)]
    assert (await retention.find_parked(database, NOW + DAY, number + 1)).last is None


async def test_remove_parked_keeps_what_was_replayed_meanwhile(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    numbers = [await park(database), await park(database)]
    [first, _] = await list_rows(database, deliveries_table)
    await deliveries.replay(database, [str(first["id"])], build_action(SYSTEM))
    assert await retention.remove_parked(database, numbers, NOW + DAY) == 1
    [kept] = await list_rows(database, deliveries_table)
    assert (kept["number"], kept["state"]) == (numbers[0], DeliveryState.WAITING)
    assert "attempts" in await count_rows(database)


async def test_count_events_counts_those_whose_deliveries_are_removed_too(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    await park(database, created=NOW - 30 * DAY)
    await publish(database, created=NOW - 30 * DAY)
    await publish(database, created=NOW - 30 * DAY, org_code=9)
    await publish(database, org_code=9)
    assert await retention.count_events(database, NOW, None) == 1
    assert await retention.count_events(database, NOW, NOW + DAY) == 2

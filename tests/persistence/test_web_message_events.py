"""A web message raises its event in the transaction that makes the message readable."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from domain.events import Event, build_order_key, write_content
from domain.publications import CallTimes, Case, CaseMessage, SettlingRules, fingerprint_shown
from domain.web_messages import ExternalReference, OepInstance, WebMessage
from persistence import publications, tables
from persistence import web_messages as stored
from persistence.database import Database
from persistence.publications import ReadBack
from persistence.web_message_inserts import LARGE_BYTES
from tests.factories import NOW, build_attachment, build_web_message, idempotency_key
from tests.persistence.catalogues import SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import list_rows
from tests.persistence.rows import count_rows, execute

pytestmark = pytest.mark.anyio

LATER = NOW + timedelta(seconds=1)
MAP = "insert into web_message_events (number, org_type, org_code, entity_type) values (1, 1, -1, 202)"


async def subscribe(database: Database, *, is_mapped: bool = True) -> None:
    """Store two systems that subscribe to the events of web messages, and one that subscribes to others."""
    await prepare(database)
    for system_id in SYSTEM_IDS[:2]:
        await sync(database, [build_entry(org_code=-1)], system_id)
    await sync(database, [build_entry(org_code=-1, entity_type=203), build_entry(1, org_code=1)], SYSTEM_IDS[2])
    if is_mapped:
        await execute(database, MAP)


async def publish(database: Database, message: WebMessage) -> None:
    """Publish a message with a case, as on Open-E."""
    await stored.begin_sending(database, replace(message, created=None), NOW)
    assert "events" not in await count_rows(database)
    await stored.mark_published(database, message, 7, LATER)


async def settle(database: Database, message: WebMessage) -> None:
    """Publish a message with a case whose response was lost, once it is found there."""
    references = (ExternalReference("flowInstanceId", "1068"),)
    await stored.begin_sending(database, replace(message, created=None, external_references=references), NOW)
    case = Case(OepInstance.EXTERNAL, 1068)
    rules = SettlingRules(CallTimes(timedelta(0), timedelta(0)), UTC, timedelta(0))
    files = [(file.file_name, file.size) for file in message.attachments]
    shown = CaseMessage(7, fingerprint_shown(message.message, files, None), datetime(2026, 3, 1, 12, 0))  # noqa: DTZ001  # Open-E shows no offset.
    for _ in range(2):
        await publications.claim(database, case, LATER, timedelta(0))
        await publications.settle_case(
            database, case, ReadBack(LATER, NOW, [shown]), LATER + timedelta(minutes=1), rules
        )


async def store(database: Database, message: WebMessage) -> None:
    await stored.store(database, message)


async def store_with_key(database: Database, message: WebMessage) -> None:
    assert await stored.store(database, message, idempotency_key(message))


FILES = (build_attachment(), build_attachment(b"x" * 10))
MESSAGES = {
    "small": build_web_message(),
    "with files": build_web_message(attachments=FILES),
    "large": build_web_message(message="å" * LARGE_BYTES),
    "to a case": build_web_message(external_references=(ExternalReference("flowInstanceId", "1068"),)),
}


@pytest.mark.parametrize("way", [store, store_with_key, publish, settle])
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
async def test_readable_message_raises_an_event(
    database: Database, message: WebMessage, way: Callable[[Database, WebMessage], Awaitable[None]]
) -> None:
    await subscribe(database)
    await way(database, message)
    (event,) = await list_rows(database, tables.events)
    created = {publish: LATER, settle: LATER + timedelta(minutes=1)}.get(way, NOW)
    expected = Event(event["id"], 202, 1, -1, change=1, created=created, external_id=message.id)
    assert event == {
        "id": event["id"],
        "created": created,
        "entity_type": 202,
        "content": write_content(expected),
        "subscriptions": 2,
        "publisher": "web messages",
        "request_id": "-",
        "trace_parent": None,
    }
    assert event["id"] != message.id
    found = await list_rows(database, tables.deliveries)
    assert {row["system_id"] for row in found} == set(SYSTEM_IDS[:2])
    assert len({row["id"] for row in found}) == 2
    for row in found:
        assert row["event_id"] == event["id"]
        assert row["key"] == build_order_key(expected)
        assert (row["state"], row["created"], row["due"]) == ("waiting", created, created)
        assert (row["attempts"], row["lease"], row["started"]) == (0, None, None)


@pytest.mark.parametrize("way", [store, store_with_key])
async def test_messages_of_one_batch_raise_an_event_each(
    database: Database, way: Callable[[Database, WebMessage], Awaitable[None]]
) -> None:
    await subscribe(database)
    messages = [build_web_message() for _ in range(20)]
    await asyncio.gather(*(way(database, message) for message in messages))
    events = {row["id"]: row for row in await list_rows(database, tables.events)}
    assert len(events) == 20
    assert {row["subscriptions"] for row in events.values()} == {2}
    assert all(sum(message.id in row["content"] for row in events.values()) == 1 for message in messages)
    deliveries = [(row["event_id"], row["system_id"]) for row in await list_rows(database, tables.deliveries)]
    assert sorted(deliveries) == sorted((event, system) for event in events for system in SYSTEM_IDS[:2])


@pytest.mark.parametrize("way", [store, store_with_key, publish])
async def test_message_raises_no_event_without_a_mapping(
    database: Database, way: Callable[[Database, WebMessage], Awaitable[None]]
) -> None:
    await subscribe(database, is_mapped=False)
    await way(database, build_web_message())
    assert not {"events", "deliveries"} & set(await count_rows(database))


async def test_message_that_is_published_twice_raises_one_event(database: Database) -> None:
    await subscribe(database)
    message = build_web_message()
    await publish(database, message)
    await stored.mark_published(database, message, 7, LATER)
    assert len(await list_rows(database, tables.events)) == 1


async def test_event_without_subscribers_is_stored(database: Database) -> None:
    await prepare(database)
    await execute(database, MAP)
    await stored.store(database, build_web_message())
    assert [row["subscriptions"] for row in await list_rows(database, tables.events)] == [0]


@pytest.mark.parametrize("state", ["unknown", "refused"])
async def test_unreadable_message_raises_no_event(database: Database, state: str) -> None:
    await subscribe(database)
    message = build_web_message(created=None)
    await stored.begin_sending(database, message, NOW)
    await (stored.mark_unknown if state == "unknown" else stored.drop_refused)(database, message.id)
    assert not {"events", "deliveries"} & set(await count_rows(database))


async def test_ended_type_fails_no_message(database: Database) -> None:
    await subscribe(database)
    await execute(database, "update message_types set end_date = '2026-03-01' where entity_type = 202")
    last = datetime(2026, 3, 1, 22, 59, 59, tzinfo=UTC)
    for message in (build_web_message(created=last), build_web_message(created=last + timedelta(seconds=1))):
        await stored.store(database, message)
    await stored.begin_sending(database, build_web_message(created=None), NOW)
    found = await count_rows(database)
    assert (found["events"], found["deliveries"], found["web_messages"]) == (1, 2, 3)
    assert [row["created"] for row in await list_rows(database, tables.events)] == [last]


async def test_batched_messages_raise_an_event_each(database: Database) -> None:
    await subscribe(database)
    messages = [build_web_message() for _ in range(40)]
    await asyncio.gather(*(stored.store(database, message) for message in messages))
    found = await count_rows(database)
    assert (found["events"], found["deliveries"]) == (40, 80)
    contents = {row["content"] for row in await list_rows(database, tables.events)}
    assert len(contents) == 40
    assert all(any(message.id in content for content in contents) for message in messages)


async def test_message_that_is_not_stored_raises_no_event(database: Database) -> None:
    await subscribe(database)
    message = build_web_message()
    await stored.store(database, message)
    other = build_web_message()
    outcomes: list[Any] = await asyncio.gather(
        stored.store(database, message), stored.store(database, other), return_exceptions=True
    )
    assert isinstance(outcomes[0], sa.exc.IntegrityError)
    assert outcomes[1] is True
    found = await count_rows(database)
    assert (found["web_messages"], found["events"], found["deliveries"]) == (2, 2, 4)


async def test_messages_during_syncs_neither_fail_nor_leave_orphans(database: Database) -> None:
    await subscribe(database)

    async def syncs() -> None:
        for place in range(20):
            await sync(database, [build_entry(org_code=-1)] if place % 2 else [build_entry(org_code=102)])

    async def stores() -> None:
        for _ in range(25):
            await stored.store(database, build_web_message())

    await asyncio.gather(syncs(), *(stores() for _ in range(4)))
    assert (await count_rows(database))["events"] == 100
    current = {row["id"] for row in await list_rows(database, tables.subscriptions)}
    assert {row["subscription_id"] for row in await list_rows(database, tables.deliveries)} <= current

"""The numbers of deliveries of an event, on each database."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from domain.deliveries import AttemptOutcome
from domain.events import EventStatus, StoredEvent
from domain.subscriptions import Identity
from domain.time_ranges import TimeRange
from persistence import delivery_pauses, events, tables
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.queue import claims
from persistence.work import queue_read, short_write
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import build_lease, build_settled, claim, publish

pytestmark = pytest.mark.anyio


async def test_status_counts_waiting_parked_and_delivered_messages(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    expected = {
        AttemptOutcome.DONE: EventStatus(1, 101, delivered=1, waiting=0, parked=0),
        AttemptOutcome.AGAIN: EventStatus(1, 101, delivered=0, waiting=1, parked=0),
        AttemptOutcome.PARK: EventStatus(1, 101, delivered=0, waiting=0, parked=1),
    }
    for outcome, status in expected.items():
        event_id = (await publish(database)).event_id
        waiting = EventStatus(1, 101, delivered=0, waiting=1, parked=0)
        assert await events.find_status(database, event_id, NOW) == waiting
        (claimed,) = await claim(database)
        await claims.settle(database, build_lease(), [build_settled(claimed, outcome, NOW.replace(year=2999))])
        assert await events.find_status(database, event_id, NOW) == status
    assert await events.find_status(database, str(uuid4()), NOW) is None


async def test_status_counts_paused_messages_as_waiting_too(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    event_id = (await publish(database)).event_id
    waiting = EventStatus(1, 101, delivered=0, waiting=1, parked=0)

    async def find_after(now: datetime, *pauses: tuple[str, Identity | None, datetime | None]) -> EventStatus | None:
        for system_id, identity, until in pauses:
            command = Command(system_id, identity, "operator", NOW, "request", str(uuid4()))
            await delivery_pauses.pause(database, command, until)
        return await events.find_status(database, event_id, now)

    await sync(database, [build_entry(org_code=102)], SYSTEM_IDS[1])
    others = [(SYSTEM_IDS[1], None, None), (SYSTEM_IDS[1], Identity(1, 102, 202), None)]
    assert await find_after(NOW, *others) == waiting
    until = NOW + timedelta(hours=1)
    assert await find_after(NOW, (SYSTEM, Identity(1, 101, 202), until)) == replace(waiting, paused=1)
    assert await find_after(until) == waiting
    # Both pauses count once.
    assert await find_after(NOW, (SYSTEM, None, None)) == replace(waiting, paused=1)
    assert await find_after(until) == replace(waiting, paused=1)


async def test_status_of_a_removed_event_is_that_of_its_receipts(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    event_id = (await publish(database)).event_id
    (claimed,) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(claimed)])
    for table, status in (
        (tables.events, EventStatus(1, 101, delivered=1, waiting=0, parked=0)),
        (tables.receipts, None),
    ):

        @short_write
        def remove(connection: sa.Connection, table: sa.Table = table) -> None:
            connection.execute(table.delete())

        await database.write(remove)
        assert await events.find_status(database, event_id, NOW) == status


async def test_status_reads_indexes(database: Database) -> None:
    """Neither the events nor the queue nor the receipts are read as a whole, whatever was known of them before."""
    await prepare(database)
    await sync(database, [build_entry()])
    event_id = (await publish(database)).event_id
    # The driver may keep the plan for the empty tables.
    for _ in range(10):
        await events.find_status(database, event_id, NOW)

    @queue_read
    def explain(connection: sa.Connection) -> str:
        dialect = connection.dialect.name
        text = str(events._COUNT[dialect].statement).replace(":event_id", f"'{_write_id(event_id, dialect)}'")
        text = text.replace(":now", "'2026-03-01'")
        word = "explain query plan" if dialect == "sqlite" else "explain (format json)"
        rows = connection.exec_driver_sql(f"{word} {text}").all()
        return json.dumps([[str(value) for value in row] for row in rows])

    plan = await database.read(explain)
    for name in ("ix_deliveries_event_id", "ix_receipts_event_id"):
        assert name in plan, plan
    assert "Seq Scan" not in plan, plan
    assert not [table for table in ("events", "deliveries", "receipts") if f"SCAN {table}" in plan], plan


async def test_events_are_found_without_their_content(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    event_id = (await publish(database, identification_type=1, identification="9999999901")).event_id
    expected = StoredEvent(event_id, NOW, 202, "A", 1, 101, 1, "publisher", "request")
    assert await events.find(database, event_id) == expected
    assert await events.list_of_request(database, "request", TimeRange(), 9) == [expected]
    assert await events.list_of_request(database, "request", TimeRange(NOW, NOW + timedelta(hours=1)), 9) == [expected]
    assert await events.list_of_request(database, "request", TimeRange(until=NOW), 9) == []
    assert await events.find(database, str(uuid4())) is None
    assert await events.list_of_request(database, "other", TimeRange(), 9) == []


def _write_id(event_id: str, dialect: str) -> Any:
    return event_id if dialect == "postgresql" else event_id.replace("-", "")

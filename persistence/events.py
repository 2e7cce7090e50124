"""Find events, and count their deliveries. `persistence/outbox.py` stores events with their deliveries."""

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.deliveries import DeliveryState
from domain.events import EventStatus, StoredEvent
from domain.time_ranges import TimeRange
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import delivery_pauses, events, message_types
from persistence.time_ranges import limit_to
from persistence.work import long_read, queue_read, short_read


async def find_status(database: Database, event_id: str, now: datetime) -> EventStatus | None:
    """Return the numbers of deliveries of an event, or None if it is unknown.

    An event that was removed is known as long as it has receipts.
    """
    return await database.read(_find_status, event_id, now)


async def find(database: Database, event_id: str) -> StoredEvent | None:
    """Return an event, or None if it is unknown or was removed."""
    return await database.read(_find, event_id)


async def list_of_request(database: Database, request_id: str, times: TimeRange, limit: int) -> list[StoredEvent]:
    """Return at most `limit` events that a request published. This reads all events of the range of times."""
    return await database.read(_list_of_request, request_id, times, limit)


# A single statement sees the delivery or its receipt, never both and never neither.
_TEXT = """
select 'event', cast({content}->>'orgType' as integer), cast({content}->>'orgCode' as integer), 1
from events where id = :event_id
union all
select case when state = 'waiting' and exists (
        select 1 from subscriptions s join delivery_pauses p on p.system_id = s.system_id
        where s.id = subscription_id and (p.until is null or p.until > :now) and (
            p.org_type is null or (p.org_type, p.org_code, p.entity_type) = (s.org_type, s.org_code, s.entity_type)
        )
    ) then 'paused' else state end as counted, null, null, count(*)
from deliveries where event_id = :event_id group by counted
union all
select 'delivered', (select org_type from receipts where event_id = :event_id limit 1),
    (select org_code from receipts where event_id = :event_id limit 1), count(*)
from receipts where event_id = :event_id
"""
_COUNT = {
    dialect: PreparedStatement(
        sa.text(_TEXT.format(content=content)).bindparams(
            sa.bindparam("event_id", type_=events.c.id.type), sa.bindparam("now", type_=delivery_pauses.c.until.type)
        )
    )
    for dialect, content in {"sqlite": "content", "postgresql": "cast(content as json)"}.items()
}


@queue_read
def _find_status(connection: sa.Connection, event_id: str, now: datetime) -> EventStatus | None:
    numbers = dict.fromkeys(("delivered", "paused", *map(str, DeliveryState)), 0)
    identity = None
    rows = _COUNT[connection.dialect.name].execute(connection, event_id=event_id, now=now)
    for state, org_type, org_code, number in rows:
        if state in numbers:
            numbers[state] = number
        identity = identity if org_type is None else (org_type, org_code)
    numbers[DeliveryState.WAITING] += numbers["paused"]
    return None if identity is None else EventStatus(*identity, **numbers)


_SELECT = sa.select(
    events.c.id,
    events.c.created,
    events.c.entity_type,
    message_types.c.name,
    events.c.content,
    events.c.subscriptions,
    events.c.publisher,
    events.c.request_id,
).outerjoin(message_types, message_types.c.entity_type == events.c.entity_type)


@short_read
def _find(connection: sa.Connection, event_id: str) -> StoredEvent | None:
    row = connection.execute(_SELECT.where(events.c.id == event_id)).mappings().first()
    return None if row is None else _to_stored_event(row)


@long_read
def _list_of_request(connection: sa.Connection, request_id: str, times: TimeRange, limit: int) -> list[StoredEvent]:
    select = limit_to(_SELECT.where(events.c.request_id == request_id), events.c.created, times)
    rows = connection.execute(select.order_by(events.c.created, events.c.id).limit(limit)).mappings()
    return [_to_stored_event(row) for row in rows]


def _to_stored_event(row: sa.RowMapping) -> StoredEvent:
    content: dict[str, Any] = json.loads(row["content"])
    return StoredEvent(
        id=row["id"],
        created=row["created"],
        entity_type=row["entity_type"],
        type_name=row["name"],
        org_type=content["orgType"],
        org_code=content["orgCode"],
        subscriptions=row["subscriptions"],
        publisher=row["publisher"],
        request_id=row["request_id"],
    )

"""Count the deliveries of an event. `persistence/outbox.py` stores events with their deliveries."""

from datetime import datetime

import sqlalchemy as sa

from domain.deliveries import DeliveryState
from domain.events import EventStatus
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import delivery_pauses, events
from persistence.work import queue_read


async def find_status(database: Database, event_id: str, now: datetime) -> EventStatus | None:
    """Return the numbers of deliveries of an event, or None if it is unknown.

    An event that was removed is known as long as it has receipts.
    """
    return await database.read(_find_status, event_id, now)


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

"""Count the deliveries of an event. `persistence/outbox.py` stores events with their deliveries."""

import sqlalchemy as sa

from domain.deliveries import DeliveryState
from domain.events import EventStatus
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import events
from persistence.work import queue_read


async def find_status(database: Database, event_id: str) -> EventStatus | None:
    """Return the numbers of deliveries of an event, or None if it is unknown.

    An event that was removed is known as long as it has receipts.
    """
    return await database.read(_find_status, event_id)


# A single statement sees the delivery or its receipt, never both and never neither.
_TEXT = """
select 'event', cast({content}->>'orgType' as integer), cast({content}->>'orgCode' as integer), 1
from events where id = :event_id
union all
select state, null, null, count(*) from deliveries where event_id = :event_id group by state
union all
select 'delivered', (select org_type from receipts where event_id = :event_id limit 1),
    (select org_code from receipts where event_id = :event_id limit 1), count(*)
from receipts where event_id = :event_id
"""
_COUNT = {
    dialect: PreparedStatement(
        sa.text(_TEXT.format(content=content)).bindparams(sa.bindparam("event_id", type_=events.c.id.type))
    )
    for dialect, content in {"sqlite": "content", "postgresql": "cast(content as json)"}.items()
}


@queue_read
def _find_status(connection: sa.Connection, event_id: str) -> EventStatus | None:
    numbers = dict.fromkeys(("delivered", *map(str, DeliveryState)), 0)
    identity = None
    for state, org_type, org_code, number in _COUNT[connection.dialect.name].execute(connection, event_id=event_id):
        if state in numbers:
            numbers[state] = number
        identity = identity if org_type is None else (org_type, org_code)
    return None if identity is None else EventStatus(*identity, **numbers)

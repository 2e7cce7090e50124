"""Release deliveries that remained blocked, and delete old events."""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa

from domain.retention import Removal
from persistence import removal_counts
from persistence.database import Database
from persistence.queue.sql import IS_AHEAD, build_for_each_dialect
from persistence.tables import deliveries, events
from persistence.work import large_queue_write


class EventPosition(NamedTuple):
    """A position among all events, which are ordered by their time and id."""

    created: datetime
    id: str


FIRST_EVENT = EventPosition(datetime.min.replace(tzinfo=UTC), str(UUID(int=0)))


async def release_stuck(database: Database, now: datetime) -> int:
    """Make the first delivery of each key due if it has no due time. Return the number of these deliveries."""
    return await database.write(_release_stuck, now)


async def prune_events(
    database: Database, before: datetime, after: EventPosition, limit: int, counted: Removal | None = None
) -> tuple[int, EventPosition | None]:
    """Delete those of the next `limit` events after a position that have no deliveries and are older than `before`.

    Return their number, which is added to that of `counted`, and the position of the last event that was considered,
    None if there was none. So events that are kept for their deliveries are not read each time.
    """
    return await database.write(_prune_events, before, after, limit, counted)


# Only deliveries with a key are ever set aside, so there is one group per key. No index serves a condition on an
# expression: PostgreSQL would otherwise search all blocked deliveries for each `held`. With `not exists` a plan for an
# empty queue reads all deliveries with a key.
_RELEASE_STUCK = build_for_each_dialect(f"""
update deliveries set due = :now
where number in (
    select held.number
    from (
        select subscription_id, key, min(number) as number from deliveries
        where due is null and state = 'waiting' group by subscription_id, key
    ) as d join deliveries held on held.number = d.number
    where held.due is null and nullif(held.state, '') = 'waiting'
    and (select o.number from deliveries o where {IS_AHEAD} order by o.number limit 1) is null
    {{skip_locked_held}}
)
""")

_after_created = sa.bindparam("after_created", type_=events.c.created.type)
_after_id = sa.bindparam("after_id", type_=events.c.id.type)
_CONSIDERED = (
    sa.select(events.c.id, events.c.created)
    .where(events.c.created >= _after_created, events.c.created < sa.bindparam("before"))
    .where(sa.tuple_(events.c.created, events.c.id) > sa.tuple_(_after_created, _after_id))
    .order_by(events.c.created, events.c.id)
    .limit(sa.bindparam("limit"))
    .subquery("page")
)
_LAST_CONSIDERED = (
    sa.select(_CONSIDERED.c.created, _CONSIDERED.c.id)
    .order_by(_CONSIDERED.c.created.desc(), _CONSIDERED.c.id.desc())
    .limit(1)
)
_PRUNE_EVENTS = events.delete().where(
    events.c.id.in_(
        sa.select(_CONSIDERED.c.id).where(~sa.exists(sa.select(1).where(deliveries.c.event_id == _CONSIDERED.c.id)))
    )
)


@large_queue_write
def _release_stuck(connection: sa.Connection, now: datetime) -> int:
    return connection.execute(_RELEASE_STUCK[connection.dialect.name], {"now": now}).rowcount


@large_queue_write
def _prune_events(
    connection: sa.Connection, before: datetime, after: EventPosition, limit: int, counted: Removal | None
) -> tuple[int, EventPosition | None]:
    considered = {"before": before, "after_created": after.created, "after_id": after.id, "limit": limit}
    last = connection.execute(_LAST_CONSIDERED, considered).first()
    if last is None:
        return 0, None
    number = connection.execute(_PRUNE_EVENTS, considered).rowcount
    return removal_counts.add(connection, counted, number), EventPosition(last.created, last.id)

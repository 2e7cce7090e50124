"""Release deliveries that nothing makes due, and delete old events."""

from datetime import datetime

import sqlalchemy as sa

from persistence.database import Database
from persistence.queue.sql import IS_AHEAD, for_each_dialect, statement
from persistence.work import large_write


async def release_stuck(database: Database, now: datetime) -> int:
    """Make the first delivery of each key due if it has no due time. Return the number of these deliveries."""
    return await database.write(_release_stuck, now)


async def prune_events(database: Database, before: datetime, limit: int) -> int:
    """Delete at most `limit` events older than `before` without deliveries. Return the number of deleted events."""
    return await database.write(_prune_events, before, limit)


_RELEASE_STUCK = for_each_dialect(f"""
update deliveries set due = :now
where number in (
    select number from deliveries d
    where d.state = 'waiting' and d.due is null and not exists (select 1 from deliveries o where {IS_AHEAD})
    {{skip_locked}}
)
""")

_PRUNE_EVENTS = statement("""
delete from events where id in (
    select e.id from events e
    where e.created < :before and not exists (select 1 from deliveries d where d.event_id = e.id)
    order by e.created limit :limit
)
""")


@large_write
def _release_stuck(connection: sa.Connection, now: datetime) -> int:
    return connection.execute(_RELEASE_STUCK[connection.dialect.name], {"now": now}).rowcount


@large_write
def _prune_events(connection: sa.Connection, before: datetime, limit: int) -> int:
    return connection.execute(_PRUNE_EVENTS, {"before": before, "limit": limit}).rowcount

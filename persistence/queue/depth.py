"""The length of the queue per system, for monitoring."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from persistence.database import Database
from persistence.tables import deliveries, systems
from persistence.work import long_read

GRACE = timedelta(minutes=1)
"""Workers that keep up start attempts long before they are this late."""


@dataclass(frozen=True, slots=True)
class Depth:
    """The queue of one system.

    `oldest` is when the oldest waiting delivery was accepted. `overdue` counts deliveries whose next attempt should
    have started more than a minute ago, including those of dead workers that no other worker has claimed.
    """

    system_id: str
    waiting: int
    parked: int
    oldest: datetime | None
    overdue: int


async def list_depths(database: Database, now: datetime) -> list[Depth]:
    """Return the queue depth of each system, including systems without deliveries.

    This reads all deliveries in a thread: do not call it while a request waits.
    """
    return await database.read(_list_depths, now)


_IS_WAITING = deliveries.c.state == "waiting"
_COUNTED = (
    sa.select(
        deliveries.c.system_id,
        sa.func.count().filter(_IS_WAITING).label("waiting"),
        sa.func.count().filter(deliveries.c.state == "parked").label("parked"),
        sa.func.min(deliveries.c.created).filter(_IS_WAITING).label("oldest"),
        sa.func.count().filter(deliveries.c.due < sa.bindparam("late")).label("overdue"),
    )
    .group_by(deliveries.c.system_id)
    .subquery()
)
_DEPTHS = (
    sa.select(
        systems.c.id,
        sa.func.coalesce(_COUNTED.c.waiting, 0).label("waiting"),
        sa.func.coalesce(_COUNTED.c.parked, 0).label("parked"),
        _COUNTED.c.oldest,
        sa.func.coalesce(_COUNTED.c.overdue, 0).label("overdue"),
    )
    .outerjoin(_COUNTED, _COUNTED.c.system_id == systems.c.id)
    .order_by(systems.c.id)
)


@long_read
def _list_depths(connection: sa.Connection, now: datetime) -> list[Depth]:
    return [
        Depth(row.id, row.waiting, row.parked, row.oldest, row.overdue)
        for row in connection.execute(_DEPTHS, {"late": now - GRACE})
    ]

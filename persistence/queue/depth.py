"""The length of the queue per system, and the dead rows of its table, for monitoring."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.deliveries import DeliveryState
from persistence.database import Database
from persistence.delivery_pauses import is_in_force
from persistence.tables import deliveries, delivery_pauses, subscriptions, systems
from persistence.work import long_read, short_read

GRACE = timedelta(minutes=1)
"""Workers that keep up start attempts long before they are this late."""


@dataclass(frozen=True, slots=True)
class Depth:
    """The queue of one system.

    `deliveries` has the number in each state. `oldest` is when the oldest waiting delivery was accepted. `overdue`
    counts deliveries whose next attempt should have started more than a minute ago, including those of dead workers
    that no other worker has claimed. Both omit the deliveries that an operator has paused, of which there are `paused`.
    `pauses` is the number of pauses of the system and its subscriptions. Of the waiting deliveries, `failing` have had
    an attempt, and `blocked` are set aside behind an earlier one of their key.
    """

    system_id: str
    deliveries: Mapping[DeliveryState, int]
    oldest: datetime | None
    overdue: int
    paused: int = 0
    pauses: int = 0
    failing: int = 0
    blocked: int = 0


async def list_depths(database: Database, now: datetime) -> list[Depth]:
    """Return the queue depth of each system, including systems without deliveries.

    This reads all deliveries in a thread: do not call it while a request waits.
    """
    return await database.read(_list_depths, now)


async def count_dead_rows(database: Database) -> int | None:
    """Return the estimated number of dead rows of the queue, which slow down claims. None on SQLite, which has none."""
    return await database.read(_count_dead_rows)


async def count_blocked(database: Database) -> int:
    """Return the number of waiting deliveries that are set aside behind an earlier one of their key."""
    return await database.read(_count_blocked)


_BLOCKED = sa.select(sa.func.count()).where(
    deliveries.c.due.is_(None), deliveries.c.state == sa.literal_column(f"'{DeliveryState.WAITING}'")
)
_DEAD_ROWS = sa.text("select n_dead_tup from pg_stat_user_tables where relid = cast('deliveries' as regclass)")
_now = sa.bindparam("now", type_=deliveries.c.due.type)
_is_paused = deliveries.c.system_id.in_(
    sa.select(delivery_pauses.c.system_id).where(
        is_in_force(delivery_pauses, _now), delivery_pauses.c.org_type.is_(None)
    )
) | deliveries.c.subscription_id.in_(
    sa.select(subscriptions.c.id)
    .join(
        delivery_pauses,
        (delivery_pauses.c.system_id == subscriptions.c.system_id)
        & (delivery_pauses.c.org_type == subscriptions.c.org_type)
        & (delivery_pauses.c.org_code == subscriptions.c.org_code)
        & (delivery_pauses.c.entity_type == subscriptions.c.entity_type),
    )
    .where(is_in_force(delivery_pauses, _now))
)
_is_waiting = deliveries.c.state == str(DeliveryState.WAITING)
_COUNTED = (
    sa.select(
        deliveries.c.system_id,
        *(sa.func.count().filter(deliveries.c.state == str(state)).label(str(state)) for state in DeliveryState),
        sa.func.min(deliveries.c.created).filter(_is_waiting, ~_is_paused).label("oldest"),
        sa.func.count().filter(deliveries.c.due < sa.bindparam("late"), ~_is_paused).label("overdue"),
        sa.func.count().filter(_is_waiting, _is_paused).label("paused"),
        sa.func.count().filter(_is_waiting, deliveries.c.attempts > 0).label("failing"),
        sa.func.count().filter(_is_waiting, deliveries.c.due.is_(None)).label("blocked"),
    )
    .group_by(deliveries.c.system_id)
    .subquery()
)
_PAUSES = (
    sa.select(sa.func.count())
    .select_from(delivery_pauses)
    .where(delivery_pauses.c.system_id == systems.c.id, is_in_force(delivery_pauses, _now))
    .correlate(systems)
    .scalar_subquery()
)
_DEPTHS = (
    sa.select(
        systems.c.id,
        *(sa.func.coalesce(_COUNTED.c[str(state)], 0).label(str(state)) for state in DeliveryState),
        _COUNTED.c.oldest,
        sa.func.coalesce(_COUNTED.c.overdue, 0).label("overdue"),
        sa.func.coalesce(_COUNTED.c.paused, 0).label("paused"),
        _PAUSES.label("pauses"),
        sa.func.coalesce(_COUNTED.c.failing, 0).label("failing"),
        sa.func.coalesce(_COUNTED.c.blocked, 0).label("blocked"),
    )
    .outerjoin(_COUNTED, _COUNTED.c.system_id == systems.c.id)
    .order_by(systems.c.id)
)


@long_read
def _list_depths(connection: sa.Connection, now: datetime) -> list[Depth]:
    return [
        Depth(
            row["id"],
            {state: row[str(state)] for state in DeliveryState},
            row["oldest"],
            row["overdue"],
            row["paused"],
            row["pauses"],
            row["failing"],
            row["blocked"],
        )
        for row in connection.execute(_DEPTHS, {"late": now - GRACE, "now": now}).mappings()
    ]


@short_read
def _count_dead_rows(connection: sa.Connection) -> int | None:
    return None if connection.dialect.name == "sqlite" else int(connection.execute(_DEAD_ROWS).scalar_one())


@long_read
def _count_blocked(connection: sa.Connection) -> int:
    return int(connection.execute(_BLOCKED).scalar_one())

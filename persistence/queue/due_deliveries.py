"""Find the deliveries that a worker can start."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.deliveries import Target
from persistence.database import Database, to_json
from persistence.queue.sql import FRAGMENTS, IS_OF_KEY, statement, to_hex
from persistence.tables import deliveries, subscriptions, systems
from persistence.work import short_read

BEYOND = 10
"""Deliveries that a look returns in addition to the free slots, because some may not be allowed to start yet."""

BEYOND_SET_ASIDE = 100
"""The same number after a look that returned deliveries behind others, because there may be many more of them."""

FEW = 10
"""Minimum deliveries that a look returns per system, and per subscription of a system with a long queue."""

MOST_URGENT = 100
"""Maximum urgent deliveries that a look returns in addition."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The free slots of a worker, in total and per system, and the systems and targets without any."""

    free: int
    each: int
    full_systems: frozenset[str] = frozenset()
    full_targets: frozenset[Target] = frozenset()


class DueDelivery(NamedTuple):
    """A due delivery. `is_behind`: an earlier one of its key must go first. `is_paused`: its target is paused."""

    number: int
    target: Target
    subscription_id: int
    due: datetime
    urgency: int | None = None
    is_behind: bool = False
    is_paused: bool = False


@dataclass(slots=True)
class LookMemory:
    """State that one look passes to the next.

    `systems` is the number of systems with due deliveries. `crowded` are the systems with more of them than the look
    returned. `subscriptions` is the largest number of subscriptions with due deliveries in one of these systems, 0 if
    unknown.
    """

    systems: int = 1
    saw_behind: bool = False
    crowded: set[str] = field(default_factory=set)
    subscriptions: int = 0


async def look(database: Database, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    """Return due deliveries: urgent ones, the oldest of each system that is not full, and more.

    For a system with more due deliveries than one look returns, the look continues by subscription and skips full and
    paused targets. No target or subscription can therefore hide another one.
    """
    return await database.read(_look, now, room, memory)


_BLOCKS = f"""
{IS_OF_KEY} and (o.number < d.number or (o.number > d.number and o.lease is not null and o.due > :now))
"""
"""SQL condition: `o`, of the same key, blocks `d`, because it is earlier or its attempt is running."""

_SEEN = f"""
select d.number, d.system_id, d.subscription_id, d.due, d.urgency,
    d.key is not null and exists (select 1 from deliveries o where {_BLOCKS}) as is_behind
from deliveries d
"""

# The key of a target in JSON documents: the id of its system without hyphens, a space, its path.
_TARGET_KEY = {
    "sqlite": "s.system_id || ' ' || s.webhook_url",
    "postgresql": "replace(cast(s.system_id as text), '-', '') || ' ' || s.webhook_url",
}

_SYSTEM_KEY = {"sqlite": "s.id", "postgresql": "replace(cast(s.id as text), '-', '')"}

_KEYS = {
    "sqlite": "(select value from json_each(:{name}))",
    "postgresql": "(select value from jsonb_array_elements_text(cast(:{name} as jsonb)) as r(value))",
}

_SYSTEM_IDS = {
    "sqlite": "(select value from json_each(:systems))",
    "postgresql": "(select cast(value as uuid) from jsonb_array_elements_text(cast(:systems as jsonb)) as r(value))",
}


def _build_look(dialect: str, seen: str) -> sa.TextualSelect:
    # Use a subquery per row: for a join, the planner may read all subscriptions.
    return statement(f"""
        select seen.number, seen.system_id, seen.subscription_id, seen.due, seen.urgency, seen.is_behind,
            seen.webhook_url, p.until is not null as is_paused
        from (
            select each.*, (select s.webhook_url from subscriptions s where s.id = each.subscription_id) as webhook_url
            from ({seen.replace("{keys_of_systems}", _KEYS[dialect].format(name="systems"))}) as each
        ) as seen
        left join target_pauses p
            on p.system_id = seen.system_id and p.webhook_url = seen.webhook_url and p.until > :now
        where seen.webhook_url is not null
    """).columns(
        deliveries.c.number,
        deliveries.c.system_id,
        deliveries.c.subscription_id,
        deliveries.c.due,
        deliveries.c.urgency,
        sa.column("is_behind", sa.Boolean),
        subscriptions.c.webhook_url,
        sa.column("is_paused", sa.Boolean),
    )


_OLDEST = "d.due <= :now order by d.due, d.number limit"

_URGENT = f"{_SEEN} where d.urgency is not null and d.due <= :now order by d.urgency desc, d.due limit :urgent"
"""Deliveries that precede others."""

_LOOK_AT_URGENT = {dialect: _build_look(dialect, _URGENT) for dialect in FRAGMENTS}

_DUE_SYSTEMS = statement(f"""
    select s.id from systems s
    where {_SYSTEM_KEY["sqlite"]} not in {_KEYS["sqlite"].format(name="systems")}
    and exists (select 1 from deliveries d where d.system_id = s.id and d.due <= :now)
""").columns(systems.c.id)

_LOOK_AT_SYSTEM = _build_look("sqlite", f"{_SEEN} where d.system_id = :system_id and {_OLDEST} :each")

_LOOK_AT_SYSTEMS = _build_look(
    "postgresql",
    f"""
    select each.* from systems s
    cross join lateral ({_SEEN} where d.system_id = s.id and {_OLDEST} :each) as each
    where {_SYSTEM_KEY["postgresql"]} not in {{keys_of_systems}}
    union all select urgent.* from ({_URGENT}) as urgent
    """,
)
"""The oldest due deliveries of each system except some, and the urgent ones of all systems."""

_ACTIVE = {
    dialect: f"""
        select s.id, s.system_id from subscriptions s
        where s.system_id in {_SYSTEM_IDS[dialect]}
        and {_TARGET_KEY[dialect]} not in {_KEYS[dialect].format(name="targets")}
        and exists (select 1 from deliveries d where d.subscription_id = s.id and d.due <= :now)
        and not exists (
            select 1 from target_pauses p
            where p.system_id = s.system_id and p.webhook_url = s.webhook_url and p.until > :now
        )
    """
    for dialect in FRAGMENTS
}
"""Subscriptions of some systems with due deliveries, except those of some targets and of paused targets."""

_ACTIVE_SUBSCRIPTIONS = statement(_ACTIVE["sqlite"]).columns(subscriptions.c.id)

_LOOK_AT_SUBSCRIPTION = _build_look("sqlite", f"{_SEEN} where d.subscription_id = :subscription_id and {_OLDEST} :each")

_LOOK_AT_SUBSCRIPTIONS = _build_look(
    "postgresql",
    f"""
    select each.* from ({_ACTIVE["postgresql"]}) as active
    cross join lateral ({_SEEN} where d.subscription_id = active.id and {_OLDEST} :each) as each
    """,
)
"""The oldest due deliveries of each active subscription of some systems."""


@short_read
def _look(connection: sa.Connection, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    moment = {"now": now, "urgent": MOST_URGENT}
    if room.free <= 0:
        rows = list(connection.execute(_LOOK_AT_URGENT[connection.dialect.name], moment))
    else:
        # If many systems have due deliveries, look at few per system, even if the worker has many free slots.
        beyond = BEYOND_SET_ASIDE if memory.saw_behind else BEYOND
        each = max(FEW, (room.each + beyond) // memory.systems)
        rows = _look_at_systems(connection, moment | {"each": each}, room.full_systems | memory.crowded)
        found = Counter(row.system_id for row in rows)
        crowded = {system_id for system_id, number in found.items() if number >= each}
        looked = (memory.crowded | crowded) - room.full_systems
        rows = [row for row in rows if row.urgency is not None or row.system_id not in crowded]
        memory.systems = max(1, len(found.keys() | looked))
        if looked:
            rows += _look_at_subscriptions(connection, moment, looked, each, room.full_targets, memory)
        memory.saw_behind = any(row.is_behind for row in rows)
    return list({row.number: _to_due_delivery(row) for row in rows}.values())


def _look_at_systems(connection: sa.Connection, parameters: dict[str, Any], but: Collection[str]) -> list[Any]:
    """Return the oldest due deliveries of each system except `but`, and the urgent ones of all systems."""
    parameters = parameters | {"systems": to_json([to_hex(id_) for id_ in but])}
    if connection.dialect.name == "postgresql":
        # One statement, because each costs a round trip.
        return list(connection.execute(_LOOK_AT_SYSTEMS, parameters))
    found = list(connection.execute(_LOOK_AT_URGENT["sqlite"], parameters))
    for system_id in connection.execute(_DUE_SYSTEMS, parameters).scalars().all():
        found += connection.execute(_LOOK_AT_SYSTEM, parameters | {"system_id": system_id})
    return found


def _look_at_subscriptions(
    connection: sa.Connection,
    moment: dict[str, Any],
    looked: Collection[str],
    each: int,
    full: Collection[Target],
    memory: LookMemory,
) -> list[Any]:
    """Return the oldest due deliveries of each subscription of `looked`, and update the set of crowded systems."""
    full_targets = [target for target in full if target.system_id in looked]
    few = max(FEW, each // memory.subscriptions) if memory.subscriptions else FEW
    parameters = moment | {
        "systems": to_json([to_hex(id_) for id_ in looked]),
        "targets": to_json([f"{to_hex(target.system_id)} {target.webhook_url}" for target in full_targets]),
        "each": few,
    }
    found: list[Any] = []
    if connection.dialect.name == "postgresql":
        found += connection.execute(_LOOK_AT_SUBSCRIPTIONS, parameters)
    else:
        for id_ in connection.execute(_ACTIVE_SUBSCRIPTIONS, parameters).scalars().all():
            found += connection.execute(_LOOK_AT_SUBSCRIPTION, parameters | {"subscription_id": id_})
    active = {(row.system_id, row.subscription_id) for row in found}
    memory.subscriptions = max(Counter(system_id for system_id, _ in active).values(), default=0)
    numbers = Counter(row.system_id for row in found)
    # A full target may have a long queue, which the next look should skip.
    crowded = {target.system_id for target in full_targets} | {id_ for id_, number in numbers.items() if number >= few}
    memory.crowded = memory.crowded - set(looked) | crowded
    return found


def _to_due_delivery(row: Any) -> DueDelivery:
    target = Target(row.system_id, row.webhook_url)
    return DueDelivery(
        row.number, target, row.subscription_id, row.due, row.urgency, bool(row.is_behind), bool(row.is_paused)
    )

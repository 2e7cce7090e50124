"""Find the deliveries that a worker can start."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from domain.deliveries import Target
from persistence.database import Database, to_json
from persistence.prepared import PreparedStatement
from persistence.queue.sql import IS_OF_KEY, build_statement, to_hex
from persistence.tables import deliveries, subscriptions
from persistence.work import queue_read

BEYOND = 10
"""Deliveries that a look returns in addition to the free slots, because some may not be allowed to start yet."""

BEYOND_SET_ASIDE = 100
"""The same number after a look that returned blocked deliveries, because there may be many more of them."""

FEW = 10
"""Minimum deliveries that a look returns per system, and per subscription of a system with a long queue."""

MOST_URGENT = 100
"""Maximum urgent deliveries that a look returns in addition."""


FEWEST_IN_ALL = 200
"""Minimum deliveries that a look returns in all, if so many are due. If there are more, the next look continues.

While looks fill at least half of the free slots, they return fewer: twice the free slots.
"""

FIRST_SYSTEM = str(UUID(int=0))
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
NEVER_BEFORE = timedelta(seconds=5)
"""The lower bound of due times is this much before the oldest one, for transactions that commit late."""

CONFIRMED_EVERY = timedelta(seconds=10)
"""A look without a lower bound follows after this time."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The free slots of a worker, in total and per system, and the systems and targets without any."""

    free: int
    each: int
    full_systems: frozenset[str] = frozenset()
    full_targets: frozenset[Target] = frozenset()


class DueDelivery(NamedTuple):
    """A due delivery. `is_behind`: an earlier one of its key blocks it. `is_paused`: its target is paused."""

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

    `systems` is the number of systems with due deliveries. `saw_behind`: the look returned blocked deliveries.
    `crowded` are the systems with more due deliveries than the look returned. `subscriptions` is the largest number of
    subscriptions with due deliveries in one of these systems, 0 if unknown. The next look continues with
    `first_system`, None if this one has seen all systems; `remaining` are the crowded systems that the next looks must
    see. `since` is a lower bound of the due times, which a look without a bound has confirmed at `confirmed`.
    `fills_slots` is set by the caller: the latest look filled at least half of the free slots.
    """

    systems: int = 1
    saw_behind: bool = False
    crowded: set[str] = field(default_factory=set)
    subscriptions: int = 0
    first_system: str | None = None
    remaining: set[str] = field(default_factory=set)
    since: datetime = EARLIEST
    confirmed: datetime = EARLIEST
    fills_slots: bool = False

    @property
    def is_partial(self) -> bool:
        """Whether there are systems that the latest looks have not seen."""
        return self.first_system is not None or bool(self.remaining)


async def look(database: Database, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    """Return due deliveries: urgent ones, the oldest of each system that is not full, and more.

    For a system with more due deliveries than one look returns, the look continues by subscription and skips full and
    paused targets. No target or subscription can therefore hide another one.
    """
    return await database.read(_look, now, room, memory)


async def find_next_due(database: Database) -> datetime | None:
    """Return the earliest due time of all deliveries, in the past or in the future, or None if none will be due."""
    return await database.read(_find_next_due)


_BLOCKS = f"""
{IS_OF_KEY} and (o.number < d.number or (o.number > d.number and o.lease is not null and o.due > :now))
"""
"""SQL condition: `o`, of the same key, blocks `d`, because it is earlier or its attempt is running."""

_COLUMNS = f"""
d.number, d.system_id, d.subscription_id, d.due, d.urgency,
d.key is not null and exists (select 1 from deliveries o where {_BLOCKS}) as is_behind
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

_IS_DUE = "d.due > :since and d.due <= :now"
_OLDEST = (
    "select {columns} from deliveries d where d.{column} = s.id and "
    + _IS_DUE
    + " order by d.due, d.number limit :each"
)
_OLDEST_OF_EACH = {
    # A table function is the only kind of subquery that can refer to the tables before it.
    "sqlite": f"""
        select {_COLUMNS}, {{is_listed}} as is_listed from {{table}} s
        cross join json_each((
            select json_group_array(number) from ({_OLDEST.replace("{columns}", "d.number")})
        )) as oldest
        cross join deliveries d on d.number = oldest.value
    """,
    "postgresql": f"""
        select each.*, {{is_listed}} as is_listed from {{table}} s
        cross join lateral ({_OLDEST.replace("{columns}", _COLUMNS)}) as each
    """,
}
"""The oldest due deliveries of each row `s` of a table, by the column of deliveries that refers to it."""


def _build_look(seen: str) -> PreparedStatement:
    # Use a subquery per row: for a join, the planner may read all subscriptions.
    look = build_statement(f"""
        select seen.number, seen.system_id, seen.subscription_id, seen.due, seen.urgency, seen.is_behind,
            seen.webhook_url, p.until is not null as is_paused, seen.is_listed
        from (
            select each.*, (select s.webhook_url from subscriptions s where s.id = each.subscription_id) as webhook_url
            from ({seen}) as each
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
        sa.column("is_behind"),
        subscriptions.c.webhook_url,
        sa.column("is_paused"),
        sa.column("is_listed"),
    )
    return PreparedStatement(look)


_URGENT = f"""
    select {_COLUMNS}, false as is_listed from deliveries d
    where d.urgency is not null and d.due <= :now order by d.urgency desc, d.due limit :urgent
"""
"""Deliveries that precede others."""

_LOOK_AT_URGENT = _build_look(_URGENT)

_LOOK_AT_SYSTEMS = {
    dialect: _build_look(f"""
        select listed.* from (
            {oldest.format(table="systems", column="system_id", is_listed="true")}
            where s.id >= :first_system and {_SYSTEM_KEY[dialect]} not in {_KEYS[dialect].format(name="systems")}
            order by s.id limit :most
        ) as listed
        union all select urgent.* from ({_URGENT}) as urgent
    """)
    for dialect, oldest in _OLDEST_OF_EACH.items()
}
"""The oldest due deliveries of each system from the first one, except some systems, and the urgent ones of all."""

_LOOK_AT_SUBSCRIPTIONS = {
    dialect: _build_look(f"""
        {oldest.format(table="subscriptions", column="subscription_id", is_listed="true")}
        where s.system_id in {_SYSTEM_IDS[dialect]}
        and {_TARGET_KEY[dialect]} not in {_KEYS[dialect].format(name="targets")}
        and not exists (
            select 1 from target_pauses p
            where p.system_id = s.system_id and p.webhook_url = s.webhook_url and p.until > :now
        )
    """)
    for dialect, oldest in _OLDEST_OF_EACH.items()
}
"""The oldest due deliveries of each subscription of some systems, except those of some targets and paused targets."""


_NEXT_DUE = build_statement("""
    select min((
        select d.due from deliveries d where d.system_id = s.id and d.due is not null order by d.due, d.number limit 1
    )) as due from systems s
""").columns(deliveries.c.due)


@queue_read
def _find_next_due(connection: sa.Connection) -> datetime | None:
    due: datetime | None = connection.execute(_NEXT_DUE).scalar_one()
    return due


@queue_read
def _look(connection: sa.Connection, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    moment: dict[str, Any] = {"now": now, "urgent": MOST_URGENT}
    if room.free <= 0:
        rows, _ = _execute(connection, _LOOK_AT_URGENT, moment)
    else:
        if not timedelta() <= now - memory.confirmed < CONFIRMED_EVERY:
            memory.since, memory.confirmed = EARLIEST, now
        is_complete = not memory.is_partial
        # If many systems have due deliveries, look at few per system, even if the worker has many free slots.
        beyond = BEYOND_SET_ASIDE if memory.saw_behind else BEYOND
        each = max(FEW, (room.each + beyond) // memory.systems)
        fewest = 0 if memory.fills_slots else FEWEST_IN_ALL
        moment |= {"each": each, "since": memory.since, "most": max(fewest, 2 * room.free + beyond)}
        rows = _look_at_systems(connection, moment, room.full_systems | memory.crowded, memory)
        found = Counter(row.target.system_id for row in rows)
        crowded = {system_id for system_id, number in found.items() if number >= each}
        rows = [row for row in rows if row.urgency is not None or row.target.system_id not in crowded]
        memory.systems = max(1, len(found.keys() | memory.crowded - room.full_systems))
        memory.remaining = (memory.remaining or memory.crowded) - room.full_systems
        looked = crowded | set(sorted(memory.remaining)[: moment["most"] // FEW])
        memory.remaining -= looked
        if looked:
            rows += _look_at_subscriptions(connection, moment, looked, room.full_targets, memory)
        memory.saw_behind = any(row.is_behind for row in rows)
        if is_complete and not memory.is_partial and not room.full_systems and not room.full_targets:
            # Nothing else can be due, so later looks need not scan the dead index entries of older deliveries.
            memory.since = min([now, *(row.due for row in rows)]) - NEVER_BEFORE
    return list({row.number: row for row in rows}.values())


def _look_at_systems(
    connection: sa.Connection, moment: dict[str, Any], but: Collection[str], memory: LookMemory
) -> list[DueDelivery]:
    """Return the oldest due deliveries of each system except `but`, and the urgent ones of all systems.

    The look begins with `memory.first_system`, which becomes the system where the next look must continue.
    """
    parameters = moment | {
        "systems": to_json([to_hex(id_) for id_ in but]),
        "first_system": memory.first_system or FIRST_SYSTEM,
    }
    rows, listed = _execute(connection, _LOOK_AT_SYSTEMS[connection.dialect.name], parameters)
    memory.first_system = _find_next_system(max(listed)) if len(listed) >= moment["most"] else None
    return rows


def _find_next_system(system_id: str) -> str | None:
    """Return the lowest id after that of a system."""
    number = UUID(system_id).int + 1
    return str(UUID(int=number)) if number < 2**128 else None


def _look_at_subscriptions(
    connection: sa.Connection,
    moment: dict[str, Any],
    looked: Collection[str],
    full: Collection[Target],
    memory: LookMemory,
) -> list[DueDelivery]:
    """Return the oldest due deliveries of each subscription of `looked`, and update the set of crowded systems."""
    full_targets = [target for target in full if target.system_id in looked]
    few = max(FEW, moment["each"] // memory.subscriptions) if memory.subscriptions else FEW
    parameters = moment | {
        "systems": to_json([to_hex(id_) for id_ in looked]),
        "targets": to_json([f"{to_hex(target.system_id)} {target.webhook_url}" for target in full_targets]),
        "each": few,
    }
    found, _ = _execute(connection, _LOOK_AT_SUBSCRIPTIONS[connection.dialect.name], parameters)
    active = {(row.target.system_id, row.subscription_id) for row in found}
    memory.subscriptions = max(Counter(system_id for system_id, _ in active).values(), default=0)
    numbers = Counter(row.target.system_id for row in found)
    # A full target may have a long queue, which the next look should skip.
    crowded = {target.system_id for target in full_targets} | {id_ for id_, number in numbers.items() if number >= few}
    memory.crowded = memory.crowded - set(looked) | crowded
    return found


def _execute(
    connection: sa.Connection, look: PreparedStatement, parameters: Mapping[str, Any]
) -> tuple[list[DueDelivery], list[str]]:
    """Return the due deliveries that a look finds, and the systems of those that it lists by system."""
    found, listed = [], []
    for number, system_id, subscription_id, due, urgency, is_behind, webhook_url, is_paused, is_listed in look.execute(
        connection, **parameters
    ):
        target = Target(system_id, webhook_url)
        found.append(
            DueDelivery(number, target, subscription_id, due, urgency, bool(is_behind), is_paused=bool(is_paused))
        )
        if is_listed:
            listed.append(system_id)
    return found, listed

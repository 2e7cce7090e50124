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

MOST_URGENT_READ = 1000
"""Maximum urgent deliveries that a look reads. If so many are paused, others are found without their precedence."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The free slots of a worker, in total and per system, and the systems and targets without any."""

    free: int
    each: int
    full_systems: frozenset[str] = frozenset()
    full_targets: frozenset[Target] = frozenset()


class DueDelivery(NamedTuple):
    """A due delivery. `is_behind`: an earlier one of its key blocks it. `is_delayed`: its target backs off."""

    number: int
    target: Target
    subscription_id: int
    due: datetime
    urgency: int | None = None
    is_behind: bool = False
    is_delayed: bool = False


class Pauses(NamedTuple):
    """What operators have paused: systems, and ids of subscriptions with their systems."""

    systems: frozenset[str] = frozenset()
    subscriptions: frozenset[tuple[int, str]] = frozenset()

    def list_partly_paused(self) -> frozenset[str]:
        """Return the systems with paused subscriptions that are not paused as a whole."""
        return frozenset(system_id for _, system_id in self.subscriptions) - self.systems

    def hold_back(self, delivery: DueDelivery) -> bool:
        """Return whether a delivery must not be attempted now."""
        system_id = delivery.target.system_id
        return system_id in self.systems or (delivery.subscription_id, system_id) in self.subscriptions


NO_PAUSES = Pauses()


@dataclass(slots=True)
class LookMemory:
    """State that one look passes to the next.

    `systems` is the number of systems with due deliveries. `saw_behind`: the look returned blocked deliveries.
    `crowded` are the systems with more due deliveries than the look returned. `subscriptions` is the largest number of
    subscriptions with due deliveries in one of these systems, 0 if unknown. The next look continues with
    `first_system`, None if this one has seen all systems; `remaining` are the crowded systems that the next looks must
    see. `since` is a lower bound of the due times, which a look without a bound has confirmed at `confirmed`.
    `fills_slots` is set by the caller: the latest look filled at least half of the free slots. `pauses` are those that
    the latest look saw.
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
    pauses: Pauses = NO_PAUSES

    @property
    def is_partial(self) -> bool:
        """Whether there are systems that the latest looks have not seen."""
        return self.first_system is not None or bool(self.remaining)


async def look(database: Database, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    """Return due deliveries: urgent ones, the oldest of each system that is not full, and more.

    For a system with more due deliveries than one look returns, the look continues by subscription and skips targets
    that are full or back off. No target or subscription can therefore hide another one. What an operator has paused is
    never returned: the statement that finds due deliveries also returns the pauses in force.
    """
    return await database.read(_look, now, room, memory)


async def find_next_due(database: Database, now: datetime) -> datetime | None:
    """Return the earliest due time of all deliveries that no operator has paused, or an earlier end of a pause.

    The time may be in the past. It is None if no delivery will be due.
    """
    return await database.read(_find_next_due, now)


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

_DELIVERY_SYSTEM_KEY = {"sqlite": "d.system_id", "postgresql": "replace(cast(d.system_id as text), '-', '')"}

_KEYS = {
    "sqlite": "(select value from json_each(:{name}))",
    "postgresql": "(select value from jsonb_array_elements_text(cast(:{name} as jsonb)) as r(value))",
}

_NUMBERS = {
    "sqlite": "(select value from json_each(:{name}))",
    "postgresql": "(select cast(value as bigint) from jsonb_array_elements(cast(:{name} as jsonb)) as r(value))",
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


# The pauses in force, as rows without a number: the table has few rows, mostly none, so that it costs a look nothing.
# A pause of a subscription that does not exist holds back nothing.
_PAUSES = """
    select null as number, p.system_id, s.id as subscription_id, null as due, null as urgency, false as is_behind,
        null as webhook_url, false as is_delayed, false as is_listed
    from delivery_pauses p left join subscriptions s
        on s.system_id = p.system_id and s.org_type = p.org_type and s.org_code = p.org_code
        and s.entity_type = p.entity_type
    where (p.until is null or p.until > :now) and (p.org_type is null or s.id is not null)
"""


def _build_look(seen: str) -> PreparedStatement:
    # Use a subquery per row: for a join, the planner may read all subscriptions.
    look = build_statement(f"""
        select seen.number, seen.system_id, seen.subscription_id, seen.due, seen.urgency, seen.is_behind,
            seen.webhook_url, p.until is not null as is_delayed, seen.is_listed
        from (
            select each.*, (select s.webhook_url from subscriptions s where s.id = each.subscription_id) as webhook_url
            from ({seen}) as each
        ) as seen
        left join target_pauses p
            on p.system_id = seen.system_id and p.webhook_url = seen.webhook_url and p.until > :now
        where seen.webhook_url is not null
        union all {_PAUSES}
    """).columns(
        deliveries.c.number,
        deliveries.c.system_id,
        deliveries.c.subscription_id,
        deliveries.c.due,
        deliveries.c.urgency,
        sa.column("is_behind"),
        subscriptions.c.webhook_url,
        sa.column("is_delayed"),
        sa.column("is_listed"),
    )
    return PreparedStatement(look)


_URGENT = {
    dialect: f"""
        select {_COLUMNS}, false as is_listed from (
            select u.* from deliveries u where u.urgency is not null and u.due <= :now
            order by u.urgency desc, u.due limit {MOST_URGENT_READ}
        ) d
        where {_DELIVERY_SYSTEM_KEY[dialect]} not in {_KEYS[dialect].format(name="paused_systems")}
        and d.subscription_id not in {_NUMBERS[dialect].format(name="paused")}
        limit :urgent
    """
    for dialect in _KEYS
}
"""Deliveries that precede others, except those that are known to be paused."""

_LOOK_AT_URGENT = {dialect: _build_look(urgent) for dialect, urgent in _URGENT.items()}

_LOOK_AT_SYSTEMS = {
    dialect: _build_look(f"""
        select listed.* from (
            {oldest.format(table="systems", column="system_id", is_listed="true")}
            where s.id >= :first_system and {_SYSTEM_KEY[dialect]} not in {_KEYS[dialect].format(name="systems")}
            order by s.id limit :most
        ) as listed
        union all select urgent.* from ({_URGENT[dialect]}) as urgent
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
        and s.id not in {_NUMBERS[dialect].format(name="paused")}
    """)
    for dialect, oldest in _OLDEST_OF_EACH.items()
}
"""The oldest due deliveries of each subscription of some systems, except those of targets that are given or back off,
and those that are known to be paused."""


_IN_FORCE = "(p.until is null or p.until > :now)"
# A system with paused subscriptions is asked by subscription: the paused ones may have many due deliveries.
_NEXT_DUE = build_statement(f"""
    select min(due) as due from (
        select (
            select d.due from deliveries d where d.system_id = s.id and d.due is not null
            order by d.due, d.number limit 1
        ) as due
        from systems s
        where s.id not in (select p.system_id from delivery_pauses p where {_IN_FORCE})
        union all
        select (
            select d.due from deliveries d where d.subscription_id = s.id and d.due is not null
            order by d.due, d.number limit 1
        )
        from (select distinct p.system_id from delivery_pauses p where {_IN_FORCE}) as paused
        join subscriptions s on s.system_id = paused.system_id
        where not exists (
            select 1 from delivery_pauses p
            where p.system_id = s.system_id and {_IN_FORCE}
            and (p.org_type is null
                or (p.org_type = s.org_type and p.org_code = s.org_code and p.entity_type = s.entity_type))
        )
        union all
        select p.until from delivery_pauses p where p.until > :now
    ) as next
""").columns(deliveries.c.due)


@queue_read
def _find_next_due(connection: sa.Connection, now: datetime) -> datetime | None:
    due: datetime | None = connection.execute(_NEXT_DUE, {"now": now}).scalar_one()
    return due


@queue_read
def _look(connection: sa.Connection, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    moment: dict[str, Any] = {"now": now, "urgent": MOST_URGENT} | _build_pause_parameters(memory.pauses)
    if room.free <= 0:
        seen = _execute(connection, _LOOK_AT_URGENT[connection.dialect.name], moment)
        memory.pauses, rows = seen.pauses, seen.deliveries
    else:
        if not timedelta() <= now - memory.confirmed < CONFIRMED_EVERY:
            memory.since, memory.confirmed = EARLIEST, now
        is_complete = not memory.is_partial
        # If many systems have due deliveries, look at few per system, even if the worker has many free slots.
        beyond = BEYOND_SET_ASIDE if memory.saw_behind else BEYOND
        each = max(FEW, (room.each + beyond) // memory.systems)
        fewest = 0 if memory.fills_slots else FEWEST_IN_ALL
        moment |= {"each": each, "since": memory.since, "most": max(fewest, 2 * room.free + beyond)}
        before = memory.pauses
        rows = _look_at_systems(connection, moment, room.full_systems | memory.crowded, memory)
        if before.systems - memory.pauses.systems or before.subscriptions - memory.pauses.subscriptions:
            # A pause has ended. Its deliveries may have been due for longer than the bound.
            memory.since, memory.confirmed = EARLIEST, now
            return _look(connection, now, room, memory)
        memory.crowded -= memory.pauses.systems
        memory.remaining -= memory.pauses.systems
        found = Counter(row.target.system_id for row in rows)
        crowded = {system_id for system_id, number in found.items() if number >= each}
        # Paused subscriptions of a system may have so many due deliveries that they hide those of others.
        crowded |= memory.pauses.list_partly_paused() - room.full_systems
        rows = [row for row in rows if row.urgency is not None or row.target.system_id not in crowded]
        memory.systems = max(1, len(found.keys() | crowded | memory.crowded - room.full_systems))
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


def _build_pause_parameters(pauses: Pauses) -> dict[str, str]:
    return {
        "paused_systems": to_json([to_hex(id_) for id_ in pauses.systems]),
        "paused": to_json([id_ for id_, _ in pauses.subscriptions]),
    }


def _look_at_systems(
    connection: sa.Connection, moment: dict[str, Any], but: Collection[str], memory: LookMemory
) -> list[DueDelivery]:
    """Return the oldest due deliveries of each system except `but` and paused ones, and the urgent ones of all systems.

    The look begins with `memory.first_system`, which becomes the system where the next look must continue.
    `memory.pauses` become those that this look has seen.
    """
    but = {*but, *memory.pauses.systems, *memory.pauses.list_partly_paused()}
    parameters = moment | {
        "systems": to_json([to_hex(id_) for id_ in but]),
        "first_system": memory.first_system or FIRST_SYSTEM,
    }
    seen = _execute(connection, _LOOK_AT_SYSTEMS[connection.dialect.name], parameters)
    memory.first_system = _find_next_system(max(seen.listed)) if len(seen.listed) >= moment["most"] else None
    memory.pauses = seen.pauses
    return seen.deliveries


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
    parameters |= _build_pause_parameters(memory.pauses)
    found = _execute(connection, _LOOK_AT_SUBSCRIPTIONS[connection.dialect.name], parameters).deliveries
    active = {(row.target.system_id, row.subscription_id) for row in found}
    memory.subscriptions = max(Counter(system_id for system_id, _ in active).values(), default=0)
    numbers = Counter(row.target.system_id for row in found)
    # A full target may have a long queue, which the next look should skip.
    crowded = {target.system_id for target in full_targets} | {id_ for id_, number in numbers.items() if number >= few}
    memory.crowded = memory.crowded - set(looked) | crowded
    return found


class _Seen(NamedTuple):
    """The result of one statement: due deliveries, the systems of those listed by system, and the pauses in force."""

    deliveries: list[DueDelivery]
    listed: list[str]
    pauses: Pauses


def _execute(connection: sa.Connection, look: PreparedStatement, parameters: Mapping[str, Any]) -> _Seen:
    """Return what a look finds, without the deliveries that are paused."""
    found, listed, systems, subscriptions_ = [], [], set(), set()
    for number, system_id, subscription_id, due, urgency, is_behind, webhook_url, is_delayed, is_listed in look.execute(
        connection, **parameters
    ):
        if number is None:
            if subscription_id is None:
                systems.add(system_id)
            else:
                subscriptions_.add((subscription_id, system_id))
            continue
        target = Target(system_id, webhook_url)
        found.append(
            DueDelivery(number, target, subscription_id, due, urgency, bool(is_behind), is_delayed=bool(is_delayed))
        )
        if is_listed:
            listed.append(system_id)
    pauses = Pauses(frozenset(systems), frozenset(subscriptions_))
    if systems or subscriptions_:
        found = [each for each in found if not pauses.hold_back(each)]
    return _Seen(found, listed, pauses)

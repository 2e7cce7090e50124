"""SQL of the queue for both databases. Each statement takes one JSON document for any number of deliveries."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from persistence.tables import (
    UtcDateTime,
    attempts,
    deliveries,
    events,
    message_types,
    subscriptions,
    systems,
    target_pauses,
)

_TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "now": UtcDateTime(),
    "until": UtcDateTime(),
    "before": UtcDateTime(),
    "system_id": sa.Uuid(as_uuid=False),
    "holder": sa.Text(),
    "numbers": sa.Text(),
    "rows": sa.Text(),
    "lanes": sa.Text(),
    "systems": sa.Text(),
    "targets": sa.Text(),
    "subscription_id": sa.BigInteger(),
    "each": sa.Integer(),
    "urgent": sa.Integer(),
    "webhook_url": sa.Text(),
    "after": UtcDateTime(),
    "limit": sa.Integer(),
}

_PARAMETER = re.compile(r":([a-z_]+)")

_FRAGMENTS = {
    "sqlite": {
        "numbers": "(select value from json_each(:numbers))",
        "rows": "json_each(:rows)",
        "lanes": "json_each(:lanes) as lane",
        "lane_subscription": "lane.value->>0",
        "lane_key": "lane.value->>1",
        "row_due": "value->>'due'",
        "skip_locked": "",
        "skip_locked_rows": "",
        "skip_locked_lanes": "",
    },
    "postgresql": {
        "numbers": "(select cast(value as bigint) from jsonb_array_elements(cast(:numbers as jsonb)) as r(value))",
        "rows": "jsonb_array_elements(cast(:rows as jsonb)) as r(value)",
        "lanes": "jsonb_array_elements(cast(:lanes as jsonb)) as lane(value)",
        "lane_subscription": "cast(lane.value->>0 as bigint)",
        "lane_key": "lane.value->>1",
        "row_due": "cast(value->>'due' as timestamptz)",
        "skip_locked": "for update skip locked",
        "skip_locked_rows": "for no key update skip locked",
        "skip_locked_lanes": "for update of d skip locked for no key update of s skip locked",
    },
}
"""The fragments that differ between the databases."""


def format_moment(time: datetime) -> str:
    """Return a moment as text for a JSON document: in UTC, in SQLAlchemy's format for SQLite."""
    return time.astimezone(UTC).isoformat(" ", "microseconds").removesuffix("+00:00")


def _statement(text: str) -> sa.TextClause:
    named = sorted(set(_PARAMETER.findall(text)))
    return sa.text(text).bindparams(*(sa.bindparam(name, type_=_TYPES[name]) for name in named))


def _for_each_dialect(text: str) -> dict[str, sa.TextClause]:
    return {dialect: _statement(text.format(**fragments)) for dialect, fragments in _FRAGMENTS.items()}


_IS_OF_KEY = "o.subscription_id = d.subscription_id and o.key = d.key and o.state = 'waiting'"
_IS_AHEAD = f"{_IS_OF_KEY} and o.number < d.number"
"""SQL condition: `o` is an earlier delivery of the same key as `d`."""

_BLOCKS = f"""
{_IS_OF_KEY} and (o.number < d.number or (o.number > d.number and o.lease is not null and o.due > :now))
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
    return _statement(f"""
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

LOOK_AT_URGENT = {dialect: _build_look(dialect, _URGENT) for dialect in _FRAGMENTS}
DUE_SYSTEMS = _statement(f"""
    select s.id from systems s
    where {_SYSTEM_KEY["sqlite"]} not in {_KEYS["sqlite"].format(name="systems")}
    and exists (select 1 from deliveries d where d.system_id = s.id and d.due <= :now)
""").columns(systems.c.id)
LOOK_AT_SYSTEM = _build_look("sqlite", f"{_SEEN} where d.system_id = :system_id and {_OLDEST} :each")
LOOK_AT_SYSTEMS = _build_look(
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
    for dialect in _FRAGMENTS
}
"""Subscriptions of some systems with due deliveries, except those of some targets and of paused targets."""

ACTIVE_SUBSCRIPTIONS = _statement(_ACTIVE["sqlite"]).columns(subscriptions.c.id)
LOOK_AT_SUBSCRIPTION = _build_look("sqlite", f"{_SEEN} where d.subscription_id = :subscription_id and {_OLDEST} :each")
LOOK_AT_SUBSCRIPTIONS = _build_look(
    "postgresql",
    f"""
    select each.* from ({_ACTIVE["postgresql"]}) as active
    cross join lateral ({_SEEN} where d.subscription_id = active.id and {_OLDEST} :each) as each
    """,
)
"""The oldest due deliveries of each active subscription of some systems."""

# The first delivery of a key is never set aside, even while a later one is running, so it needs no other one to make it
# due.
SET_ASIDE = {
    "sqlite": _statement(f"""
        update deliveries as d set due = null
        where d.number in {_FRAGMENTS["sqlite"]["numbers"]} and d.lease is null and d.due is not null
        and exists (select 1 from deliveries o where {_IS_AHEAD})
    """),
    # Lock the delivery ahead, so that a transaction that deletes it either runs after this statement and makes the next
    # one due, or has run before it. The lock also re-reads the row, because the snapshot of this statement may be
    # older.
    "postgresql": _statement(f"""
        with held as (
            select d.number, (
                select o.number from deliveries o where {_IS_AHEAD} order by o.number limit 1
                for key share skip locked
            ) as ahead
            from deliveries d
            where d.number in {_FRAGMENTS["postgresql"]["numbers"]} and d.lease is null and d.due is not null
            for no key update of d skip locked
        )
        update deliveries set due = null from held where deliveries.number = held.number and held.ahead is not null
    """),
}

_CLAIM_TEXT = """
update deliveries set lease = :holder, started = :now, due = :until
where number in (select number from deliveries where number in {numbers} and due <= :now {skip_locked_rows})
returning number
"""
RELEASE = _for_each_dialect("""
update deliveries set lease = null, due = :now
where number in (select number from deliveries where number in {numbers} and lease = :holder {skip_locked_rows})
""")
_SETTLED = """
select d.number from deliveries d join subscriptions s on s.id = d.subscription_id
where d.number in {numbers} and d.lease = :holder {skip_locked_lanes}
"""
"""Deliveries that can be settled now. The lock on the subscription covers all its keys: see `LET_NEXT_GO`."""

DELETE = _for_each_dialect(f"""
delete from deliveries where number in ({_SETTLED})
returning number, subscription_id, key
""")
FAIL = _for_each_dialect("""
update deliveries set state = given.state, due = given.due, attempts = given.attempts, lease = null, urgency = null
from (
    select cast(value->>'number' as bigint) as number, value->>'state' as state, {row_due} as due,
        cast(value->>'attempts' as integer) as attempts
    from {rows}
) as given
where deliveries.number = given.number and deliveries.number in (
    select d.number from deliveries d join subscriptions s on s.id = d.subscription_id
    where d.number in (select cast(value->>'number' as bigint) from {rows}) and d.lease = :holder {skip_locked_lanes}
)
returning deliveries.number, subscription_id, key
""")
STILL_HELD = _for_each_dialect("select number from deliveries where number in {numbers} and lease = :holder")
# Each transaction that removes deliveries from keys runs this statement last. As a separate statement it sees
# deliveries that others set aside before these rows were locked. The transaction holds locks on the subscriptions.
# Without them, two such transactions would each choose the delivery that the other one removes as the next one; the
# same could happen with a sync. The locks wait only for single statements, which in turn wait for nothing.
LET_NEXT_GO = _for_each_dialect("""
update deliveries set due = :now
where due is null and state = 'waiting' and number in (
    select (
        select min(o.number) from deliveries o
        where o.subscription_id = {lane_subscription} and o.key = {lane_key} and o.state = 'waiting'
    )
    from {lanes}
)
""")
RELEASE_STUCK = _for_each_dialect("""
update deliveries set due = :now
where number in (
    select number from deliveries d
    where d.state = 'waiting' and d.due is null and not exists (
        select 1 from deliveries o
        where o.subscription_id = d.subscription_id and o.key = d.key and o.state = 'waiting' and o.number < d.number
    )
    {skip_locked}
)
""")
PRUNE_EVENTS = _statement("""
delete from events where id in (
    select e.id from events e
    where e.created < :before and not exists (select 1 from deliveries d where d.event_id = e.id)
    order by e.created limit :limit
)
""")

PAUSE = {
    "sqlite": _statement("""
        insert into target_pauses (system_id, webhook_url, until)
        select value->>'system_id', value->>'webhook_url', value->>'until' from json_each(:rows)
        where value->>'system_id' in (select id from systems)
        on conflict (system_id, webhook_url) do update set until = max(until, excluded.until)
    """),
    # Insert in a fixed order to prevent deadlocks: two workers may pause the same targets.
    "postgresql": _statement("""
        insert into target_pauses (system_id, webhook_url, until)
        select s.id, value->>'webhook_url', cast(value->>'until' as timestamptz)
        from jsonb_array_elements(cast(:rows as jsonb)) as r(value)
        join systems s on s.id = cast(value->>'system_id' as uuid)
        order by s.id, value->>'webhook_url'
        on conflict (system_id, webhook_url) do update set until = greatest(target_pauses.until, excluded.until)
    """),
}
PAUSE_OF_TARGET = sa.select(target_pauses.c.until).where(
    target_pauses.c.system_id == sa.bindparam("system_id"), target_pauses.c.webhook_url == sa.bindparam("webhook_url")
)
PRUNE_PAUSES = target_pauses.delete().where(target_pauses.c.until < sa.bindparam("before"))

WAITING_OF_TARGET = _statement("""
    select d.number from deliveries d
    where d.subscription_id in (
        select s.id from subscriptions s where s.system_id = :system_id and s.webhook_url = :webhook_url
    )
    and d.due > :after and d.lease is null
    order by d.number limit :limit
""").columns(deliveries.c.number)
PULL_FORWARD = _for_each_dialect("""
update deliveries set due = given.due
from (select cast(value->>'number' as bigint) as number, {row_due} as due from {rows}) as given
where deliveries.number = given.number and deliveries.lease is null and deliveries.due > given.due
and deliveries.number in (
    select number from deliveries
    where number in (select cast(value->>'number' as bigint) from {rows}) and lease is null {skip_locked_rows}
)
""")

# A transaction may be retried although its commit took effect, if its response was lost.
KEEP_ATTEMPT = {
    "sqlite": sqlite.insert(attempts).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(attempts).on_conflict_do_nothing(),
}
FORGET_ATTEMPTS = attempts.delete().where(
    attempts.c.delivery == sa.bindparam("delivery_number"), attempts.c.number <= sa.bindparam("last")
)

_COLUMNS = (
    "number",
    "id",
    "system_id",
    "subscription_id",
    "event_id",
    "created",
    "attempts",
)


def _select_claimed(claimed: sa.FromClause) -> sa.Select[Any]:
    """Select the data that an attempt needs, in the order of the queue."""
    return (
        sa.select(
            claimed.c.number,
            claimed.c.id,
            claimed.c.system_id,
            claimed.c.attempts,
            subscriptions.c.webhook_url,
            claimed.c.event_id,
            claimed.c.created,
            events.c.content,
            events.c.request_id,
            events.c.trace_parent,
            message_types.c.name.label("entity_name"),
            systems.c.base_url,
            systems.c.webhook_secrets,
            systems.c.allow_private_addresses,
            systems.c.client_certificate,
            systems.c.ca,
        )
        .join(events, events.c.id == claimed.c.event_id)
        .join(subscriptions, subscriptions.c.id == claimed.c.subscription_id)
        .join(systems, systems.c.id == claimed.c.system_id)
        .outerjoin(message_types, message_types.c.entity_type == events.c.entity_type)
        .order_by(claimed.c.number)
    )


def _claim_on_postgresql() -> sa.Select[Any]:
    text = _CLAIM_TEXT.format(**_FRAGMENTS["postgresql"]).replace(
        "returning number", f"returning {', '.join(_COLUMNS)}"
    )
    return _select_claimed(_statement(text).columns(*(deliveries.c[name] for name in _COLUMNS)).cte("claimed"))


def _read_on_sqlite() -> sa.Select[Any]:
    numbers = _statement(_FRAGMENTS["sqlite"]["numbers"][1:-1]).columns(deliveries.c.number)
    return _select_claimed(deliveries).where(deliveries.c.number.in_(numbers))


CLAIM = _claim_on_postgresql()
"""Claim and read in one statement, so that both succeed or fail together."""

CLAIM_ON_SQLITE = _statement(_CLAIM_TEXT.format(**_FRAGMENTS["sqlite"]))
READ_ON_SQLITE = _read_on_sqlite()

"""Delay the calls of targets, and make the waiting deliveries of a recovered target due soon."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.deliveries import Target
from persistence.database import Database, to_json
from persistence.queue.sql import FRAGMENTS, build_for_each_dialect, build_statement, format_moment, to_hex
from persistence.tables import deliveries, subscriptions, target_pauses
from persistence.work import mark, queue_read, short_read, short_write

PULLED_EVERY = timedelta(milliseconds=10)
"""Interval between the due times of deliveries that are pulled forward."""


async def store_back_offs(database: Database, untils: Mapping[Target, datetime]) -> None:
    """Prevent all workers from calling these targets before the given times."""
    await database.write(_store_back_offs, untils)


async def prune_back_offs(database: Database, now: datetime) -> None:
    """Delete delays that have ended."""
    await database.write(_prune_back_offs, now)


async def list_back_offs(
    database: Database, system_id: str, now: datetime, limit: int
) -> list[tuple[Target, datetime]]:
    """Return the targets of a system that failed, and until when workers do not call them; the longest delay first."""
    return await database.read(_list_back_offs, system_id, now, limit)


async def find_waiting(database: Database, starts: Mapping[Target, datetime], limit: int) -> set[Target]:
    """Return the targets with deliveries that `pull_forward` would change, from their start and with this limit."""
    return await database.read(_find_waiting, starts, limit)


async def pull_forward(database: Database, target: Target, start: datetime, limit: int) -> tuple[int, datetime]:
    """Make at most `limit` waiting deliveries of a target due soon, one after the other from `start`.

    No delivery becomes due before the end of the back-off of the target, before another one of its key, or later than
    it was. Return the number of deliveries found, and the earliest due time for the following ones.
    """
    return await database.mark(_pull_forward, target, start, limit)


_STORE = {
    "sqlite": build_statement("""
        insert into target_pauses (system_id, webhook_url, until)
        select value->>'system_id', value->>'webhook_url', value->>'until' from json_each(:rows)
        where value->>'system_id' in (select id from systems)
        on conflict (system_id, webhook_url) do update set until = max(until, excluded.until)
    """),
    # Insert in a fixed order to prevent deadlocks: two workers may store the same targets.
    "postgresql": build_statement("""
        insert into target_pauses (system_id, webhook_url, until)
        select s.id, value->>'webhook_url', cast(value->>'until' as timestamptz)
        from jsonb_array_elements(cast(:rows as jsonb)) as r(value)
        join systems s on s.id = cast(value->>'system_id' as uuid)
        order by s.id, value->>'webhook_url'
        on conflict (system_id, webhook_url) do update set until = greatest(target_pauses.until, excluded.until)
    """),
}

_BACK_OFF_OF_TARGET = sa.select(target_pauses.c.until).where(
    target_pauses.c.system_id == sa.bindparam("system_id"), target_pauses.c.webhook_url == sa.bindparam("webhook_url")
)

_PRUNE = target_pauses.delete().where(target_pauses.c.until < sa.bindparam("before"))

_WAITING_OF_TARGET = build_statement("""
    select d.number from deliveries d
    where d.subscription_id in (
        select s.id from subscriptions s where s.system_id = :system_id and s.webhook_url = :webhook_url
    )
    and d.due > :after and d.lease is null
    order by d.number limit :limit
""").columns(deliveries.c.number)

# A scalar subquery looks each subscription up by itself, whatever the planner knows about the queue.
_WAITING_TARGETS = {
    dialect: build_statement(f"""
        select distinct s.system_id, s.webhook_url
        from {FRAGMENTS[dialect]["rows"]} join subscriptions s
            on s.system_id = {system_id} and s.webhook_url = value->>'webhook_url'
        where (
            select 1 from deliveries d
            where d.subscription_id = s.id and d.due > :after and d.lease is null
            order by d.due limit 1
        ) is not null
    """).columns(subscriptions.c.system_id, subscriptions.c.webhook_url)
    for dialect, system_id in {
        "sqlite": "value->>'system_id'",
        "postgresql": "cast(value->>'system_id' as uuid)",
    }.items()
}

_PULL_FORWARD = build_for_each_dialect("""
update deliveries set due = given.due
from (select cast(value->>'number' as bigint) as number, {row_due} as due from {rows}) as given
where deliveries.number = given.number and deliveries.lease is null and deliveries.due > given.due
and deliveries.number in (
    select number from deliveries
    where number in (select cast(value->>'number' as bigint) from {rows}) and lease is null {skip_locked_rows}
)
""")


@short_write
def _store_back_offs(connection: sa.Connection, untils: Mapping[Target, datetime]) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    rows = [
        _target_row(connection, target) | {"until": format_moment(until) if is_sqlite else until.isoformat()}
        for target, until in untils.items()
    ]
    connection.execute(_STORE[connection.dialect.name], {"rows": to_json(rows)})


def _target_row(connection: sa.Connection, target: Target) -> dict[str, str]:
    system_id = to_hex(target.system_id) if connection.dialect.name == "sqlite" else target.system_id
    return {"system_id": system_id, "webhook_url": target.webhook_url}


@short_write
def _prune_back_offs(connection: sa.Connection, now: datetime) -> None:
    connection.execute(_PRUNE, {"before": now})


@short_read
def _list_back_offs(
    connection: sa.Connection, system_id: str, now: datetime, limit: int
) -> list[tuple[Target, datetime]]:
    select = target_pauses.select().where(target_pauses.c.system_id == system_id, target_pauses.c.until > now)
    rows = connection.execute(select.order_by(target_pauses.c.until.desc()).limit(limit))
    return [(Target(row.system_id, row.webhook_url), row.until) for row in rows]


@queue_read
def _find_waiting(connection: sa.Connection, starts: Mapping[Target, datetime], limit: int) -> set[Target]:
    parameters = {
        "rows": to_json([_target_row(connection, target) for target in starts]),
        "after": min(starts.values()) + limit * PULLED_EVERY,
    }
    rows = connection.execute(_WAITING_TARGETS[connection.dialect.name], parameters)
    return {Target(row.system_id, row.webhook_url) for row in rows}


@mark
def _pull_forward(connection: sa.Connection, target: Target, start: datetime, limit: int) -> tuple[int, datetime]:
    target_parameters = {"system_id": target.system_id, "webhook_url": target.webhook_url}
    until = connection.execute(_BACK_OFF_OF_TARGET, target_parameters).scalar()
    start = start if until is None else max(start, until)
    end = start + limit * PULLED_EVERY
    parameters = target_parameters | {"after": end, "limit": limit}
    numbers = connection.execute(_WAITING_OF_TARGET, parameters).scalars().all()
    rows = [
        {"number": number, "due": format_moment(start + place * PULLED_EVERY)} for place, number in enumerate(numbers)
    ]
    if rows:
        connection.execute(_PULL_FORWARD[connection.dialect.name], {"rows": to_json(rows)})
    return len(rows), end

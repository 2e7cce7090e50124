"""Replace delivered deliveries by their receipts, and delete old receipts (decision 0028)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.deliveries import Attempt, DeliveredRequest
from domain.retention import Removal
from persistence import removal_counts
from persistence.database import Database, to_json
from persistence.queue.sql import CAN_BE_SETTLED, FRAGMENTS, build_statement, format_moment
from persistence.work import queue_write

Delivered = tuple[int, Attempt, DeliveredRequest]
"""The number of a delivery, its last attempt, and the request that the receiver accepted."""


async def prune_receipts(database: Database, before: datetime, limit: int, counted: Removal | None = None) -> int:
    """Delete at most `limit` receipts whose last attempt was before a time, oldest first.

    Return their number, which is added to that of `counted`.
    """
    return await database.write(_prune_receipts, before, limit, counted)


def replace_by_receipts(connection: sa.Connection, holder: str, delivered: Sequence[Delivered]) -> list[Any]:
    """Delete those of the given deliveries that the holder can settle, and store their receipts.

    Return rows with `number`, `subscription_id` and `key`. A transaction that is repeated although it took effect finds
    no deliveries, so it stores no second receipt.
    """
    parameters = {"numbers": to_json([number for number, _, _ in delivered]), "holder": holder}
    if connection.dialect.name == "postgresql":
        # An object by number: each delivery finds its fields without a search in a list.
        rows = {str(number): _list_fields(attempt, request) for number, attempt, request in delivered}
        return list(connection.execute(_REPLACE_ON_POSTGRESQL, parameters | {"rows": to_json(rows)}))
    listed = [[number, *_list_fields(attempt, request)] for number, attempt, request in delivered]
    connection.execute(_INSERT_ON_SQLITE, {"rows": to_json(listed), "holder": holder})
    return list(connection.execute(_DELETE_ON_SQLITE, parameters))


def _list_fields(attempt: Attempt, request: DeliveredRequest) -> list[Any]:
    return [
        format_moment(attempt.time),
        attempt.number,
        attempt.status,
        attempt.milliseconds,
        request.webhook_url,
        request.body_hash,
    ]


_COLUMNS = """
    id, event_id, system_id, org_type, org_code, entity_type, accepted,
    first_attempt, last_attempt, attempts, status, milliseconds, webhook_url, hash, failures
"""

_FIRST_ATTEMPT = "select a.time from attempts a where a.delivery = d.number order by a.number limit 1"

# One statement, so that a delivery and its receipt are never both there, and none is lost. Its parts see the attempts
# although they are deleted with their delivery. A second receipt of an id is ignored: an error would keep the worker
# from settling the other deliveries.
_REPLACE_ON_POSTGRESQL = build_statement(f"""
with given as materialized (select cast(:rows as jsonb) as document),
settled as (
    delete from deliveries where number in ({CAN_BE_SETTLED.format(**FRAGMENTS["postgresql"])})
    returning number, id, event_id, subscription_id, system_id, key, created, attempts
),
stored as (
    insert into receipts ({_COLUMNS})
    select
        d.id, d.event_id, d.system_id, s.org_type, s.org_code, s.entity_type, d.created,
        case when d.attempts > 0 then coalesce(({_FIRST_ATTEMPT}), cast(r.value->>0 as timestamptz))
            else cast(r.value->>0 as timestamptz) end,
        cast(r.value->>0 as timestamptz), cast(r.value->>1 as integer), cast(r.value->>2 as integer),
        cast(r.value->>3 as integer), r.value->>4, r.value->>5,
        case when d.attempts > 0 then (
            select json_agg(json_build_array(
                a.number, to_char(a.time, 'YYYY-MM-DD HH24\\:MI\\:SS.US'), a.milliseconds, a.status, a.reason
            ) order by a.number)
            from attempts a where a.delivery = d.number
        ) end
    from settled d
    join subscriptions s on s.id = d.subscription_id
    cross join given
    cross join lateral (select document -> cast(d.number as text)) as r(value)
    on conflict (id) do nothing
)
select number, subscription_id, key from settled
""")

_INSERT_ON_SQLITE = build_statement(f"""
insert into receipts ({_COLUMNS})
select
    d.id, d.event_id, d.system_id, s.org_type, s.org_code, s.entity_type, d.created,
    iif(d.attempts > 0, coalesce(({_FIRST_ATTEMPT}), r.value->>1), r.value->>1),
    r.value->>1, r.value->>2, r.value->>3, r.value->>4, r.value->>5, r.value->>6,
    iif(d.attempts > 0, (
        select json_group_array(json_array(number, time, milliseconds, status, reason))
        from (select * from attempts a where a.delivery = d.number order by a.number)
    ), null)
from json_each(:rows) as r
cross join deliveries d on d.number = r.value->>0
cross join subscriptions s on s.id = d.subscription_id
where d.lease = :holder
on conflict (id) do nothing
""")

_DELETE_ON_SQLITE = build_statement(f"""
delete from deliveries where number in ({CAN_BE_SETTLED.format(**FRAGMENTS["sqlite"])})
returning number, subscription_id, key
""")

_PRUNE_TEXT = """
delete from receipts where {rows} (
    select {row} from receipts where last_attempt < :before order by last_attempt, id limit :limit {locks}
)
"""
_PRUNE = {
    "sqlite": build_statement(_PRUNE_TEXT.format(rows="id in", row="id", locks="")),
    # By place: a plan by id that was cached while the table was empty may read a whole index. Receipts are never
    # updated, so their place does not change. Workers do not wait for each other's housekeeping.
    "postgresql": build_statement(
        _PRUNE_TEXT.format(rows="ctid = any (array", row="ctid", locks="for update skip locked") + ")"
    ),
}


@queue_write
def _prune_receipts(connection: sa.Connection, before: datetime, limit: int, counted: Removal | None) -> int:
    number = connection.execute(_PRUNE[connection.dialect.name], {"before": before, "limit": limit}).rowcount
    return removal_counts.add(connection, counted, number)

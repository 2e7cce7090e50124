"""Claim deliveries, release them, and settle their attempts."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.deliveries import (
    MAX_ATTEMPTS,
    Attempt,
    AttemptOutcome,
    ClaimedDelivery,
    DeliveredRequest,
    DeliveryState,
    Receiver,
    determine_state_after,
)
from persistence import operator_events
from persistence.catalogue import read_headers, read_token_client
from persistence.database import Database, to_json
from persistence.operator_events import NewId
from persistence.queue.receipts import replace_by_receipts
from persistence.queue.sql import (
    CAN_BE_SETTLED,
    FRAGMENTS,
    IS_AHEAD,
    build_for_each_dialect,
    build_statement,
    format_moment,
)
from persistence.tables import attempts, deliveries, events, message_types, subscriptions, systems
from persistence.web_message_events import NO_REQUEST
from persistence.work import mark, queue_write


@dataclass(frozen=True, slots=True)
class Lease:
    """The holder of a claim, its start and its end."""

    holder: str
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class SettledAttempt:
    """The outcome of one attempt. `due` is the time of the next attempt if the delivery is retried.

    `delivered` describes the request if the receiver accepted it, and only then. Raises `ValueError` otherwise: without
    it the delivery could not be replaced by its receipt, and would be sent again.
    """

    number: int
    outcome: AttemptOutcome
    attempt: Attempt
    due: datetime | None = None
    delivered: DeliveredRequest | None = None

    def __post_init__(self) -> None:
        if (self.outcome is AttemptOutcome.DONE) is not (self.delivered is not None):
            raise ValueError(f"outcome {self.outcome} with the accepted request {self.delivered}")


async def claim(
    database: Database, lease: Lease, chosen: Sequence[int], behind: Sequence[int]
) -> tuple[list[ClaimedDelivery], int]:
    """Claim `chosen` and set `behind` aside. Return the claimed deliveries and the number of those set aside.

    Claimed deliveries belong to the holder until the lease ends. If this function raises, the claim may have been
    committed nevertheless: release the deliveries, or they become due again when the lease ends.
    """
    return await database.mark(_claim, lease, chosen, behind)


async def release(database: Database, lease: Lease, numbers: Collection[int]) -> set[int]:
    """Release the deliveries that the holder has claimed. Return those that could not be released yet; retry these."""
    return await database.mark(_release, lease, sorted(numbers))


async def settle(
    database: Database, lease: Lease, settled: Sequence[SettledAttempt], new_event_id: NewId | None = None
) -> set[int]:
    """Store the outcomes of attempts, and the receipts of deliveries.

    Return the deliveries that another transaction has locked; retry these. With `new_event_id`, store events for
    parked deliveries.

    Outcomes of deliveries that were deleted or are claimed by another holder by now are discarded.
    """
    return await database.write(_settle, lease, settled, new_event_id)


# The first delivery of a key is never set aside, even while a later one is running, so it needs no other one to make it
# due.
_SET_ASIDE = {
    "sqlite": build_statement(f"""
        update deliveries as d set due = null
        where d.number in {FRAGMENTS["sqlite"]["numbers"]} and d.lease is null and d.due is not null
        and exists (select 1 from deliveries o where {IS_AHEAD})
    """),
    # Lock the delivery ahead, so that a transaction that deletes it either runs after this statement and makes the next
    # one due, or has run before it. The lock also re-reads the row, because the snapshot of this statement may be
    # older.
    "postgresql": build_statement(f"""
        update deliveries set due = null where number in (
            select held.number from jsonb_array_elements(cast(:numbers as jsonb)) as r(value) cross join lateral (
                select d.number, (
                    select o.number from deliveries o where {IS_AHEAD} order by o.number limit 1
                    for key share skip locked
                ) as ahead
                from deliveries d
                where {FRAGMENTS["postgresql"]["is_given"]} and d.lease is null
                and {FRAGMENTS["postgresql"]["due"]} is not null
                for no key update of d skip locked limit 1
            ) as held
            where held.ahead is not null
        )
    """),
}

_CLAIM_TEXT = """
update deliveries set lease = :holder, started = :now, due = :until
where number in (
    {look_up} select d.number from deliveries d where {is_given} and {due} <= :now {skip_locked_rows} {looked_up}
)
returning number
"""

_RELEASE = build_for_each_dialect("""
update deliveries set lease = null, due = :now
where number in (
    {look_up} select d.number from deliveries d where {is_given} and d.lease = :holder {skip_locked_rows} {looked_up}
)
""")

_FAIL = build_for_each_dialect(f"""
update deliveries set state = given.state, due = given.due, attempts = given.attempts, lease = null, urgency = null
from (
    select cast(value->>'number' as bigint) as number, value->>'state' as state, {{row_due}} as due,
        cast(value->>'attempts' as integer) as attempts
    from {{rows}}
) as given
where deliveries.number = given.number and deliveries.number in ({CAN_BE_SETTLED})
returning deliveries.number, subscription_id, key, system_id
""")

_STILL_HELD = build_for_each_dialect(
    "{look_up} select d.number from deliveries d where {is_given} and d.lease = :holder {looked_up}"
)

_LET_NEXT_GO = {
    "sqlite": build_statement("""
        update deliveries set due = :now
        where due is null and state = 'waiting' and number in (
            select (
                select min(o.number) from deliveries o
                where o.subscription_id = lane.value->>0 and o.key = lane.value->>1 and o.state = 'waiting'
            )
            from json_each(:lanes) as lane
        )
    """),
    "postgresql": build_statement(f"""
        update deliveries set due = :now
        where number in (
            select held.number from jsonb_array_elements(cast(:lanes as jsonb)) as lane(value) cross join lateral (
                select o.number from deliveries o
                where o.subscription_id = cast(lane.value->>0 as bigint) and o.key = lane.value->>1
                and o.state = 'waiting'
                order by o.number limit 1
            ) as first cross join lateral (
                select d.number from deliveries d
                where d.number = first.number and {FRAGMENTS["postgresql"]["due"]} is null and d.state = 'waiting'
                for no key update limit 1
            ) as held
        )
    """),
}

# A transaction may be retried although its commit took effect, if its response was lost.
_KEEP_ATTEMPT = {
    "sqlite": sqlite.insert(attempts).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(attempts).on_conflict_do_nothing(),
}

# The first attempt remains: the receipt contains its time.
_FORGET_ATTEMPTS = attempts.delete().where(
    attempts.c.delivery == sa.bindparam("delivery_number"),
    attempts.c.number > 1,
    attempts.c.number <= sa.bindparam("last"),
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
            systems.c.headers,
            systems.c.oauth2,
        )
        .join(events, events.c.id == claimed.c.event_id)
        .join(subscriptions, subscriptions.c.id == claimed.c.subscription_id)
        .join(systems, systems.c.id == claimed.c.system_id)
        .outerjoin(message_types, message_types.c.entity_type == events.c.entity_type)
        .order_by(claimed.c.number)
    )


def _claim_on_postgresql() -> sa.Select[Any]:
    text = _CLAIM_TEXT.format(**FRAGMENTS["postgresql"]).replace("returning number", f"returning {', '.join(_COLUMNS)}")
    return _select_claimed(build_statement(text).columns(*(deliveries.c[name] for name in _COLUMNS)).cte("claimed"))


def _read_on_sqlite() -> sa.Select[Any]:
    numbers = build_statement(FRAGMENTS["sqlite"]["numbers"][1:-1]).columns(deliveries.c.number)
    return _select_claimed(deliveries).where(deliveries.c.number.in_(numbers))


_CLAIM = _claim_on_postgresql()
"""Claim and read in one statement, so that both succeed or fail together."""

_CLAIM_ON_SQLITE = build_statement(_CLAIM_TEXT.format(**FRAGMENTS["sqlite"]))

_READ_ON_SQLITE = _read_on_sqlite()


@mark
def _claim(
    connection: sa.Connection, lease: Lease, chosen: Sequence[int], behind: Sequence[int]
) -> tuple[list[ClaimedDelivery], int]:
    """Claim `chosen`. Return the claimed deliveries, and the number of those in `behind` that were set aside."""
    dialect = connection.dialect.name
    set_aside = 0
    if behind:
        set_aside = connection.execute(_SET_ASIDE[dialect], {"numbers": to_json(list(behind))}).rowcount
    if not chosen:
        return [], set_aside
    parameters = _build_lease_parameters(lease, chosen) | {"until": lease.until}
    if dialect == "postgresql":
        rows = connection.execute(_CLAIM, parameters)
    else:
        claimed = connection.execute(_CLAIM_ON_SQLITE, parameters).scalars().all()
        rows = connection.execute(_READ_ON_SQLITE, {"numbers": to_json(claimed)})
    return [_to_claimed_delivery(row) for row in rows], set_aside


@mark
def _release(connection: sa.Connection, lease: Lease, numbers: Sequence[int]) -> set[int]:
    dialect = connection.dialect.name
    connection.execute(_RELEASE[dialect], _build_lease_parameters(lease, numbers))
    parameters = {"numbers": to_json(numbers), "holder": lease.holder}
    return set(connection.execute(_STILL_HELD[dialect], parameters).scalars())


def _to_claimed_delivery(row: Any) -> ClaimedDelivery:
    client = row.client_certificate or {}
    return ClaimedDelivery(
        number=row.number,
        id=row.id,
        receiver=Receiver(
            system_id=row.system_id,
            base_url=row.base_url,
            webhook_secrets=tuple(row.webhook_secrets),
            allow_private_addresses=row.allow_private_addresses,
            certificate=client.get("certificate"),
            key=client.get("key"),
            ca=row.ca,
            headers=read_headers(row.headers),
            oauth2=read_token_client(row.oauth2),
        ),
        webhook_url=row.webhook_url,
        event_id=row.event_id,
        entity_name=row.entity_name,
        created=row.created,
        content=row.content,
        request_id=None if row.request_id == NO_REQUEST else row.request_id,
        trace_parent=row.trace_parent,
        attempts=row.attempts,
    )


def _build_lease_parameters(lease: Lease, numbers: Iterable[int]) -> dict[str, Any]:
    return {"numbers": to_json(list(numbers)), "holder": lease.holder, "now": lease.now}


@queue_write
def _settle(
    connection: sa.Connection, lease: Lease, settled: Sequence[SettledAttempt], new_event_id: NewId | None
) -> set[int]:
    dialect = connection.dialect.name
    done = [(item.number, item.attempt, item.delivered) for item in settled if item.delivered is not None]
    failed = [item for item in settled if determine_state_after(item.outcome) is not None]
    written: list[Any] = []
    parked: set[str] = set()
    if done:
        written += replace_by_receipts(connection, lease.holder, done)
    if failed:
        rows = to_json([_build_failure_row(item) for item in failed])
        numbers = to_json([item.number for item in failed])
        updated = connection.execute(_FAIL[dialect], {"rows": rows, "numbers": numbers, "holder": lease.holder}).all()
        _keep_attempts(connection, failed, {row.number for row in updated})
        parked_numbers = {item.number for item in failed if item.outcome is AttemptOutcome.PARK}
        parked = {str(UUID(str(row.system_id))) for row in updated if row.number in parked_numbers}
        written += updated
    let_next_go(connection, written, lease.now)
    missing = {item.number for item in settled} - {row.number for row in written}
    locked: set[int] = set()
    if missing:
        parameters = {"numbers": to_json(sorted(missing)), "holder": lease.holder}
        locked = set(connection.execute(_STILL_HELD[dialect], parameters).scalars())
    if parked and new_event_id is not None:
        operator_events.store_parked(connection, parked, lease.now, new_event_id)
    return locked


def let_next_go(connection: sa.Connection, removed: Iterable[Any], now: datetime) -> None:
    """Make due the next delivery of each key in `removed`: rows with `subscription_id` and `key` (together, a lane).

    Each transaction that removes deliveries from keys calls this last. As a separate statement it sees deliveries that
    others set aside before these rows were locked. The transaction must hold locks on the subscriptions. Without them,
    two such transactions would each choose the delivery that the other one removes as the next one; the same could
    happen with a sync. The locks wait only for single statements, which in turn wait for nothing.
    """
    lanes = {(row.subscription_id, row.key) for row in removed if row.key is not None}
    if lanes:
        parameters = {"lanes": to_json(sorted(lanes)), "now": now}
        connection.execute(_LET_NEXT_GO[connection.dialect.name], parameters)


def _build_failure_row(item: SettledAttempt) -> dict[str, Any]:
    state = determine_state_after(item.outcome)
    return {
        "number": item.number,
        "state": state,
        "due": None if state is not DeliveryState.WAITING or item.due is None else format_moment(item.due),
        "attempts": item.attempt.number,
    }


def _keep_attempts(connection: sa.Connection, failed: Iterable[SettledAttempt], numbers: set[int]) -> None:
    stored = [item for item in failed if item.number in numbers]
    if stored:
        connection.execute(_KEEP_ATTEMPT[connection.dialect.name], [_build_attempt_row(item) for item in stored])
    old = [
        {"delivery_number": item.number, "last": item.attempt.number - MAX_ATTEMPTS}
        for item in stored
        if item.attempt.number > MAX_ATTEMPTS
    ]
    if old:
        connection.execute(_FORGET_ATTEMPTS, old)


def _build_attempt_row(item: SettledAttempt) -> dict[str, Any]:
    attempt = item.attempt
    return {
        "delivery": item.number,
        "number": attempt.number,
        "time": attempt.time,
        "milliseconds": attempt.milliseconds,
        "status": attempt.status,
        "reason": attempt.reason,
        "answer": attempt.answer,
    }

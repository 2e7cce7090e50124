"""The queue of deliveries for workers: look, claim, settle. No transaction is open while a receiver is called.

A claim is a lease with an end time, so deliveries of a dead worker become due again by themselves. Deliveries with the
same subscription and key are sent in order: only the first of them has a `due` time. A claim clears that of the others
when it finds them ("sets them aside"), and settling the one before them sets it again.

No statement waits for a row that another transaction has locked. Otherwise a sync that deletes what a worker is
settling would wait for the worker, and the worker for the sync.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, assert_never

import sqlalchemy as sa

from domain.deliveries import MAX_ATTEMPTS, Attempt, AttemptOutcome, ClaimedDelivery, DeliveryState, Receiver, Target
from persistence import queue_statements as statements
from persistence.database import Database, to_json
from persistence.web_message_events import NO_REQUEST
from persistence.work import large_write, mark, short_read, short_write

BEYOND = 10
"""Deliveries that a look returns in addition to the free slots, because some may not be allowed to start yet."""

BEYOND_SET_ASIDE = 100
"""The same number after a look that returned deliveries behind others, because there may be many more of them."""

FEW = 10
"""Minimum deliveries that a look returns per system, and per subscription of a system with a long queue."""

MOST_URGENT = 100
"""Maximum urgent deliveries that a look returns in addition."""


PULLED_EVERY = timedelta(milliseconds=10)
"""Interval between the due times of deliveries that are pulled forward."""


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


@dataclass(frozen=True, slots=True)
class Lease:
    """The holder of a claim, its start and its end."""

    holder: str
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class SettledAttempt:
    """The outcome of one attempt. `due` is the time of the next attempt if the delivery is retried."""

    number: int
    outcome: AttemptOutcome
    attempt: Attempt
    due: datetime | None = None


async def look(database: Database, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    """Return due deliveries: urgent ones, the oldest of each system that is not full, and more.

    For a system with more due deliveries than one look returns, the look continues by subscription and skips full and
    paused targets. No target or subscription can therefore hide another one.
    """
    return await database.read(_look, now, room, memory)


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


async def settle(database: Database, lease: Lease, settled: Sequence[SettledAttempt]) -> set[int]:
    """Store the outcomes of attempts. Return the deliveries that another transaction has locked; retry these.

    Outcomes of deliveries that were deleted or are claimed by another holder by now are discarded.
    """
    return await database.write(_settle, lease, settled)


async def pause(database: Database, pauses: Mapping[Target, datetime]) -> None:
    """Prevent all workers from calling these targets before the given times."""
    await database.write(_pause, pauses)


async def prune_pauses(database: Database, now: datetime) -> None:
    """Delete pauses that have ended."""
    await database.write(_prune_pauses, now)


async def pull_forward(database: Database, target: Target, start: datetime, limit: int) -> tuple[int, datetime]:
    """Make at most `limit` waiting deliveries of a target due soon, one after the other from `start`.

    No delivery becomes due before the end of a pause of the target, before another one of its key, or later than it
    was. Return the number of deliveries found, and the earliest due time for the following ones.
    """
    return await database.mark(_pull_forward, target, start, limit)


async def release_stuck(database: Database, now: datetime) -> int:
    """Make the first delivery of each key due if it has no due time. Return the number of these deliveries."""
    return await database.write(_release_stuck, now)


async def prune_events(database: Database, before: datetime, limit: int) -> int:
    """Delete at most `limit` events older than `before` without deliveries. Return the number of deleted events."""
    return await database.write(_prune_events, before, limit)


@short_read
def _look(connection: sa.Connection, now: datetime, room: Capacity, memory: LookMemory) -> list[DueDelivery]:
    moment = {"now": now, "urgent": MOST_URGENT}
    if room.free <= 0:
        rows = list(connection.execute(_for_dialect(connection, statements.LOOK_AT_URGENT), moment))
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
    parameters = parameters | {"systems": to_json([_hex(id_) for id_ in but])}
    if connection.dialect.name == "postgresql":
        # One statement, because each costs a round trip.
        return list(connection.execute(statements.LOOK_AT_SYSTEMS, parameters))
    found = list(connection.execute(statements.LOOK_AT_URGENT["sqlite"], parameters))
    for system_id in connection.execute(statements.DUE_SYSTEMS, parameters).scalars().all():
        found += connection.execute(statements.LOOK_AT_SYSTEM, parameters | {"system_id": system_id})
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
        "systems": to_json([_hex(id_) for id_ in looked]),
        "targets": to_json([f"{_hex(target.system_id)} {target.webhook_url}" for target in full_targets]),
        "each": few,
    }
    found: list[Any] = []
    if connection.dialect.name == "postgresql":
        found += connection.execute(statements.LOOK_AT_SUBSCRIPTIONS, parameters)
    else:
        for id_ in connection.execute(statements.ACTIVE_SUBSCRIPTIONS, parameters).scalars().all():
            found += connection.execute(statements.LOOK_AT_SUBSCRIPTION, parameters | {"subscription_id": id_})
    active = {(row.system_id, row.subscription_id) for row in found}
    memory.subscriptions = max(Counter(system_id for system_id, _ in active).values(), default=0)
    numbers = Counter(row.system_id for row in found)
    # A full target may have a long queue, which the next look should skip.
    crowded = {target.system_id for target in full_targets} | {id_ for id_, number in numbers.items() if number >= few}
    memory.crowded = memory.crowded - set(looked) | crowded
    return found


def _for_dialect(connection: sa.Connection, by_dialect: Mapping[str, Any]) -> Any:
    return by_dialect[connection.dialect.name]


def _hex(system_id: str) -> str:
    return system_id.replace("-", "")


def _to_due_delivery(row: Any) -> DueDelivery:
    target = Target(row.system_id, row.webhook_url)
    return DueDelivery(
        row.number, target, row.subscription_id, row.due, row.urgency, bool(row.is_behind), bool(row.is_paused)
    )


@mark
def _claim(
    connection: sa.Connection, lease: Lease, chosen: Sequence[int], behind: Sequence[int]
) -> tuple[list[ClaimedDelivery], int]:
    """Claim `chosen`. Return the claimed deliveries, and the number of those in `behind` that were set aside."""
    dialect = connection.dialect.name
    set_aside = 0
    if behind:
        set_aside = connection.execute(statements.SET_ASIDE[dialect], {"numbers": to_json(list(behind))}).rowcount
    if not chosen:
        return [], set_aside
    parameters = _lease_parameters(lease, chosen) | {"until": lease.until}
    if dialect == "postgresql":
        rows = connection.execute(statements.CLAIM, parameters)
    else:
        claimed = connection.execute(statements.CLAIM_ON_SQLITE, parameters).scalars().all()
        rows = connection.execute(statements.READ_ON_SQLITE, {"numbers": to_json(claimed)})
    return [_to_claimed_delivery(row) for row in rows], set_aside


@mark
def _release(connection: sa.Connection, lease: Lease, numbers: Sequence[int]) -> set[int]:
    dialect = connection.dialect.name
    connection.execute(statements.RELEASE[dialect], _lease_parameters(lease, numbers))
    parameters = {"numbers": to_json(numbers), "holder": lease.holder}
    return set(connection.execute(statements.STILL_HELD[dialect], parameters).scalars())


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


def _lease_parameters(lease: Lease, numbers: Iterable[int]) -> dict[str, Any]:
    return {"numbers": to_json(list(numbers)), "holder": lease.holder, "now": lease.now}


@short_write
def _settle(connection: sa.Connection, lease: Lease, settled: Sequence[SettledAttempt]) -> set[int]:
    dialect = connection.dialect.name
    done = [item.number for item in settled if _state_after(item.outcome) is None]
    failed = [item for item in settled if _state_after(item.outcome) is not None]
    written: list[Any] = []
    if done:
        parameters = {"numbers": to_json(done), "holder": lease.holder}
        written += connection.execute(statements.DELETE[dialect], parameters)
    if failed:
        rows = to_json([_failure_row(item) for item in failed])
        updated = connection.execute(statements.FAIL[dialect], {"rows": rows, "holder": lease.holder}).all()
        _keep_attempts(connection, failed, {row.number for row in updated})
        written += updated
    lanes = {(row.subscription_id, row.key) for row in written if row.key is not None}
    if lanes:
        # A separate statement, so that it sees deliveries that others set aside before these rows were locked.
        lane_parameters = {"lanes": to_json(sorted(lanes)), "now": lease.now}
        connection.execute(statements.LET_NEXT_GO[dialect], lane_parameters)
    missing = {item.number for item in settled} - {row.number for row in written}
    if not missing:
        return set()
    parameters = {"numbers": to_json(sorted(missing)), "holder": lease.holder}
    return set(connection.execute(statements.STILL_HELD[dialect], parameters).scalars())


def _state_after(outcome: AttemptOutcome) -> DeliveryState | None:
    """Return the state of a delivery after an attempt, None if it leaves the queue."""
    match outcome:
        case AttemptOutcome.DONE:
            return None
        case AttemptOutcome.AGAIN:
            return DeliveryState.WAITING
        case AttemptOutcome.PARK:
            return DeliveryState.PARKED
        case _ as unreachable:
            assert_never(unreachable)


def _failure_row(item: SettledAttempt) -> dict[str, Any]:
    state = _state_after(item.outcome)
    return {
        "number": item.number,
        "state": state,
        "due": None if state is DeliveryState.PARKED or item.due is None else statements.format_moment(item.due),
        "attempts": item.attempt.number,
    }


def _keep_attempts(connection: sa.Connection, failed: Iterable[SettledAttempt], numbers: set[int]) -> None:
    stored = [item for item in failed if item.number in numbers]
    if stored:
        connection.execute(statements.KEEP_ATTEMPT[connection.dialect.name], [_attempt_row(item) for item in stored])
    old = [
        {"delivery_number": item.number, "last": item.attempt.number - MAX_ATTEMPTS}
        for item in stored
        if item.attempt.number > MAX_ATTEMPTS
    ]
    if old:
        connection.execute(statements.FORGET_ATTEMPTS, old)


def _attempt_row(item: SettledAttempt) -> dict[str, Any]:
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


@short_write
def _pause(connection: sa.Connection, pauses: Mapping[Target, datetime]) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    rows = [
        {
            "system_id": _hex(target.system_id) if is_sqlite else target.system_id,
            "webhook_url": target.webhook_url,
            "until": statements.format_moment(until) if is_sqlite else until.isoformat(),
        }
        for target, until in pauses.items()
    ]
    connection.execute(_for_dialect(connection, statements.PAUSE), {"rows": to_json(rows)})


@short_write
def _prune_pauses(connection: sa.Connection, now: datetime) -> None:
    connection.execute(statements.PRUNE_PAUSES, {"before": now})


@mark
def _pull_forward(connection: sa.Connection, target: Target, start: datetime, limit: int) -> tuple[int, datetime]:
    target_parameters = {"system_id": target.system_id, "webhook_url": target.webhook_url}
    until = connection.execute(statements.PAUSE_OF_TARGET, target_parameters).scalar()
    start = start if until is None else max(start, until)
    end = start + limit * PULLED_EVERY
    parameters = target_parameters | {"after": end, "limit": limit}
    numbers = connection.execute(statements.WAITING_OF_TARGET, parameters).scalars().all()
    rows = [
        {"number": number, "due": statements.format_moment(start + place * PULLED_EVERY)}
        for place, number in enumerate(numbers)
    ]
    if rows:
        connection.execute(_for_dialect(connection, statements.PULL_FORWARD), {"rows": to_json(rows)})
    return len(rows), end


@large_write
def _release_stuck(connection: sa.Connection, now: datetime) -> int:
    return connection.execute(statements.RELEASE_STUCK[connection.dialect.name], {"now": now}).rowcount


@large_write
def _prune_events(connection: sa.Connection, before: datetime, limit: int) -> int:
    return connection.execute(statements.PRUNE_EVENTS, {"before": before, "limit": limit}).rowcount

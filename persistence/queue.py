"""The queue of deliveries, as workers use it: look, claim, settle. No transaction is open while a receiver is called.

A claim is a mark with an end, the lease, so that what a dead worker held comes back by itself. Deliveries of the same
subscription and key go one after the other: only the first of them has a `due`; the others get theirs taken away when a
claim meets them, and back when the one before them is settled.

Nobody here waits for a row that another transaction holds: a sync that deletes what a worker is settling would wait for
the worker, and the worker for the sync.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.deliveries import MAX_ATTEMPTS, Attempt, Claimed, Outcome, Receiver
from persistence import queue_statements as statements
from persistence.database import Database, to_json
from persistence.web_message_events import NO_REQUEST

BEYOND = 100
"""Deliveries that a look at the queue sees of each system beyond what there is room for: some may not go yet."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many deliveries a worker can start: in all, of each system, and of those systems that have another limit."""

    most: int
    each: int
    of: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a delivery, from when and until when."""

    holder: str
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of one attempt. `due` is when the next one may begin, for those that come again."""

    number: int
    outcome: Outcome
    attempt: Attempt
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the queue found: the numbers of deliveries to claim, and of those that wait behind another one."""

    chosen: Sequence[int]
    behind: Sequence[int]


async def look(database: Database, now: datetime, room: Room) -> Found:
    """Return deliveries that may go now, the longest due first: of one subscription and key only the first."""
    return _choose(await database.read(_look, now, room), room)


async def claim(database: Database, lease: Lease, found: Found) -> tuple[list[Claimed], int]:
    """Claim what was chosen, and set aside what waits behind it; return the former, and how many of the latter.

    Deliveries that were claimed are the holder's until the lease ends. When this raises, the holder may have them all
    the same: it releases them, or they come back when the lease ends.
    """
    return await database.mark(_claim, lease, found.chosen, found.behind)


async def release(database: Database, lease: Lease, numbers: Collection[int]) -> set[int]:
    """Give back those of these deliveries that the holder has; return those that it still has: repeat it for them."""
    return await database.mark(_release, lease, sorted(numbers))


async def settle(database: Database, lease: Lease, settled: Sequence[Settled]) -> set[int]:
    """Writes what came of attempts. Returns those that somebody else is about to change: ask again for them.

    What a delivery met that was deleted meanwhile, or that another holds by now, is dropped.
    """
    return await database.write(_settle, lease, settled)


async def release_stuck(database: Database, now: datetime) -> int:
    """Lets the first of each key go, should it have been left behind; returns how many were."""
    return await database.write_large(_release_stuck, now)


async def prune_events(database: Database, before: datetime, limit: int) -> int:
    """Removes at most `limit` events older than that of which nothing waits; returns how many."""
    return await database.write_large(_prune_events, before, limit)


def _look(connection: sa.Connection, now: datetime, room: Room) -> list[Any]:
    if connection.dialect.name == "postgresql":
        parameters = {"now": now, "each": room.each, "of": to_json(dict(room.of)), "most": room.most}
        return list(connection.execute(statements.LOOK, parameters | {"beyond": BEYOND}))
    found: list[Any] = []
    for system_id in connection.execute(statements.DUE_SYSTEMS, {"now": now}).scalars():
        free = min(room.of.get(system_id, room.each), room.most)
        if free > 0:
            parameters = {"system_id": system_id, "now": now, "limit": free + BEYOND}
            found += connection.execute(statements.LOOK_AT_SYSTEM, parameters)
    return sorted(found, key=lambda row: (row.due, row.number))


def _choose(found: Iterable[Any], room: Room) -> Found:
    chosen: list[int] = []
    behind: list[int] = []
    taken: dict[str, int] = {}
    for row in found:
        if row.is_behind:
            behind.append(row.number)
        elif len(chosen) < room.most and taken.get(row.system_id, 0) < room.of.get(row.system_id, room.each):
            taken[row.system_id] = taken.get(row.system_id, 0) + 1
            chosen.append(row.number)
    return Found(chosen, behind)


def _claim(
    connection: sa.Connection, lease: Lease, chosen: Sequence[int], behind: Sequence[int]
) -> tuple[list[Claimed], int]:
    """Claim what was chosen; return it, and how many of those behind were set aside."""
    dialect = connection.dialect.name
    set_aside = 0
    if behind:
        set_aside = connection.execute(statements.SET_ASIDE[dialect], {"numbers": to_json(list(behind))}).rowcount
    if not chosen:
        return [], set_aside
    parameters = _held(lease, chosen) | {"until": lease.until}
    if dialect == "postgresql":
        rows = connection.execute(statements.CLAIM, parameters)
    else:
        taken = connection.execute(statements.CLAIM_ON_SQLITE, parameters).scalars().all()
        rows = connection.execute(statements.READ_ON_SQLITE, {"numbers": to_json(taken)})
    return [_claimed(row) for row in rows], set_aside


def _release(connection: sa.Connection, lease: Lease, numbers: Sequence[int]) -> set[int]:
    dialect = connection.dialect.name
    connection.execute(statements.RELEASE[dialect], _held(lease, numbers))
    parameters = {"numbers": to_json(numbers), "holder": lease.holder}
    return set(connection.execute(statements.STILL_HELD[dialect], parameters).scalars())


def _claimed(row: Any) -> Claimed:
    client = row.client_certificate or {}
    return Claimed(
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


def _held(lease: Lease, numbers: Iterable[int]) -> dict[str, Any]:
    return {"numbers": to_json(list(numbers)), "holder": lease.holder, "now": lease.now}


def _settle(connection: sa.Connection, lease: Lease, settled: Sequence[Settled]) -> set[int]:
    dialect = connection.dialect.name
    done = [item.number for item in settled if item.outcome is Outcome.DONE]
    failed = [item for item in settled if item.outcome is not Outcome.DONE]
    written: list[Any] = []
    if done:
        parameters = {"numbers": to_json(done), "holder": lease.holder}
        written += connection.execute(statements.DELETE[dialect], parameters)
    if failed:
        rows = to_json([_failure(item) for item in failed])
        kept = connection.execute(statements.FAIL[dialect], {"rows": rows, "holder": lease.holder}).all()
        _keep_attempts(connection, failed, {row.number for row in kept})
        written += kept
    lanes = {(row.subscription_id, row.key) for row in written if row.key is not None}
    if lanes:
        # A statement of its own: it must see what others set aside until those before were held here.
        touched = {"lanes": to_json(sorted(lanes)), "now": lease.now}
        connection.execute(statements.LET_NEXT_GO[dialect], touched)
    left = {item.number for item in settled} - {row.number for row in written}
    if not left:
        return set()
    parameters = {"numbers": to_json(sorted(left)), "holder": lease.holder}
    return set(connection.execute(statements.STILL_HELD[dialect], parameters).scalars())


def _failure(item: Settled) -> dict[str, Any]:
    is_parked = item.outcome is Outcome.PARK
    return {
        "number": item.number,
        "state": "parked" if is_parked else "waiting",
        "due": None if is_parked or item.due is None else statements.moment(item.due),
        "attempts": item.attempt.number,
    }


def _keep_attempts(connection: sa.Connection, failed: Iterable[Settled], numbers: set[int]) -> None:
    kept = [item for item in failed if item.number in numbers]
    if kept:
        connection.execute(statements.KEEP_ATTEMPT[connection.dialect.name], [_attempt(item) for item in kept])
    old = [
        {"delivery_number": item.number, "last": item.attempt.number - MAX_ATTEMPTS}
        for item in kept
        if item.attempt.number > MAX_ATTEMPTS
    ]
    if old:
        connection.execute(statements.FORGET_ATTEMPTS, old)


def _attempt(item: Settled) -> dict[str, Any]:
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


def _release_stuck(connection: sa.Connection, now: datetime) -> int:
    return connection.execute(statements.RELEASE_STUCK[connection.dialect.name], {"now": now}).rowcount


def _prune_events(connection: sa.Connection, before: datetime, limit: int) -> int:
    return connection.execute(statements.PRUNE_EVENTS, {"before": before, "limit": limit}).rowcount

"""Remove data that is older than the settings say, by command or regularly in the background (decision 0036)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from budkavle.background import BackgroundWork
from budkavle.ids import create_id
from budkavle.settings import Settings
from domain.errors import StorageFailed
from domain.idempotency_keys import build_first_id
from domain.retention import DataKind, RetentionRule, split_by_size
from persistence import idempotency_keys, message_reads
from persistence import retention as stored
from persistence.database import Database
from persistence.queue import housekeeping, receipts
from persistence.queue.housekeeping import FIRST_EVENT, EventPosition
from persistence.retention import FIRST_ID, PAGE, MessageSelection

log = structlog.get_logger("budkavle.retention")

INTERVAL = timedelta(hours=1)
"""Time between two regular runs."""

MESSAGES_AT_ONCE, BYTES_AT_ONCE = 100, 16 * 1024 * 1024
"""Maximum messages, and bytes of their files, that one transaction deletes."""

REGULAR = {DataKind.MESSAGES, DataKind.PARKED_DELIVERIES}
"""Kinds that `RegularPurge` removes. Workers remove events and receipts, and servers remove keys, more often."""


async def purge(
    database: Database, rules: Sequence[RetentionRule], now: datetime, operator: str = "-"
) -> Counter[RetentionRule]:
    """Remove what the rules say, in bounded transactions. Return the numbers.

    The audit records the numbers also if an error ends the run. By default a regular run has no operator.
    """
    removed: Counter[RetentionRule] = Counter()
    await message_reads.forget_destroyed(database, now)
    try:
        for rule in rules:
            async for number in _remove(database, rule, now):
                removed[rule] += number
    finally:
        await stored.record(database, removed, now, operator, create_id())
    return removed


async def count_removable(database: Database, rules: Sequence[RetentionRule], now: datetime) -> Counter[RetentionRule]:
    """Return the numbers that `purge` would remove now."""
    parked = next((now - rule.period for rule in rules if rule.kind is DataKind.PARKED_DELIVERIES), None)
    return Counter({rule: await _count(database, rule, now - rule.period, parked) for rule in rules})


async def remove_messages(database: Database, selection: MessageSelection) -> AsyncIterator[int]:
    """Delete the selected messages, and yield the number of each transaction."""
    async for items in _iterate_messages(database, selection):
        for ids in split_by_size(items, MESSAGES_AT_ONCE, BYTES_AT_ONCE):
            yield await stored.remove_messages(database, ids)


async def count_messages(database: Database, selection: MessageSelection) -> int:
    """Return the number of the selected messages."""
    return sum([len(items) async for items in _iterate_messages(database, selection)])


class RegularPurge(BackgroundWork):
    """Removes old messages and parked deliveries regularly, in a process next to its servers.

    Without rules, it only removes what remains of erased persons.
    """

    def __init__(self, database: Database, rules: Sequence[RetentionRule], now: Callable[[], datetime]) -> None:
        super().__init__()
        self._database = database
        self._rules = rules
        self._now = now

    async def run_once(self) -> Counter[RetentionRule]:
        """Remove what is old now. Return the numbers. Raises `StorageFailed`."""
        return await purge(self._database, self._rules, self._now())

    async def _run_forever(self) -> None:
        while True:
            try:
                await self.run_once()
            except StorageFailed as exc:
                log.warning("purge_failed", reason=exc.reason, detail=exc.explanation or None)
            except Exception:
                # The next run must happen all the same.
                log.exception("purge_run_failed")
            await asyncio.sleep(INTERVAL.total_seconds())


def create_regular_purge(settings: Settings, database: Database, now: Callable[[], datetime]) -> RegularPurge:
    """Return the regular removal that the settings require."""
    rules = [rule for rule in settings.build_retention_rules() if rule.kind in REGULAR]
    return RegularPurge(database, rules, now)


def _remove(database: Database, rule: RetentionRule, now: datetime) -> AsyncIterator[int]:
    """Remove what a rule says, and yield the number of each transaction."""
    before = now - rule.period
    match rule.kind:
        case DataKind.MESSAGES:
            return remove_messages(database, MessageSelection(before, rule.state, rule.oep_instance))
        case DataKind.PARKED_DELIVERIES:
            return _remove_parked(database, before)
        case DataKind.EVENTS:
            return _remove_events(database, before)
        case DataKind.RECEIPTS:
            return _repeat(lambda: receipts.prune_receipts(database, before, PAGE))
        case DataKind.IDEMPOTENCY_KEYS:
            return _repeat(lambda: idempotency_keys.prune_expired(database, build_first_id(before)))
        case _ as unreachable:
            assert_never(unreachable)


async def _remove_parked(database: Database, before: datetime) -> AsyncIterator[int]:
    async for numbers in _iterate_parked(database, before):
        yield await stored.remove_parked(database, numbers, before)


async def _remove_events(database: Database, before: datetime) -> AsyncIterator[int]:
    position: EventPosition | None = FIRST_EVENT
    while position is not None:
        number, position = await housekeeping.prune_events(database, before, position, PAGE)
        yield number


async def _repeat(remove: Callable[[], Awaitable[int]]) -> AsyncIterator[int]:
    """Yield the numbers that `remove` returns, until it removes nothing."""
    while number := await remove():
        yield number


async def _count(database: Database, rule: RetentionRule, before: datetime, parked_before: datetime | None) -> int:
    match rule.kind:
        case DataKind.MESSAGES:
            return await count_messages(database, MessageSelection(before, rule.state, rule.oep_instance))
        case DataKind.PARKED_DELIVERIES:
            return sum([len(numbers) async for numbers in _iterate_parked(database, before)])
        case DataKind.EVENTS:
            return await stored.count_events(database, before, parked_before)
        case DataKind.RECEIPTS:
            return await stored.count_receipts(database, before)
        case DataKind.IDEMPOTENCY_KEYS:
            return await idempotency_keys.count_expired(database, build_first_id(before))
        case _ as unreachable:
            assert_never(unreachable)


async def _iterate_messages(
    database: Database, selection: MessageSelection
) -> AsyncIterator[Sequence[tuple[str, int]]]:
    after = FIRST_ID
    while (page := await stored.find_messages(database, selection, after)).last is not None:
        after = page.last
        if page.items:
            yield page.items


async def _iterate_parked(database: Database, before: datetime) -> AsyncIterator[list[int]]:
    after = 0
    while (page := await stored.find_parked(database, before, after)).last is not None:
        after = page.last
        if page.items:
            yield [number for number, _ in page.items]

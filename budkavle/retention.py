"""Remove data that is older than the settings say, by command or regularly in the background (decision 0036)."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

import structlog

from budkavle.audit_pruning import AuditPruner, create_audit_pruner
from budkavle.background import BackgroundWork
from budkavle.ids import create_id
from budkavle.settings import Settings, SettingsUnusable
from domain.grouping import split_by_size
from domain.idempotency_keys import build_first_id
from domain.retention import DataKind, MessageSelection, Removal, RemovalRun, RetentionRule
from persistence import idempotency_keys, message_reads, removal_counts
from persistence import retention as stored
from persistence.database import Database
from persistence.queue import housekeeping, receipts
from persistence.queue.housekeeping import FIRST_EVENT, EventPosition
from persistence.repeated_work import FailureLog, run_repeatedly
from persistence.retention import FIRST_ID, PAGE

log = structlog.get_logger("budkavle.retention")

INTERVAL = timedelta(hours=1)
"""Time between two regular runs."""

MESSAGES_AT_ONCE, BYTES_AT_ONCE = 100, 16 * 1024 * 1024
"""Maximum messages, and bytes of their files, that one transaction deletes."""

AUDIT_INTERVAL = timedelta(days=1)
"""Time between two regular removals of entries of the audit."""

REGULAR = {DataKind.MESSAGES, DataKind.PARKED_DELIVERIES}
"""Kinds that `RegularPurge` removes. Workers remove events and receipts, and servers remove keys, more often."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Removes what rules say. `pruner` is required by rules about the audit."""

    database: Database
    rules: Sequence[RetentionRule]
    pruner: AuditPruner | None = None

    async def run(
        self, now: datetime, operator: str = "-", report: Callable[[int], None] = lambda _number: None
    ) -> Counter[RetentionRule]:
        """Remove in bounded transactions. Return the numbers. By default a regular run has no operator.

        The audit records the numbers also if an error ends the run. `report` is called with the number so far.
        """
        removed: Counter[RetentionRule] = Counter()
        run = RemovalRun(now, operator, create_id())
        await message_reads.forget_destroyed(self.database, now)
        async with removal_counts.recording(self.database, run):
            for rule in self.rules:
                async for number in self._remove(run, rule):
                    removed[rule] += number
                    report(removed.total())
        return removed

    async def count(self, now: datetime) -> Counter[RetentionRule]:
        """Return the numbers that `run` would remove now."""
        return Counter({rule: await self._count(rule, now) for rule in self.rules})

    def _remove(self, run: RemovalRun, rule: RetentionRule) -> AsyncIterator[int]:
        """Remove what a rule says, and yield the number of each transaction, which counts it."""
        database, removal, before = self.database, Removal(run, rule), run.time - rule.period
        match rule.kind:
            case DataKind.MESSAGES:
                return remove_messages(database, MessageSelection(before, rule.state, rule.oep_instance), removal)
            case DataKind.PARKED_DELIVERIES:
                return _remove_parked(database, before, removal)
            case DataKind.EVENTS:
                return _remove_events(database, before, removal)
            case DataKind.RECEIPTS:
                return _repeat(lambda: receipts.prune_receipts(database, before, PAGE, removal))
            case DataKind.IDEMPOTENCY_KEYS:
                return _repeat(lambda: idempotency_keys.prune_expired(database, build_first_id(before), removal))
            case DataKind.AUDIT_ENTRIES:
                return self._get_pruner().prune(before, run.time, run.operator)
            case _ as unreachable:
                assert_never(unreachable)

    async def _count(self, rule: RetentionRule, now: datetime) -> int:
        database, before = self.database, now - rule.period
        match rule.kind:
            case DataKind.MESSAGES:
                return await count_messages(database, MessageSelection(before, rule.state, rule.oep_instance))
            case DataKind.PARKED_DELIVERIES:
                return sum([len(numbers) async for numbers in _iterate_parked(database, before)])
            case DataKind.EVENTS:
                return await stored.count_events(database, before, self._find_parked_before(now))
            case DataKind.RECEIPTS:
                return await stored.count_receipts(database, before)
            case DataKind.IDEMPOTENCY_KEYS:
                return await idempotency_keys.count_expired(database, build_first_id(before))
            case DataKind.AUDIT_ENTRIES:
                return await self._get_pruner().count(before, now)
            case _ as unreachable:
                assert_never(unreachable)

    def _find_parked_before(self, now: datetime) -> datetime | None:
        return next((now - rule.period for rule in self.rules if rule.kind is DataKind.PARKED_DELIVERIES), None)

    def _get_pruner(self) -> AuditPruner:
        if self.pruner is None:
            raise SettingsUnusable("unusable settings: BUDKAVLE_AUDIT_DAYS needs BUDKAVLE_AUDIT_SEAL_KEY")
        return self.pruner


async def remove_messages(
    database: Database, selection: MessageSelection, counted: Removal | None = None
) -> AsyncIterator[int]:
    """Delete the selected messages, and yield the number of each transaction, which adds it to that of `counted`."""
    async for items in _iterate_messages(database, selection):
        for ids in split_by_size(items, MESSAGES_AT_ONCE, BYTES_AT_ONCE):
            yield await stored.remove_messages(database, ids, counted)


async def count_messages(database: Database, selection: MessageSelection) -> int:
    """Return the number of the selected messages."""
    return sum([len(items) async for items in _iterate_messages(database, selection)])


class RegularPurge(BackgroundWork):
    """Removes what is old regularly, in a process next to its servers.

    Without rules, it only removes what remains of erased persons.
    """

    def __init__(self, purge: Purge, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._purge = purge
        self._now = now
        self._audit_due = datetime.min.replace(tzinfo=UTC)

    async def run_once(self) -> Counter[RetentionRule]:
        """Remove what is old now. Return the numbers. Raises `StorageFailed`, `SealRefused` or `PruneRefused`."""
        now = self._now()
        kinds = REGULAR
        if now >= self._audit_due:
            # Before entries are removed, all are verified.
            self._audit_due = now + AUDIT_INTERVAL
            kinds = REGULAR | {DataKind.AUDIT_ENTRIES}
        due = [rule for rule in self._purge.rules if rule.kind in kinds]
        return await replace(self._purge, rules=due).run(now)

    async def _run_forever(self) -> None:
        failures = FailureLog(log, "purge_failed", "purge_run_failed", refused="purge_refused")
        await run_repeatedly(self._remove_and_log, failures, INTERVAL.total_seconds())

    async def _remove_and_log(self) -> None:
        for rule, number in (await self.run_once()).items():
            log.info("old_data_removed", **rule.describe(), number=number)


def create_purge(settings: Settings, database: Database) -> Purge:
    """Return the removal that the settings require. Raises `SealRefused` or `SettingsUnusable`."""
    pruner = create_audit_pruner(settings, database) if settings.audit_days else None
    return Purge(database, settings.build_retention_rules(), pruner)


def create_regular_purge(settings: Settings, database: Database, now: Callable[[], datetime]) -> RegularPurge:
    """Return the regular removal that the settings require. Raises as `create_purge`."""
    return RegularPurge(create_purge(settings, database), now)


async def _remove_parked(database: Database, before: datetime, counted: Removal) -> AsyncIterator[int]:
    async for numbers in _iterate_parked(database, before):
        yield await stored.remove_parked(database, numbers, before, counted)


async def _remove_events(database: Database, before: datetime, counted: Removal) -> AsyncIterator[int]:
    position: EventPosition | None = FIRST_EVENT
    while position is not None:
        number, position = await housekeeping.prune_events(database, before, position, PAGE, counted)
        yield number


async def _repeat(remove: Callable[[], Awaitable[int]]) -> AsyncIterator[int]:
    """Yield the numbers that `remove` returns, until it removes nothing."""
    while number := await remove():
        yield number


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

"""Count rejected calls for the audit log, so that callers without access cannot fill it.

The first rejection of a caller for a reason gets its own entry, written before the response is sent. Further ones are
counted; the counts are written when the interval ends and when the service shuts down. A killed process loses the
counts of the running interval, but no separate entry.

The number of entries per interval is limited for any variation of the calls: at most two for each of the first
`MAX_CALLERS` callers of each reason, and one for all other callers of that reason.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, assert_never

import structlog

from domain.audit import NO_SYSTEM, AuditEntry
from domain.errors import RefusalReason, StorageFailed
from persistence import audit
from persistence.database import Database

log = structlog.get_logger("budkavle.audit")

INTERVAL_SECONDS = 300.0

MAX_CALLERS = 10
"""Maximum callers per reason with their own entries in one interval."""

MAX_KNOWN_CALLERS = 100
"""The same maximum for authenticated callers, whose number is limited because the operator registers them."""

OTHER_CALLERS = "*"
"""The caller in the entry for all callers above the maximum."""

KIND = "refusals"

NOT_CHECKED = "not_checked"
"""The reason, in the audit log, of a call that failed before its certificate was looked up."""


class _Key(NamedTuple):
    caller: str
    reason: RefusalReason | None
    outcome: str


_LATEST = datetime.max.replace(tzinfo=UTC)
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Count:
    """Rejections of one caller without their own entries."""

    calls: int = 0
    first: datetime = _LATEST
    last: datetime = _EARLIEST
    operations: Counter[str] = field(default_factory=Counter)

    def add(self, entry: AuditEntry) -> None:
        self.merge(_Count(1, entry.time, entry.time, Counter([entry.operation])))

    def merge(self, other: "_Count") -> None:
        self.calls += other.calls
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.operations += other.operations


class RefusalTally:
    """The rejections of one process."""

    def __init__(self, database: Database, *, now: Callable[[], datetime], interval: float = INTERVAL_SECONDS) -> None:
        self._database = database
        self._now = now
        self._interval = interval
        self._counts: dict[_Key, _Count] = {}
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def record(self, entry: AuditEntry, reason: RefusalReason | None) -> None:
        """Write the entry of a rejection, or count it if its caller already has one for this reason in the interval.

        `reason` is None for a call that failed before its certificate was looked up.

        Raises `StorageFailed` if the entry cannot be written; the rejection is then counted.
        """
        key = _Key(entry.caller, reason, entry.outcome)
        if key in self._counts or not self._is_below_limit(key):
            self._find_count(key).add(entry)
            return
        count = self._find_count(key)
        try:
            await audit.record(self._database, entry)
        except BaseException:
            count.add(entry)
            raise

    async def flush(self) -> None:
        """Write the counts and restart counting. Raises `StorageFailed`; the counts are then kept."""
        counts, self._counts = self._counts, {}
        entries = [self._build_entry(key, count) for key, count in counts.items() if count.calls]
        try:
            if entries:
                await audit.record_all(self._database, NO_SYSTEM, entries)
        except BaseException:
            for key, count in counts.items():
                if count.calls:
                    self._find_count(key).merge(count)
            raise

    async def close(self) -> None:
        """Write the counts of the running interval and stop."""
        self._closing.set()
        if self._running is not None:
            await self._running
        if self._counts:
            await self._flush_or_log()

    def _is_below_limit(self, key: _Key) -> bool:
        number = sum(other.reason == key.reason and other.outcome == key.outcome for other in self._counts)
        return number < get_max_callers(key.reason)

    def _find_count(self, key: _Key) -> _Count:
        if key not in self._counts and not self._is_below_limit(key):
            key = key._replace(caller=OTHER_CALLERS)
        count = self._counts.setdefault(key, _Count())
        if self._running is None:
            self._running = asyncio.create_task(self._run_interval())
        return count

    async def _run_interval(self) -> None:
        while self._counts and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._closing.wait()
            await self._flush_or_log()
        self._running = None

    async def _flush_or_log(self) -> None:
        try:
            await self.flush()
        except StorageFailed as exc:
            calls = sum(count.calls for count in self._counts.values())
            log.error("refusals_not_recorded", calls=calls, reason=exc.reason)  # noqa: TRY400  # The reason suffices.

    def _build_entry(self, key: _Key, count: _Count) -> AuditEntry:
        operations = dict(sorted(count.operations.items()))
        detail: dict[str, Any] = {
            "reason": key.reason or NOT_CHECKED,
            "count": count.calls,
            "first": count.first.isoformat(),
            "last": count.last.isoformat(),
            "operations": operations,
        }
        return AuditEntry(
            chain=NO_SYSTEM,
            kind=KIND,
            time=self._now(),
            operation=next(iter(operations)) if len(operations) == 1 else "*",
            caller=key.caller,
            outcome=key.outcome,
            request_id="-",
            detail=detail,
        )


def get_max_callers(reason: RefusalReason | None) -> int:
    """Return the maximum number of callers with their own entries for this reason in one interval."""
    match reason:
        case RefusalReason.SYSTEM_NOT_AUTHORISED:
            return MAX_KNOWN_CALLERS
        case (
            RefusalReason.NO_CERTIFICATE
            | RefusalReason.CERTIFICATE_UNREADABLE
            | RefusalReason.CERTIFICATE_OUTSIDE_DATES
            | RefusalReason.UNKNOWN_CERTIFICATE
            | RefusalReason.NO_KEY
            | RefusalReason.SEVERAL_KEYS
            | RefusalReason.UNKNOWN_KEY
            | RefusalReason.EXPIRED_KEY
            | RefusalReason.KEY_LACKS_SCOPE
            | RefusalReason.PUBLICATION_NOT_AUTHORISED
            | RefusalReason.INVALID_TOKEN
            | RefusalReason.TOKEN_LACKS_SCOPE
            | None
        ):
            return MAX_CALLERS
        case _ as unreachable:
            assert_never(unreachable)

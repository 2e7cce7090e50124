"""Count the reads of web messages by callers, for the audit (decision 0033).

The counts are in memory, with the parties and references of the messages. They are recorded when the interval ends,
when a caller has read the messages of many subjects, and when the service shuts down. A killed process loses the counts
of the running interval.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from domain.errors import StorageFailed
from domain.message_reads import KEY_BYTES, ReadCounts, Subject, list_subjects
from domain.web_messages import WebMessage
from persistence import message_reads
from persistence.database import Database

log = structlog.get_logger("budkavle.audit")

_unrecorded = Gauge(
    "budkavle_unrecorded_reads",
    "Counted reads of web messages that the audit could not record so far.",
    multiprocess_mode="livesum",
)

MAX_SUBJECTS = 500
"""Subjects and operations of one caller after which its counts are recorded. Bounds the size of an entry."""

MAX_KEPT = 200
"""Maximum counts that are kept while the database cannot record them."""


class ReadTally:
    """The reads of one process."""

    def __init__(self, database: Database, *, now: Callable[[], datetime], interval: timedelta) -> None:
        self._database = database
        self._now = now
        self._interval = interval.total_seconds()
        self._counts: dict[str, ReadCounts] = {}
        self._complete: list[ReadCounts] = []
        self._is_due = asyncio.Event()
        self._is_closing = False
        self._running: asyncio.Task[None] | None = None

    def count(
        self, caller: str, operation: str, messages: Iterable[WebMessage], counted: set[Subject] | None = None
    ) -> None:
        """Count one read of the subjects of messages, except those that are in `counted`, and add them to it."""
        subjects = list_subjects(messages)
        if counted is not None:
            subjects -= counted
            counted |= subjects
        for subject in subjects:
            counts = self._counts.get(caller) or self._begin(caller)
            counts.numbers[operation, subject] += 1
            if len(counts.numbers) >= MAX_SUBJECTS:
                self._complete.append(self._counts.pop(caller))
                self._is_due.set()

    async def flush(self) -> None:
        """Record all counts, and begin again. Raises `StorageFailed`; the counts that are not recorded are kept."""
        self._complete += self._counts.values()
        self._counts = {}
        while self._complete:
            await message_reads.record(self._database, self._complete[0], self._now(), _create_key)
            del self._complete[0]

    async def close(self) -> None:
        """Record the counts of the running interval and stop."""
        self._is_closing = True
        self._is_due.set()
        if self._running is not None:
            await self._running

    def _begin(self, caller: str) -> ReadCounts:
        counts = self._counts[caller] = ReadCounts(caller, self._now())
        if self._running is None:
            self._running = asyncio.create_task(self._run_interval())
        return counts

    async def _run_interval(self) -> None:
        while self._counts or (self._complete and not self._is_closing):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._is_due.wait()
            self._is_due.clear()
            await self._flush_or_log()
        self._running = None

    async def _flush_or_log(self) -> None:
        try:
            await self.flush()
        except StorageFailed as exc:
            reads = self._count_kept()
            log.error("reads_not_recorded", reads=reads, reason=exc.reason)  # noqa: TRY400  # The reason suffices.
        except Exception:
            # The next interval must be recorded all the same.
            log.exception("reads_not_recorded", reads=self._count_kept())
        del self._complete[:-MAX_KEPT]
        _unrecorded.set(self._count_kept())

    def _count_kept(self) -> int:
        return sum(counts.numbers.total() for counts in self._complete)


def _create_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)

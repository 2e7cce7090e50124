"""The queue over time, counted in the background on demand, so that no page waits for a long count."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.errors import StorageFailed
from persistence.database import Database
from persistence.queue.history import QueueHistory, find_start, read_history

INTERVALS = 144
"""Intervals of a history: 24 hours of ten minutes."""

FRESH_SECONDS = 30
"""Seconds for which a history is not counted again."""

MIN_IDLE = 20
"""Minimum ratio of idle time to counting time, as for the metrics of the queue."""

WAIT_SECONDS = 0.2
"""Seconds that a page waits for a running count. Short queues take less."""


@dataclass(frozen=True, slots=True)
class Histories:
    """The histories of systems since `start`, and when they were counted."""

    start: datetime
    counted: datetime
    systems: Mapping[str, QueueHistory]

    def sum_up(self) -> QueueHistory:
        """Return the history of all systems together."""
        zero = (0,) * INTERVALS
        delivered = [each.delivered for each in self.systems.values()] or [zero]
        undelivered = [each.undelivered for each in self.systems.values()] or [zero]
        return QueueHistory("", _add(delivered), _add(undelivered))


def _add(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


class HistoryWatch:
    """Counts the history while the page is in use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: Histories | None = None
        self._counting: asyncio.Task[None] | None = None
        self._next = 0.0
        self._is_slow = False

    async def find(self, now: datetime) -> Histories | None:
        """Return the latest histories, or None before the first count has ended and after a failed one."""
        if self._counting is None and asyncio.get_running_loop().time() >= self._next:
            self._counting = asyncio.create_task(self._count(now))
        if self._counting is not None and not self._is_slow:
            await asyncio.wait([self._counting], timeout=WAIT_SECONDS)
        return self._found

    async def _count(self, now: datetime) -> None:
        clock = asyncio.get_running_loop().time
        begun, start = clock(), find_start(now, INTERVALS)
        try:
            self._found = Histories(start, now, await read_history(self._database, start, INTERVALS))
        except StorageFailed:
            self._found = None
        finally:
            seconds = clock() - begun
            self._next = clock() + max(FRESH_SECONDS, MIN_IDLE * seconds)
            self._is_slow = seconds > WAIT_SECONDS
            self._counting = None

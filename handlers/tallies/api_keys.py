"""Record in the background when API keys were last used, and which of them expired."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

import structlog

from persistence import api_keys
from persistence.database import Database
from persistence.repeated_work import FailureLog, run_or_log, run_repeatedly

INTERVAL_SECONDS = 60

CLOSE_SECONDS = 2
"""Maximum seconds by which the record of uses delays the stop of a process."""

log = structlog.get_logger("budkavle.audit")

FAILURES = FailureLog(log, "api_keys_not_recorded", "api_keys_record_failed")


class KeyRecords:
    """Collects the uses of API keys in one process. Requests only note them, and `run_once` stores few of them."""

    def __init__(self, database: Database, *, now: Callable[[], datetime], new_id: Callable[[], str]) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id
        self._noted: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}

    def note_use(self, key_hash: str) -> None:
        """Remember that a key was used now."""
        self._noted[key_hash] = self._now()

    async def run_once(self) -> None:
        """Store the uses of keys, one per key and `USE_RESOLUTION`, and audit expired keys. Raises `StorageFailed`."""
        noted, now = dict(self._noted), self._now()
        self._written = {each: used for each, used in self._written.items() if used > now - api_keys.USE_RESOLUTION}
        uses = {each: used for each, used in noted.items() if each not in self._written}
        if uses:
            await api_keys.record_uses(self._database, uses)
            self._written |= uses
        # Keep what was noted meanwhile.
        self._noted = {each: used for each, used in self._noted.items() if noted.get(each) != used}
        await api_keys.record_expired(self._database, now, self._new_id())

    async def run_forever(self) -> None:
        """Record every `INTERVAL_SECONDS`. Failures are logged."""
        await run_repeatedly(self.run_once, FAILURES, INTERVAL_SECONDS)

    async def close(self) -> None:
        """Record the uses since the last run that are to be stored, unless the database is silent."""
        if self._noted.keys() <= self._written.keys():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await run_or_log(self.run_once, FAILURES)

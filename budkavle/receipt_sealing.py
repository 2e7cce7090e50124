"""Seal receipts in the audit regularly, next to a worker (decision 0032)."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from budkavle.background import BackgroundWork
from budkavle.ids import create_id
from budkavle.settings import Settings
from persistence import receipt_rounds
from persistence.database import Database
from persistence.receipt_rounds import SealEnd
from persistence.repeated_work import FailureLog, run_repeatedly

log = structlog.get_logger("budkavle.receipt_sealing")

_due = Gauge(
    "budkavle_seal_due_timestamp_seconds",
    "Unix time at which receipts, or the audit, must be sealed again.",
    ("sealed",),
    multiprocess_mode="livemax",
)

CHECK_INTERVAL = timedelta(minutes=1)
"""Maximum time between two looks whether a round is due."""

ATTEMPTS, INTERVAL_SECONDS = 50, 0.1
"""Attempts of a command, and the interval between them: a worker stores receipts within milliseconds."""


class ReceiptSealing(BackgroundWork):
    """Seals the receipts of all systems once in an interval."""

    def __init__(self, database: Database, interval: timedelta, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._database = database
        self._interval = interval
        self._now = now
        # What is sealed next, once the transactions that were under way have ended.
        self._end: SealEnd | None = None
        set_seal_due("receipts", now())

    async def run_once(self) -> int:
        """Seal all receipts up to now if that is due. Return their number. Raises `StorageFailed`."""
        now = self._now()
        if self._end is None:
            last = await receipt_rounds.find_last_round(self._database)
            if last is not None and now - last < self._interval:
                set_seal_due("receipts", last + self._interval)
                return 0
            self._end = await receipt_rounds.find_end(self._database)
        if not await receipt_rounds.has_ended(self._database, self._end):
            return 0
        sealed = await _seal_until(self._database, self._end, now)
        self._end = None
        set_seal_due("receipts", now + self._interval)
        return sealed

    async def _run_forever(self) -> None:
        failures = FailureLog(log, "receipts_not_sealed", "receipt_sealing_failed")
        await run_repeatedly(self.run_once, failures, min(self._interval, CHECK_INTERVAL).total_seconds())


def set_seal_due(sealed: str, due: datetime) -> None:
    """Report when `receipts` or the `audit` must be sealed again. An alert compares it with the time."""
    _due.labels(sealed).set(due.timestamp())


def create_receipt_sealing(settings: Settings, database: Database, now: Callable[[], datetime]) -> ReceiptSealing:
    """Return the regular sealing of receipts as the settings say."""
    return ReceiptSealing(database, timedelta(minutes=settings.receipt_seal_minutes), now)


async def seal_receipts(database: Database, now: datetime) -> int:
    """Seal all receipts up to now. Return their number, 0 if other transactions go on for too long."""
    end = await receipt_rounds.find_end(database)
    for _ in range(ATTEMPTS):
        if await receipt_rounds.has_ended(database, end):
            return await _seal_until(database, end, now)
        await asyncio.sleep(INTERVAL_SECONDS)
    return 0


async def _seal_until(database: Database, end: SealEnd, now: datetime) -> int:
    sealed = 0
    while number := await receipt_rounds.seal_round(database, end.number, now, create_id()):
        sealed += number
    return sealed

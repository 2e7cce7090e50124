"""The time of the service. On PostgreSQL the clock of the database is authoritative.

Due times, leases, validities and `created` are compared across processes, so processes on machines with different
clocks need a common one. The difference between the database's clock and that of this machine is measured. If it
exceeds `MAX_DIFFERENCE`, the time of the database is used and extrapolated with the monotonic clock between
measurements.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Gauge

from budkavle.background import BackgroundWork
from domain.errors import StorageFailed
from persistence.database import Database

log = structlog.get_logger("budkavle.clock")

MEASURE_SECONDS = 30
"""Seconds between two measurements."""

MAX_DIFFERENCE = timedelta(seconds=1)
"""A larger difference is corrected."""

NO_DIFFERENCE = timedelta(seconds=0.5)
"""A correction ends below this difference, which provides hysteresis near the limit."""

SLOWEST_SECONDS = 1.0
"""A slower measurement is ignored: its error can be half of its duration."""

ATTEMPTS = 3
"""Attempts per measurement. The first one may have to connect, which takes long."""

_difference = Gauge(
    "budkavle_clock_difference_seconds",
    "Clock of this machine minus clock of the database; 0 on SQLite.",
    multiprocess_mode="livemostrecent",
)


def read_machine_clock() -> datetime:
    """Return the time by the clock of this machine."""
    return datetime.now(UTC)


_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_elapsed_seconds() -> float:
    """Return seconds from a clock that cannot be set and that, on Linux, includes the time of suspension."""
    return time.clock_gettime(_STEADY_CLOCK)


def now() -> datetime:
    """Return the time by the clock of this machine, with the precision of the service (milliseconds)."""
    return _truncate_to_milliseconds(read_machine_clock())


@dataclass(frozen=True, slots=True)
class _Measurement:
    """The time of the database at a reading of the monotonic clock, in seconds."""

    moment: datetime
    monotonic: float


class DatabaseClock(BackgroundWork):
    """The common time of all processes that use one database.

    Without a measurement, and on SQLite, it is the time of this machine.
    """

    def __init__(
        self,
        database: Database,
        *,
        machine: Callable[[], datetime] = read_machine_clock,
        monotonic: Callable[[], float] = read_elapsed_seconds,
        interval: float = MEASURE_SECONDS,
    ) -> None:
        super().__init__()
        self._database = database
        self._machine = machine
        self._monotonic = monotonic
        self._interval = interval
        self._measurement: _Measurement | None = None
        self._is_corrected = False

    def now(self) -> datetime:
        """Return the time with the precision of the service (milliseconds)."""
        moment = self._machine()
        if self._measurement is not None:
            estimate = self._estimate(self._measurement)
            if not self._is_corrected and abs(moment - estimate) > MAX_DIFFERENCE:
                # The clock of this machine was changed after the last measurement.
                self._begin_correction(moment - estimate)
            if self._is_corrected:
                moment = estimate
        return _truncate_to_milliseconds(moment)

    async def measure(self) -> None:
        """Measure the difference between the two clocks.

        If the database does not respond, or responds too slowly, the last measurement remains in use.
        """
        for _ in range(ATTEMPTS):
            began = self._monotonic()
            try:
                moment = await self._database.read_clock()
            except StorageFailed:
                # The cause is already logged.
                return
            ended = self._monotonic()
            if moment is None:
                return
            if ended - began <= SLOWEST_SECONDS:
                # The database read its clock within this interval, on average in its middle.
                self._apply_measurement(_Measurement(moment, (began + ended) / 2))
                return

    async def _run_forever(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.measure()

    def _apply_measurement(self, measurement: _Measurement) -> None:
        self._measurement = measurement
        difference = self._machine() - self._estimate(measurement)
        _difference.set(difference.total_seconds())
        if not self._is_corrected and abs(difference) > MAX_DIFFERENCE:
            self._begin_correction(difference)
        elif self._is_corrected and abs(difference) <= NO_DIFFERENCE:
            self._is_corrected = False
            log.info("clock_difference_ended", seconds=_round_to_milliseconds(difference))

    def _begin_correction(self, difference: timedelta) -> None:
        self._is_corrected = True
        _difference.set(difference.total_seconds())
        log.warning("clock_difference_found", seconds=_round_to_milliseconds(difference))

    def _estimate(self, measurement: _Measurement) -> datetime:
        return measurement.moment + timedelta(seconds=self._monotonic() - measurement.monotonic)


async def measure_clock(database: Database) -> DatabaseClock:
    """Return a clock with one measurement, for a command."""
    clock = DatabaseClock(database)
    await clock.measure()
    return clock


def _truncate_to_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _round_to_milliseconds(difference: timedelta) -> float:
    return round(difference.total_seconds(), 3)

"""The response of `/metrics`: the metrics of this process, and the state of queue and messages, for Prometheus.

Each module defines its own metrics in the registry of the process; this module only writes them.
"""

import asyncio
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.errors import StorageFailed
from domain.web_messages import MessageState
from openapi.server.processes import METRICS_VARIABLE
from persistence import publications, web_messages
from persistence.database import Database
from persistence.queue.depth import Depth, count_dead_rows, list_depths

if TYPE_CHECKING:
    from oauth2.verification import KeySetState

DATABASE_TIMEOUT_SECONDS = 5
"""Timeout of the database in seconds: Prometheus itself waits for 10 seconds."""

QUEUE_WAIT_SECONDS = 0.005
"""Seconds that a scrape waits for a running count of the queue. Counting a short queue takes less."""

START_DELAY_SECONDS = 0.1
"""Seconds between a scrape and the next count of a long queue, so that the count does not slow down the scrape."""

MIN_IDLE = 20
"""Minimum ratio of idle time to counting time: counting uses at most 1/21 of the time for a queue of any length."""

# prometheus_client adds a sample with the creation time of each counter, which is not needed.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # It takes and returns nothing.


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The depth of the queue by system and its dead rows, as counted at `counted` of the event loop's clock."""

    depths: tuple[Depth, ...]
    dead_rows: int | None
    counted: float


class QueueWatch:
    """Counts the queue in the background on demand, and returns the figures of the latest count.

    A count reads all deliveries, so its duration grows with their number. No scrape waits for it, and the time between
    two counts grows with their duration.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._figures: QueueFigures | None = None
        self._counting: asyncio.Task[None] | None = None
        self._next = 0.0
        self._delay = 0.0

    async def get_figures(self, now: datetime) -> QueueFigures | None:
        """Return the latest figures, or None before the first count and after a failed one."""
        if self._counting is None and asyncio.get_running_loop().time() >= self._next:
            self._counting = asyncio.create_task(self._count(now))
        if self._counting is not None and not self._delay:
            await asyncio.wait([self._counting], timeout=QUEUE_WAIT_SECONDS)
            if self._counting is not None:
                # The queue is long: later scrapes must not wait for the same count.
                self._delay = START_DELAY_SECONDS
        return self._figures

    async def wait_for_figures(self, now: datetime, seconds: float) -> QueueFigures | None:
        """Return the latest figures, after waiting at most `seconds` for a running count of a short queue.

        Do not wait for the count of a long queue, which takes longer, unless there are no figures yet.
        """
        await self.get_figures(now)
        if self._counting is not None and (self._figures is None or not self._delay):
            await asyncio.wait([self._counting], timeout=seconds)
        return self._figures

    async def _count(self, now: datetime) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._delay)
        begun = clock()
        try:
            depths = await list_depths(self._database, now)
            self._figures = QueueFigures(tuple(depths), await count_dead_rows(self._database), begun)
        except StorageFailed:
            self._figures = None
        finally:
            seconds = clock() - begun
            self._next = clock() + MIN_IDLE * seconds
            self._delay = START_DELAY_SECONDS if seconds > QUEUE_WAIT_SECONDS else 0.0
            self._counting = None


@dataclass(frozen=True, slots=True)
class DoubtFigures:
    """The number of messages in doubt by state, and the age of the oldest in seconds."""

    messages: Mapping[MessageState, int]
    oldest_seconds: float


async def count_in_doubt(database: Database, now: datetime, longest_call: timedelta) -> DoubtFigures | None:
    """Return the figures of messages in doubt, or None if the database does not respond.

    A message that is still `sending` after the longest call was left over by a process that ended.
    """
    before = now - longest_call
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
            messages = await web_messages.count_in_doubt(database, before)
            oldest = await publications.find_oldest(database, before)
    except (StorageFailed, TimeoutError):
        return None
    return DoubtFigures(messages, 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()))


async def collect(
    database: Database,
    queue: QueueWatch,
    now: datetime,
    longest_call: timedelta,
    key_sets: "Sequence[KeySetState]" = (),
) -> bytes:
    """Return all samples. Without a response of the database, those of queue and messages are omitted."""
    in_doubt = await count_in_doubt(database, now, longest_call)
    figures = None if in_doubt is None else await queue.get_figures(now)
    state = _DatabaseState(in_doubt, figures, now, asyncio.get_running_loop().time())
    return b"".join(map(prometheus_client.generate_latest, (state, _KeySets(key_sets), _create_registry())))


def _create_registry() -> prometheus_client.CollectorRegistry:
    """Return the metrics of this process, or of all that share a folder (`openapi.server.processes`)."""
    if not Path(os.environ.get(METRICS_VARIABLE, "/dev/null")).is_dir():
        # The folder is removed if the supervisor was killed, and the last processes finish their requests.
        return prometheus_client.REGISTRY
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # It takes a registry.
    return registry


class _KeySets(Collector):
    """The key sets of the issuers of access tokens, as this process has them."""

    def __init__(self, key_sets: "Sequence[KeySetState]") -> None:
        self._key_sets = key_sets

    def collect(self) -> Iterable[Metric]:
        age = GaugeMetricFamily(
            "budkavle_key_set_age_seconds",
            "Seconds since the keys of an issuer were last confirmed; +Inf if they were never read.",
            labels=["key_set"],
        )
        failures = CounterMetricFamily(
            "budkavle_key_set_failures", "Failed attempts to read the keys of an issuer.", labels=["key_set"]
        )
        for each in self._key_sets:
            age.add_metric([each.location], math.inf if each.age is None else each.age)
            failures.add_metric([each.location], each.failures)
        return age, failures


class _DatabaseState(Collector):
    def __init__(
        self, in_doubt: DoubtFigures | None, figures: QueueFigures | None, now: datetime, clock: float
    ) -> None:
        self._in_doubt = in_doubt
        self._figures = figures
        self._now = now
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("budkavle_database_up", "1 if the database answered this scrape.")
        up.add_metric([], float(self._in_doubt is not None))
        yield up
        if self._in_doubt is not None:
            messages = GaugeMetricFamily(
                "budkavle_messages_in_doubt",
                f"Messages whose publication in Open-E is not settled, at most {web_messages.MAX_COUNTED} in all.",
                labels=["state"],
            )
            for state, number in self._in_doubt.messages.items():
                messages.add_metric([str(state)], number)
            yield messages
            oldest = GaugeMetricFamily(
                "budkavle_messages_in_doubt_oldest_seconds",
                "Seconds since the oldest message in doubt was sent, also if it was deleted; 0 if none is in doubt.",
            )
            oldest.add_metric([], self._in_doubt.oldest_seconds)
            yield oldest
        if self._figures is not None:
            yield from self._build_queue_metrics(self._figures)

    def _build_queue_metrics(self, figures: QueueFigures) -> Iterable[Metric]:
        age = GaugeMetricFamily("budkavle_queue_age_seconds", "Seconds since the figures of the queue were counted.")
        age.add_metric([], max(0.0, self._clock - figures.counted))
        deliveries = GaugeMetricFamily(
            "budkavle_queue_deliveries", "Deliveries that have not arrived.", labels=["system", "state"]
        )
        oldest = GaugeMetricFamily(
            "budkavle_queue_oldest_waiting_seconds",
            "Seconds since the oldest waiting delivery that is not paused was accepted; 0 if there is none.",
            labels=["system"],
        )
        overdue = GaugeMetricFamily(
            "budkavle_queue_overdue_deliveries",
            "Deliveries that are not paused and whose next attempt should have begun more than a minute ago: no worker"
            " keeps up.",
            labels=["system"],
        )
        paused = GaugeMetricFamily(
            "budkavle_queue_paused_deliveries",
            "Waiting deliveries that an operator has paused.",
            labels=["system"],
        )
        pauses = GaugeMetricFamily(
            "budkavle_delivery_pauses", "Pauses of a system and of its subscriptions.", labels=["system"]
        )
        dead_rows = GaugeMetricFamily(
            "budkavle_queue_dead_rows", "Dead rows of the queue, which PostgreSQL estimates; absent on SQLite."
        )
        if figures.dead_rows is not None:
            dead_rows.add_metric([], figures.dead_rows)
        for depth in figures.depths:
            for state, number in depth.deliveries.items():
                deliveries.add_metric([depth.system_id, str(state)], number)
            seconds = 0.0 if depth.oldest is None else (self._now - depth.oldest).total_seconds()
            oldest.add_metric([depth.system_id], max(0.0, seconds))
            overdue.add_metric([depth.system_id], depth.overdue)
            paused.add_metric([depth.system_id], depth.paused)
            pauses.add_metric([depth.system_id], depth.pauses)
        return age, deliveries, oldest, overdue, paused, pauses, dead_rows

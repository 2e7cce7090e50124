"""What `/metrics` says: all that this process counted, and what the queue holds now, in the text format of Prometheus.

Whoever counts defines what it counts in the registry of the process; this only writes it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.errors import StorageFailed
from persistence import queue_depth
from persistence.database import Database
from persistence.queue_depth import Depth

PATIENCE_SECONDS = 5
"""How long the database may take to tell of the queue: Prometheus itself waits for 10 seconds."""

# When a counter was made is a sample of its own for each, which nobody asked for.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # It takes and returns nothing.


async def ask_depths(database: Database, now: datetime) -> list[Depth] | None:
    """How deep the queue is, by system; None if the database does not answer."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await queue_depth.list_depths(database, now)
    except (StorageFailed, TimeoutError):
        return None


def write(depths: Sequence[Depth] | None, now: datetime) -> bytes:
    """All samples. Without depths, nothing is said of the queue but that the database does not answer."""
    return prometheus_client.generate_latest(_Queue(depths, now)) + prometheus_client.generate_latest()


class _Queue(Collector):
    def __init__(self, depths: Sequence[Depth] | None, now: datetime) -> None:
        self._depths = depths
        self._now = now

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("budkavle_database_up", "Whether the database answered just now.")
        up.add_metric([], float(self._depths is not None))
        yield up
        if self._depths is not None:
            yield from self._of_systems(self._depths)

    def _of_systems(self, depths: Sequence[Depth]) -> Iterable[Metric]:
        deliveries = GaugeMetricFamily(
            "budkavle_queue_deliveries", "Deliveries that have not arrived.", labels=["system", "state"]
        )
        oldest = GaugeMetricFamily(
            "budkavle_queue_oldest_waiting_seconds",
            "How long ago the oldest waiting delivery was accepted; 0 if none waits.",
            labels=["system"],
        )
        overdue = GaugeMetricFamily(
            "budkavle_queue_overdue_deliveries",
            "Deliveries whose next attempt should have begun more than a minute ago: no worker keeps up.",
            labels=["system"],
        )
        for depth in depths:
            deliveries.add_metric([depth.system_id, "waiting"], depth.waiting)
            deliveries.add_metric([depth.system_id, "parked"], depth.parked)
            age = 0.0 if depth.oldest is None else (self._now - depth.oldest).total_seconds()
            oldest.add_metric([depth.system_id], max(0.0, age))
            overdue.add_metric([depth.system_id], depth.overdue)
        return deliveries, oldest, overdue

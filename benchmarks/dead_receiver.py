"""Measure whether a dead receiver slows down another one while 50,000 deliveries wait for the dead one.

The dead receiver accepts connections and never responds, which occupies a worker for the longest time. The latency of
the other receiver, from acceptance to arrival, is measured at 20 events per second without and with the dead one, each
time with a new worker on the same data.

Run: python -m benchmarks.dead_receiver [--waiting 50000]
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from benchmarks.queue_stage import (
    ENTITY_TYPE,
    ReceiverProgram,
    build_event,
    prepare,
    run,
    start_receiver,
    start_worker,
    wait_until,
)
from benchmarks.stage import DATABASES, Stage
from domain.events import write_content
from persistence import outbox, tables
from persistence.database import Database
from persistence.outbox import Publication
from persistence.work import large_write

EVENTS = 400
PER_SECOND = 20
SETTLING_SECONDS = 5
"""Seconds until the dead receiver has as many calls as the new worker allows. Earlier values are not comparable."""

AIM = 2.0
"""Maximum ratio to the latency without the dead receiver. Noise has about this size."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a dead receiver next to a healthy one.")
    parser.add_argument("--waiting", type=int, default=50_000)
    arguments = parser.parse_args()
    print(f"### A dead receiver with {arguments.waiting} messages, next to a healthy one\n")
    print("| | | p50, ms | p95, ms | arrived |")
    print("|---|---|--:|--:|--:|")
    for kind in DATABASES:
        for keys in (1, arguments.waiting):
            _measure(kind, arguments.waiting, keys)


def _measure(kind: str, number: int, keys: int) -> None:
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        alive = start_receiver(stage, Path(folder) / "alive")
        dead = start_receiver(stage, Path(folder) / "dead")
        paths = {"/ok/0": alive.program.port, "/ok/1000000": dead.program.port}
        run(url, lambda database: prepare(database, paths))
        programs = start_worker(stage, url)
        _report(f"{kind}, {keys} keys", "without", _measure_latencies(url, alive))
        stage.stop(programs)
        run(url, lambda database: _queue_for_dead_receiver(database, number, keys))
        start_worker(stage, url)
        time.sleep(SETTLING_SECONDS)
        _report(f"{kind}, {keys} keys", "with", _measure_latencies(url, alive))


def _report(name: str, which: str, latencies: list[float]) -> None:
    p95 = statistics.quantiles(latencies, n=20)[18]
    print(f"| {name} | {which} | {statistics.median(latencies):.0f} | {p95:.0f} | {len(latencies)} |", flush=True)


async def _queue_for_dead_receiver(database: Database, number: int, keys: int) -> None:
    """Queue deliveries for the second system only."""

    def insert(connection: sa.Connection) -> None:
        of_dead = sa.select(tables.subscriptions).order_by(tables.subscriptions.c.id.desc()).limit(1)
        subscription = connection.execute(of_dead).one()
        queued_event = build_event("queued", 0)
        row = {
            "id": queued_event.id,
            "created": queued_event.created,
            "entity_type": ENTITY_TYPE,
            "content": write_content(queued_event),
        }
        connection.execute(
            tables.events.insert(), row | {"subscriptions": 1, "publisher": "benchmark", "request_id": "benchmark"}
        )
        delivery = {
            "event_id": queued_event.id,
            "subscription_id": subscription.id,
            "system_id": subscription.system_id,
        }
        delivery |= {"state": "waiting", "created": queued_event.created, "due": queued_event.created, "attempts": 0}
        rows = [delivery | {"id": build_event("", 0).id, "key": str(place % keys)} for place in range(number)]
        connection.execute(tables.deliveries.insert(), rows)

    await database.write(large_write(insert))


def _measure_latencies(url: str, alive: ReceiverProgram) -> list[float]:
    """Return the milliseconds from acceptance to arrival of some events at the working receiver."""
    before = alive.count()
    accepted: dict[str, float] = run(url, _publish)
    wait_until(lambda: alive.count() >= before + len(accepted), 120, "the arrival of all events")
    arrived = {arrival.key: arrival.time for arrival in alive.list_arrivals()[before:]}
    return [(arrived[key] - moment) * 1000 for key, moment in accepted.items()]


async def _publish(database: Database) -> dict[str, float]:
    accepted = {}
    start = time.monotonic()
    for place in range(EVENTS):
        await asyncio.sleep(max(0, start + place / PER_SECOND - time.monotonic()))
        published = build_event(f"{start}-{place}", 0)
        await outbox.publish(database, Publication(published, "benchmark", "benchmark"))
        accepted[f"{start}-{place}"] = time.time()
    return accepted


if __name__ == "__main__":
    main()

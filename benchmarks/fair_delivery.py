"""Measure whether a hanging path slows down another path of its system while 50 events wait for the hanging one.

The hanging path accepts events and never responds, which occupies a worker for the longest time. The latency of the
other path, from acceptance to arrival, is measured at 20 events per second with one worker, first alone and then next
to the hanging path.

Run: python -m benchmarks.fair_delivery [--waiting 50]. The exit code is 1 if the target is missed.
"""

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import sqlalchemy as sa

from benchmarks.queue_stage import (
    ENTITY_TYPE,
    ORG_CODE,
    ORG_TYPE,
    START,
    ReceiverProgram,
    build_event,
    run,
    start_receiver,
    start_worker,
    wait_until,
)
from benchmarks.stage import DATABASES, Stage
from persistence import outbox, tables
from persistence.database import Database
from persistence.outbox import Publication
from persistence.work import short_write

EVENTS = 200
PER_SECOND = 20
SYSTEM = str(UUID(int=1))
HEALTHY, HANGING = "/ok/0", "/ok/1000000"
ORG_CODES = {HEALTHY: ORG_CODE, HANGING: ORG_CODE + 1}
SETTLING_SECONDS = 2
"""Seconds until the hanging path has as many calls as the worker allows."""

AIM = 2.0
"""Maximum ratio to the p95 without the hanging path."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A path that hangs and a path that works, of one system.")
    parser.add_argument("--waiting", type=int, default=50)
    waiting = parser.parse_args().waiting
    print(f"### A hanging path with {waiting} events, and a healthy path of the same system\n")
    print("| | alone, p50, ms | p95, ms | with the other, p50, ms | p95, ms | p95 with / alone |")
    print("|---|--:|--:|--:|--:|--:|")
    missed = [kind for kind in DATABASES if _measure(kind, waiting) > AIM]
    print(
        f"\nAim, p95 within {AIM:g} times that of the path alone: {'missed: ' + ', '.join(missed) if missed else 'met'}"
    )
    sys.exit(1 if missed else 0)


def _measure(kind: str, waiting: int) -> float:
    """Return the p95 with the hanging path, as a multiple of the p95 without it."""
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        target = start_receiver(stage, Path(folder) / "log")
        run(url, lambda database: _prepare(database, target.program.port))
        start_worker(stage, url)
        # Warm up connections and code with the first events.
        _measure_latencies(url, target)
        alone = _measure_latencies(url, target)
        run(url, lambda database: _publish(database, HANGING, [str(number) for number in range(waiting)], 1000))
        time.sleep(SETTLING_SECONDS)
        both = _measure_latencies(url, target)
    ratio = _compute_p95(both) / _compute_p95(alone)
    figures = [statistics.median(alone), _compute_p95(alone), statistics.median(both), _compute_p95(both)]
    print(f"| {kind} | {' | '.join(f'{figure:.1f}' for figure in figures)} | {ratio:.2f} |", flush=True)
    return ratio


async def _prepare(database: Database, port: int) -> None:
    """Create one system with a subscription for each path."""
    await database.migrate()

    def insert(connection: sa.Connection) -> None:
        connection.execute(tables.message_types.insert(), {"entity_type": ENTITY_TYPE, "name": "A type"})
        system = {"id": SYSTEM, "name": "system", "base_url": f"http://127.0.0.1:{port}", "webhook_secrets": []}
        connection.execute(tables.systems.insert(), system | {"allow_private_addresses": True})
        for path, org_code in ORG_CODES.items():
            identity = {"org_type": ORG_TYPE, "org_code": org_code, "entity_type": ENTITY_TYPE}
            row = {"system_id": SYSTEM, "webhook_url": path, "start_time": START}
            connection.execute(tables.subscriptions.insert(), row | identity)

    await database.write(short_write(insert))


def _measure_latencies(url: str, target: ReceiverProgram) -> list[float]:
    """Return the milliseconds from acceptance to arrival of some events on the working path."""
    before = target.count()
    keys = [f"{time.monotonic()}-{number}" for number in range(EVENTS)]
    accepted: dict[str, float] = run(url, lambda database: _publish(database, HEALTHY, keys, PER_SECOND))
    wait_until(lambda: target.count() >= before + EVENTS, 120, "the arrival of all events")
    arrived = {arrival.key: arrival.time for arrival in target.list_arrivals()[before:]}
    return [(arrived[key] - moment) * 1000 for key, moment in accepted.items()]


async def _publish(database: Database, path: str, keys: list[str], per_second: float) -> dict[str, float]:
    accepted = {}
    start = time.monotonic()
    for place, key in enumerate(keys):
        await asyncio.sleep(max(0, start + place / per_second - time.monotonic()))
        published = replace(build_event(key, 0), org_code=ORG_CODES[path])
        await outbox.publish(database, Publication(published, "benchmark", "benchmark"))
        accepted[key] = time.time()
    return accepted


def _compute_p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[18]


if __name__ == "__main__":
    main()

"""Measure the duration of a scrape of `/metrics`, and how long it blocks other callers, with a long queue.

The database of the service has many waiting deliveries. One client scrapes every 500 ms; another one calls
`/health/live` continuously. Its slowest response is an upper bound of the time that a scrape, or its count, blocks the
event loop.

Run: python -m benchmarks.metrics_scrape [--waiting 200000]
"""

import argparse
import statistics
import threading
import time

import httpx
import sqlalchemy as sa

from benchmarks.queue_stage import ENTITY_TYPE, build_event, prepare, run
from benchmarks.stage import DATABASES, Stage
from domain.events import write_content
from persistence import tables
from persistence.database import Database
from persistence.work import large_write

SCRAPES = 60
INTERVAL_SECONDS = 0.5
SYSTEMS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="Scrapes with a long queue.")
    parser.add_argument("--waiting", type=int, default=200_000)
    arguments = parser.parse_args()
    print(f"### Scrapes of /metrics with {arguments.waiting} waiting deliveries of {SYSTEMS} systems\n")
    print(
        "| | deliveries | first, ms | p50, ms | p95, ms | largest, ms | others' longest wait, ms | oldest figures, s |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for kind in DATABASES:
        for number in (0, arguments.waiting):
            _measure(kind, number)


def _measure(kind: str, number: int) -> None:
    with Stage() as stage:
        url = stage.create_database(kind)
        run(url, lambda database: fill(database, number))
        service = stage.start_service(url)
        others = _Others(f"{service.url}/health/live")
        found, ages = [], [0.0]
        with httpx.Client(trust_env=False) as client:
            # Warm up the connection and the response code, but not the count.
            client.get(f"{service.url}/health/live")
            for _ in range(SCRAPES):
                start = time.perf_counter()
                text = client.get(f"{service.url}/metrics").text
                found.append((time.perf_counter() - start) * 1000)
                ages += [float(line.split()[1]) for line in text.splitlines() if line.startswith("budkavle_queue_age")]
                time.sleep(INTERVAL_SECONDS)
        longest = others.end()
        p95 = statistics.quantiles(found, n=20)[18]
        figures = (found[0], statistics.median(found), p95, max(found), longest)
        print(f"| {kind} | {number} | {' | '.join(f'{each:.1f}' for each in figures)} | {max(ages):.1f} |", flush=True)


class _Others:
    """A client in a thread that calls continuously and records its longest wait in milliseconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self._longest = 0.0
        self._thread = threading.Thread(target=self._call)
        self._thread.start()

    def end(self) -> float:
        """Stop calling and return the longest wait."""
        self._is_over.set()
        self._thread.join()
        return self._longest

    def _call(self) -> None:
        with httpx.Client(trust_env=False) as client:
            client.get(self._url)
            while not self._is_over.wait(0.002):
                start = time.perf_counter()
                client.get(self._url)
                self._longest = max(self._longest, (time.perf_counter() - start) * 1000)


async def fill(database: Database, number: int) -> None:
    """Create `SYSTEMS` systems with `number` waiting deliveries in sum."""
    await prepare(database, {f"/ok/{place}": 9 for place in range(SYSTEMS)})

    def insert(connection: sa.Connection) -> None:
        subscriptions = connection.execute(sa.select(tables.subscriptions)).all()
        content = build_event("queued", 0)
        row = {
            "id": content.id,
            "created": content.created,
            "entity_type": ENTITY_TYPE,
            "content": write_content(content),
        }
        connection.execute(
            tables.events.insert(), row | {"subscriptions": 1, "publisher": "benchmark", "request_id": "benchmark"}
        )
        rows = []
        for place in range(number):
            subscription = subscriptions[place % len(subscriptions)]
            delivery = {"event_id": content.id, "subscription_id": subscription.id, "system_id": subscription.system_id}
            delivery |= {"state": "waiting", "created": content.created, "due": content.created, "attempts": 0}
            rows.append(delivery | {"id": build_event("", 0).id, "key": str(place)})
        if rows:
            connection.execute(tables.deliveries.insert(), rows)

    await database.write(large_write(insert))


if __name__ == "__main__":
    main()

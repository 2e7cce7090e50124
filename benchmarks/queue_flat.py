"""Measure whether a claim stays as fast as on an empty queue while deliveries pass through the queue, on PostgreSQL.

A publisher process accepts events at a set rate. One worker finds, claims and settles the deliveries without calling a
receiver. A claim is the search for due deliveries and the statement that claims them. The benchmark runs on two
databases: without other transactions, and while another session holds a snapshot, as a dump or a report does. No dead
row version can be removed then.

Ten systems receive the events, which are about 100,000 persons in turn, and autovacuum is on.

Run: python -m benchmarks.queue_flat [--seconds 120] [--rate 500], or with --soak for 10 minutes at 1,000 per second.
The exit code is 1 if the median of the last window exceeds its multiple of the first one, or the rate is not reached.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from benchmarks.load import ROOT
from benchmarks.queue_stage import build_event, count_waiting, prepare, run
from benchmarks.stage import Stage
from domain.deliveries import Attempt, AttemptOutcome, ClaimedDelivery, DeliveredRequest
from persistence import outbox
from persistence.database import Database
from persistence.outbox import Publication
from persistence.queue import claims, due_deliveries
from persistence.queue.claims import Lease, SettledAttempt
from persistence.queue.due_deliveries import Capacity, LookMemory

SYSTEMS = 10
PERSONS = 100_000
TICK_SECONDS = 0.02
"""Seconds between two transactions of the publisher, and between two turns of the worker."""

FREE = 100
"""Free slots of the worker in each turn."""

WINDOWS = 10
LEASE = timedelta(seconds=30)
AIMS = {"alone": 1.5, "snapshot": 3.0}
"""Maximum ratio of the median claim in the last window to that in the first one."""

_HASH = "0" * 64
"""The hash of a request in its receipt."""

MIN_RATE, MAX_RATE = 0.95, 1.01
"""Share of the deliveries that must have been settled, so that the load was the intended one: each once."""

_STATE = """
    select n_dead_tup, pg_indexes_size('deliveries') from pg_stat_user_tables where relname = 'deliveries'
"""


@dataclass(frozen=True)
class Window:
    """Milliseconds of each claim in a part of the run, and the state of the table at its end."""

    claims: list[float]
    settled: int
    dead: int
    index_bytes: int

    @property
    def median(self) -> float:
        return statistics.median(self.claims)


def main() -> None:
    parser = argparse.ArgumentParser(description="Claims under sustained load.")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rate", type=int, default=500, help="deliveries per second")
    parser.add_argument("--soak", action="store_true", help="10 minutes at 1,000 per second")
    parser.add_argument("--only", choices=sorted(AIMS), help="run only this part")
    parser.add_argument("--publish", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seconds, rate = (600, 1000) if arguments.soak else (arguments.seconds, arguments.rate)
    if arguments.publish:
        run(arguments.publish, lambda database: _publish(database, seconds, rate))
        return
    print(f"### The queue on PostgreSQL at {rate} deliveries per second for {seconds} seconds\n")
    missed = []
    for name in [arguments.only] if arguments.only else AIMS:
        windows = _measure(name, seconds, rate)
        ratio, share = windows[-1].median / windows[0].median, sum(w.settled for w in windows) / (seconds * rate)
        print(f"\n{name}: last / first median {ratio:.2f}, aim {AIMS[name]:g}; {share:.0%} of the rate\n", flush=True)
        missed += [name] if ratio > AIMS[name] or not MIN_RATE <= share <= MAX_RATE else []
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


def _measure(name: str, seconds: int, rate: int) -> list[Window]:
    print(f"| {name}: until second | claim p50, ms | p95, ms | settled | dead rows | indexes, MiB |")
    print("|--:|--:|--:|--:|--:|--:|")
    with Stage() as stage:
        url = stage.create_database("PostgreSQL")
        run(url, lambda database: prepare(database, {f"/{number}": 9 for number in range(SYSTEMS)}))
        command = [sys.executable, "-m", "benchmarks.queue_flat", "--publish", url]
        publisher = subprocess.Popen([*command, f"--seconds={seconds}", f"--rate={rate}"], cwd=ROOT)
        try:
            windows: list[Window] = run(url, lambda database: _work(database, url, seconds, holds=name == "snapshot"))
        finally:
            publisher.terminate()
            publisher.wait()
        return windows


async def _publish(database: Database, seconds: int, rate: int) -> None:
    """Publish events at a constant rate."""
    start, published = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < seconds:
        until = int(elapsed * rate / SYSTEMS)
        if until > published:
            events = [build_event(str(number % PERSONS), number) for number in range(published, until)]
            await asyncio.gather(*(outbox.publish(database, Publication(each, "", "")) for each in events))
            published = until
        await asyncio.sleep(TICK_SECONDS)


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("begin isolation level repeatable read")
        await connection.fetchval("select count(*) from deliveries")
        yield
    finally:
        await connection.close()


async def _work(database: Database, url: str, seconds: int, *, holds: bool) -> list[Window]:
    watcher = await asyncpg.connect(url)
    windows = []
    memory = LookMemory()

    async def wait_for_first() -> float:
        while await count_waiting(database) == 0:  # noqa: ASYNC110  # The publisher is another process.
            await asyncio.sleep(TICK_SECONDS)
        return time.monotonic()

    async def work_through_windows() -> None:
        start = await wait_for_first()
        for number in range(1, WINDOWS + 1):
            until = number * seconds / WINDOWS
            milliseconds, settled = await _work_until(database, start + until, memory)
            dead, index_bytes = await watcher.fetchrow(_STATE)
            windows.append(Window(milliseconds, settled, dead, index_bytes))
            p95 = statistics.quantiles(milliseconds, n=20)[18]
            figures = f"{windows[-1].median:.1f} | {p95:.1f} | {settled} | {dead} | {index_bytes / 2**20:.1f}"
            print(f"| {until:.0f} | {figures} |", flush=True)

    try:
        if holds:
            async with _snapshot(url):
                await work_through_windows()
        else:
            await work_through_windows()
    finally:
        await watcher.close()
    return windows


async def _work_until(database: Database, end: float, memory: LookMemory) -> tuple[list[float], int]:
    """Claim and settle in turns, as a worker does. Return the milliseconds of each claim, and the number settled."""
    milliseconds, number = [], 0
    settling: asyncio.Task[set[int]] | None = None
    while time.monotonic() < end:
        now = datetime.now(UTC)
        lease = Lease("benchmark", now, now + LEASE)
        start = time.perf_counter()
        claimed = await _claim(database, lease, memory)
        milliseconds.append((time.perf_counter() - start) * 1000)
        if settling is not None:
            await settling
        settling = asyncio.create_task(claims.settle(database, lease, [_settle_item(item, now) for item in claimed]))
        number += len(claimed)
        await asyncio.sleep(max(0, start + TICK_SECONDS - time.perf_counter()))
    if settling is not None:
        await settling
    return milliseconds, number


async def _claim(database: Database, lease: Lease, memory: LookMemory) -> list[ClaimedDelivery]:
    seen = await due_deliveries.look(database, lease.now, Capacity(FREE, FREE), memory)
    chosen = [each.number for each in seen if not each.is_behind]
    claimed, _ = await claims.claim(database, lease, chosen, [each.number for each in seen if each.is_behind])
    return claimed


def _settle_item(item: ClaimedDelivery, now: datetime) -> SettledAttempt:
    delivered = DeliveredRequest(item.webhook_url, _HASH)
    return SettledAttempt(item.number, AttemptOutcome.DONE, Attempt(1, now, 1, 200, None, ""), delivered=delivered)


if __name__ == "__main__":
    main()

"""Compare syncs of 10,000 entries with a bare bulk insert of the same rows, and count the statements of each call.

The bare insert is the best that the driver can do without a service: one `executemany` into the same table, with its
indexes, in one durable transaction. Both are run alternately, and the result is the median of the ratios per round,
because the speed of the machine varies.

Run: python -m benchmarks.sync [--entries 10000] [--rounds 7] [--database SQLite]. The exit code is 1 if a target is
missed.
"""

import argparse
import asyncio
import sqlite3
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import sqlalchemy as sa
import uvloop

from benchmarks.stage import DATABASES, Stage
from benchmarks.systems import CALLER, SYSTEM_IDS, build_entries, prepare
from persistence import subscriptions
from persistence.database import Database
from persistence.opening import open_database
from persistence.subscriptions import SyncCall

AIMS = {"create": 4.0, "the same again": 2.0}
"""Maximum ratio to the bare insert."""

NOW = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = ("system_id", "org_type", "org_code", "entity_type", "webhook_url", "start_time", "end_time")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare syncs with a bare bulk insert.")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--database", choices=DATABASES, action="append")
    arguments = parser.parse_args()
    print(f"### Syncs of {arguments.entries:,} entries\n\nMedian of {arguments.rounds} rounds.\n")
    print("| database | call | ms | times a bare insert | statements |\n|---|---|---|---|---|", flush=True)
    missed = []
    for kind in arguments.database or DATABASES:
        with Stage() as stage:
            missed += uvloop.run(_measure(kind, stage.create_database(kind), arguments.entries, arguments.rounds))
    if missed:
        sys.exit(f"aims missed: {', '.join(missed)}")


async def _measure(kind: str, url: str, count: int, rounds: int) -> list[str]:
    database = open_database(url)
    await database.migrate()
    await prepare(database)
    first = build_entries(count)
    half = first[: count // 2] + build_entries(count - count // 2, path="/replaced", first_code=count)
    times: dict[str, list[float]] = defaultdict(list)
    statements: dict[str, int] = {}
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: _sync(database, first),
        "the same again": lambda: _sync(database, first),
        "half replaced": lambda: _sync(database, half),
        "remove all": lambda: _sync(database, []),
    }
    for _ in range(rounds):
        times["bare insert"].append(await _measure_bare_insert(url, count))
        for name, call in calls.items():
            counter = _Counter()
            start = time.perf_counter()
            await call()
            times[name].append(time.perf_counter() - start)
            statements[name] = counter.end()
    await database.close()
    bare = times.pop("bare insert")
    print(f"| {kind} | bare insert | {statistics.median(bare) * 1000:.0f} | 1.0 | 1 |")
    ratios = {}
    for name, seconds in times.items():
        ratios[name] = statistics.median(mine / theirs for mine, theirs in zip(seconds, bare, strict=True))
        milliseconds = statistics.median(seconds) * 1000
        print(f"| {kind} | {name} | {milliseconds:.0f} | {ratios[name]:.1f} | {statements[name]} |", flush=True)
    return [f"{kind} {name} {ratios[name]:.1f} > {aim}" for name, aim in AIMS.items() if ratios[name] > aim]


async def _sync(database: Database, wanted: Sequence[Any]) -> None:
    await subscriptions.sync(database, SyncCall(SYSTEM_IDS[0], wanted, NOW, CALLER, "benchmark"))


class _Counter:
    """Counts the statements of all engines until `end`."""

    def __init__(self) -> None:
        self._count = 0
        sa.event.listen(sa.Engine, "before_cursor_execute", self._add)

    def _add(self, *_: object) -> None:
        self._count += 1

    def end(self) -> int:
        sa.event.remove(sa.Engine, "before_cursor_execute", self._add)
        return self._count


async def _measure_bare_insert(url: str, count: int) -> float:
    """Return the seconds of one insert of `count` rows for another system. The rows are removed again."""
    start, end = NOW, NOW + timedelta(days=365)
    if url.startswith("sqlite"):
        return await asyncio.to_thread(_measure_bare_sqlite_insert, url.removeprefix("sqlite:///"), count, start, end)
    connection = await asyncpg.connect(url)
    rows = [(SYSTEM_IDS[1], 7, code, 100, "/webhook", start, end) for code in range(count)]
    marks = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))
    began = time.perf_counter()
    async with connection.transaction():
        await connection.executemany(f"insert into subscriptions ({', '.join(COLUMNS)}) values ({marks})", rows)
    seconds = time.perf_counter() - began
    await connection.execute("delete from subscriptions where system_id = $1", SYSTEM_IDS[1])
    await connection.close()
    return seconds


def _measure_bare_sqlite_insert(path: str, count: int, start: datetime, end: datetime) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"pragma {pragma}")
    system_id = SYSTEM_IDS[1].replace("-", "")
    times = [moment.strftime("%Y-%m-%d %H:%M:%S.000000") for moment in (start, end)]
    rows = [(system_id, 7, code, 100, "/webhook", *times) for code in range(count)]
    marks = ", ".join("?" * len(COLUMNS))
    began = time.perf_counter()
    connection.execute("begin immediate")
    connection.executemany(f"insert into subscriptions ({', '.join(COLUMNS)}) values ({marks})", rows)
    connection.execute("commit")
    seconds = time.perf_counter() - began
    connection.execute("delete from subscriptions where system_id = ?", (system_id,))
    connection.close()
    return seconds


if __name__ == "__main__":
    main()

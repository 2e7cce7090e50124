"""Measure the load of a worker with nothing to deliver: its share of a core, and the statements that it executes.

The worker is a process of its own; the database has 300 systems with one subscription each. On PostgreSQL each
statement of an idle worker is a transaction, which the server counts. On SQLite a worker in this process counts its
statements, without those that only ask whether another process has committed.

Run: python -m benchmarks.idle_worker [--seconds 30] [--database SQLite]
"""

import argparse
import asyncio
import sqlite3
import time
from datetime import UTC, datetime

import psutil
import sqlalchemy as sa

from benchmarks.processor import read_processor_seconds
from benchmarks.queue_stage import prepare, run, start_worker
from benchmarks.stage import DATABASES, Stage
from delivery.calls import ReceiverClient
from delivery.worker import Limits, Worker
from persistence.database import Database
from persistence.work import short_read

SYSTEMS = 300
SETTLE_SECONDS = 20
"""Seconds after the start that are not measured: a worker then connects and looks for work of dead ones. PostgreSQL
counts the transactions of an idle connection up to ten seconds late.
"""

AIM_STATEMENTS = 2.0
AIM_CORE = 0.005
_COMMITS = sa.text("select xact_commit from pg_stat_database where datname = current_database()")


def main() -> None:
    parser = argparse.ArgumentParser(description="An idle worker.")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--database", choices=DATABASES, action="append")
    arguments = parser.parse_args()
    print(f"### A worker with nothing to deliver, {SYSTEMS} systems, {arguments.seconds:g} s\n")
    print("| | statements/s | worker, % of a core | database processes, % of a core |\n|---|--:|--:|--:|")
    misses = []
    for kind in arguments.database or DATABASES:
        statements, core, server = _measure(kind, arguments.seconds)
        print(f"| {kind} | {statements:.2f} | {core:.2%} | {server:.2%} |", flush=True)
        misses += [f"{kind}: {statements:.2f}/s"] if statements > AIM_STATEMENTS else []
        misses += [f"{kind}: {core:.2%}"] if core > AIM_CORE else []
    aims = f"Aims, {AIM_STATEMENTS:g} statements/s and {AIM_CORE:.1%} of a core: "
    print(f"\n{aims}{'not met: ' + '; '.join(misses) if misses else 'met'}")


def _measure(kind: str, seconds: float) -> tuple[float, float, float]:
    """Return statements per second, and the shares of a core of the worker and of the processes of the database."""
    with Stage() as stage:
        url = stage.create_database(kind)
        run(url, lambda database: prepare(database, {f"/{number}": 9 for number in range(SYSTEMS)}))
        process = start_worker(stage, url).process.pid
        server = stage.postgresql_pid
        time.sleep(SETTLE_SECONDS)
        commits = _count_commits(url) if server else 0
        begun, used, used_by_server = time.monotonic(), read_processor_seconds(process), _read_server_seconds(server)
        time.sleep(seconds)
        taken = time.monotonic() - begun
        core = (read_processor_seconds(process) - used) / taken
        core_of_server = (_read_server_seconds(server) - used_by_server) / taken
        if server:
            return (_count_commits(url) - commits) / taken, core, core_of_server
        return run(url, lambda database: _count_statements(database, seconds)) / seconds, core, core_of_server


def _read_server_seconds(pid: int | None) -> float:
    if pid is None:
        return 0.0
    # The parent also counts the children that have ended, such as those of autovacuum.
    children = psutil.Process(pid).children(recursive=True)
    return sum(sum(child.cpu_times()[:2]) for child in children if child.is_running())


def _count_commits(url: str) -> int:
    def read(connection: sa.Connection) -> int:
        return int(connection.execute(_COMMITS).scalar_one())

    return int(run(url, lambda database: database.read(short_read(read))))


async def _count_statements(database: Database, seconds: float) -> int:
    """Return the number of statements of a worker on SQLite in this process."""
    statements: list[str] = []

    def trace(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(statements.append)

    sa.event.listen(sa.Engine, "connect", trace)
    calls = ReceiverClient()
    deliverer = Worker(database, calls, Limits(), holder="benchmark", now=lambda: datetime.now(UTC))
    working = asyncio.create_task(deliverer.run_forever())
    await asyncio.sleep(SETTLE_SECONDS)
    statements.clear()
    await asyncio.sleep(seconds)
    counted = len(statements)
    deliverer.stop()
    await working
    await calls.close()
    sa.event.remove(sa.Engine, "connect", trace)
    return counted


if __name__ == "__main__":
    main()

"""Compare deliveries through a gateway, and during pauses of others, with plain ones, in turns.

One worker with 100 concurrent calls delivers to a receiver that takes 20 ms, as in `benchmarks.deliveries`. The gateway
requires a key and an access token. In the other two cases as many deliveries as are measured wait for the end of a
pause: of another system, or of another subscription of the same system. The processor time is that of the worker, which
work of others on the machine changes less than the rate.

Run: python -m benchmarks.deliveries_compared [--events 4000] [--rounds 3] [--database SQLite]
"""

import argparse
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import sqlalchemy as sa

from benchmarks.deliveries import IN_FLIGHT, measure_rate
from benchmarks.processor import read_processor_seconds
from benchmarks.queue_stage import (
    ENTITY_TYPE,
    ORG_CODE,
    ORG_TYPE,
    START,
    build_gateway_credentials,
    prepare,
    publish,
    run,
    start_receiver,
    start_worker,
)
from benchmarks.stage import DATABASES, Stage
from budkavle.clock import now
from domain.subscriptions import Identity
from persistence import delivery_pauses, tables
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.work import short_write

PLAIN, GATEWAY, OTHER_SYSTEM, OTHER_SUBSCRIPTION = (
    "plain",
    "through a gateway",
    "another system is paused",
    "another subscription is paused",
)
OTHERS = (GATEWAY, OTHER_SYSTEM, OTHER_SUBSCRIPTION)
PATHS = {GATEWAY: "/gateway/ok/20"}
TOKEN_SECONDS = 86_400
AIM = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description="Deliveries, compared.")
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=DATABASES, action="append", help="By default both.")
    arguments = parser.parse_args()
    print(f"### Deliveries, compared\n\n{arguments.events} events; medians of {arguments.rounds} rounds, in turns.\n")
    print("| | | deliveries/s | ratio | aim | CPU µs | ratio |\n|---|---|--:|--:|--:|--:|--:|")
    misses = []
    for kind in arguments.database or DATABASES:
        rounds = [
            [_measure(kind, case, arguments.events) for case in (PLAIN, *OTHERS)] for _ in range(arguments.rounds)
        ]
        medians = [tuple(map(statistics.median, zip(*figures, strict=True))) for figures in zip(*rounds, strict=True)]
        for case, (rate, processor_time) in zip((PLAIN, *OTHERS), medians, strict=True):
            ratio, processor_ratio = rate / medians[0][0], processor_time / medians[0][1]
            aim = "" if case == PLAIN else AIM
            cells = f"{rate:.0f} | {ratio:.2f} | {aim} | {processor_time:.0f} | {processor_ratio:.2f}"
            print(f"| {kind} | {case} | {cells} |", flush=True)
            misses += [f"{kind}, {case}: {ratio:.2f}"] if ratio < AIM else []
    print(f"\nAims: {'not met: ' + '; '.join(misses) if misses else 'met'}")
    sys.exit(bool(misses))


def _measure(kind: str, case: str, events: int) -> tuple[float, float]:
    """Return the deliveries per second, and the worker's µs of processor time per delivery.

    Raises `RuntimeError` if the receiver has rejected one."""
    path = PATHS.get(case, "/ok/20")
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        target = start_receiver(stage, Path(folder) / "log")
        port = target.program.port
        gateway = build_gateway_credentials(Path(folder), port, TOKEN_SECONDS)
        run(url, lambda database: prepare(database, {path: port}, gateway=gateway))
        if case in {OTHER_SYSTEM, OTHER_SUBSCRIPTION}:
            run(url, lambda database: _pause_another(database, port, is_same_system=case == OTHER_SUBSCRIPTION))
            run(url, lambda database: publish(database, map(str, range(events)), 1, ORG_CODE + 1))
        run(url, lambda database: publish(database, map(str, range(events)), 1))
        settings = {"worker_concurrency": IN_FLIGHT, "receiver_concurrency": IN_FLIGHT, "log_level": "info"}
        worker = start_worker(stage, url, **settings)
        arrived, used = target.count(), read_processor_seconds(worker.pid)
        rate = measure_rate(target, events)
        used = read_processor_seconds(worker.pid) - used
        others = {arrival.status for arrival in target.list_arrivals()} - {200}
        if others or target.count() != events:
            raise RuntimeError(f"{case}: {target.count()} of {events} deliveries arrived, with statuses {others}")
        return rate, used * 1e6 / (events - arrived)


async def _pause_another(database: Database, port: int, *, is_same_system: bool) -> None:
    """Subscribe to another orgCode, for the first system or a second one, and pause its deliveries."""
    system_id = str(UUID(int=1 if is_same_system else 2))
    identity = Identity(ORG_TYPE, ORG_CODE + 1, ENTITY_TYPE)

    def insert(connection: sa.Connection) -> None:
        if not is_same_system:
            system = {"id": system_id, "name": "paused", "base_url": f"http://127.0.0.1:{port}", "webhook_secrets": []}
            connection.execute(tables.systems.insert(), system | {"allow_private_addresses": True})
        subscription = {"system_id": system_id, "webhook_url": "/ok/20", "start_time": START, **identity._asdict()}
        connection.execute(tables.subscriptions.insert(), subscription)

    await database.write(short_write(insert))
    command = Command(system_id, identity if is_same_system else None, "operator", now(), str(uuid4()), str(uuid4()))
    await delivery_pauses.pause(database, command, None)


if __name__ == "__main__":
    main()
